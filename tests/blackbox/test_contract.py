"""The wire contract, rule by rule, in all three formats, over real HTTP.

What only JSON shows, and what the pipeline does, is in test_commit.py; here is what every format must do alike.
"""

import itertools
import json

import pytest

import bodies
import wire
from bodies import FORMATS, Json, field, msgpack, of_answer, varint

fresh = itertools.count()


@pytest.fixture(scope="module")
def database():
    with wire.weaseldb("http.network_threads=2", "http.max_body_bytes=65536") as running:
        yield running


@pytest.fixture(params=FORMATS, ids=lambda one: one.name)
def format(request):
    return request.param


def key():
    return b"key-%d" % next(fresh)


def write(name, value=b"v"):
    return {"type": "write", "key": name, "value": value}


def point(name, **version):
    return {"type": "point_read", "key": name, **version}


def content(media_type):
    return f"Content-Type: {media_type}\r\n"


def send(where, format, document, headers="", target="/v1/commit"):
    body = document if isinstance(document, bytes) else (format.batch if target == "/v1/commits" else format.commit)(document)
    length = "Content-Length: 0\r\n" if not body else ""
    return where.get(target, "POST", content(format.media_types[0]) + headers + length, body)


def answer(where, format, document, headers="", status=200):
    response = send(where, format, document, headers)
    assert response.status == status, response.body
    assert response.header("Content-Type") == format.media_types[0]
    return format.result(response.body)


def problem(response, status, outcome="not_committed", **members):
    """An error is a problem in JSON, whatever the format of the request, and says all it has to."""
    assert response.status == status, (response.status, response.body)
    assert response.header("Content-Type") == "application/problem+json"
    found = response.json()
    assert found["status"] == status
    assert found["type"].startswith("urn:weaseldb:problem:") and found["title"] and found["detail"]
    assert found.get("outcome") == outcome
    if status == 503:
        assert response.header("Retry-After") == "1"
    limit_members = {"limit_key", "limit", "actual"} if status == 413 else set()
    assert set(found) == {"type", "title", "status", "detail"} | limit_members | ({"outcome"} if outcome else set())
    for name, value in members.items():
        assert found[name] == value, found
    return found


# ---- formats and their names ----

SPELLINGS = [
    lambda name: name,
    str.upper,
    str.title,
    lambda name: name + "; charset=utf-8",
    lambda name: name + ";charset=utf-8;q=0.1",
    lambda name: name + ' ; a="b;c,d"',
    lambda name: " " + name + "\t",
    lambda name: name + ";",
]


def test_every_name_of_a_format_in_every_spelling(database, format):
    for media_type, spell in itertools.product(format.media_types, SPELLINGS):
        body = format.commit({"operations": [write(key())]})
        response = database.get("/v1/commit", "POST", content(spell(media_type)), body)
        assert response.status == 200, (spell(media_type), response.body)
        assert response.header("Content-Type") == format.media_types[0]
        assert format.result(response.body)["status"] == "committed"


@pytest.mark.parametrize("target", ["/v1/commit", "/v1/commits"])
@pytest.mark.parametrize(
    "sent",
    ["text/plain", "application/jsonx", "application", "application/", "json", "*/*", "application/*", "", "text/json, application/json", None]
    + ["application/problem+json", "application/json-seq", "multipart/form-data; boundary=a"],
)
def test_other_types_are_refused_with_the_list(database, target, sent):
    before = database.get("/v1/version").json()["version"]
    body = Json().commit({"operations": [write(key())]})
    response = database.get(target, "POST", "" if sent is None else content(sent), body)
    problem(response, 415)
    assert response.header("Accept-Post").split(", ") == [name for one in FORMATS for name in one.media_types]
    assert database.get("/v1/version").json()["version"] == before


ACCEPTS = [
    # Accept, the answer to a request in JSON, to one in Protobuf; None: as the request
    ("*/*", None),
    ("application/*", None),
    ("text/html, */*;q=0.1", None),
    ("", None),
    ("text/html", None),  # none of ours: better an answer than none
    ("application/json", "json"),
    ("application/msgpack", "msgpack"),
    ("application/x-msgpack", "msgpack"),
    ("application/vnd.msgpack", "msgpack"),
    ("APPLICATION/Protobuf", "protobuf"),
    ("application/x-protobuf;v=1", "protobuf"),
    ("application/msgpack, application/json;q=0.9, application/protobuf;q=0.9", "msgpack"),
    ("application/json;q=0.2, application/protobuf;q=0.3, application/msgpack;q=0.1", "protobuf"),
    ("application/msgpack, */*;q=0.5", "msgpack"),
    ("*/*, application/json;q=0, application/protobuf;q=0", "msgpack"),
    ("application/json;q=0, application/protobuf;q=0, application/msgpack;q=0.001", "msgpack"),
    ('text/x;a="application/json,", application/msgpack', "msgpack"),
]


@pytest.mark.parametrize("accept, expected", ACCEPTS)
def test_accept_picks_the_format_of_the_answer(database, format, accept, expected):
    for target, document, read in (
        ("/v1/commit", {"operations": [write(key())]}, "result"),
        ("/v1/commits", {"transactions": [{"operations": [write(key())]}]}, "results"),
    ):
        response = send(database, format, document, f"Accept: {accept}\r\n", target)
        assert response.status == 200
        assert of_answer(response).name == (expected or format.name)
        getattr(of_answer(response), read)(response.body)
    # Questions have no body: JSON unless told otherwise.
    for target in ("/v1/version", "/v1/status?request_id=nobody"):
        response = database.get(target, "GET", f"Accept: {accept}\r\n")
        assert of_answer(response).name == (expected or "json")
    # An error is a problem whatever was asked for.
    problem(send(database, format, format.cut, f"Accept: {accept}\r\n"), 400)


def test_all_formats_say_the_same(database):
    """A commit, its repeats, a conflict and a question, each as every format tells it."""
    mine = key()
    read_at = answer(database, Json(), {"operations": [write(mine)]})["version"]
    document = {"request_id": f"same-{read_at}", "operations": [write(mine, b"\x00\xff")]}
    told = [answer(database, one, document) for one in FORMATS]
    assert told[0] == told[1] == told[2]
    assert set(told[0]) == {"request_id", "status", "version", "leader"}
    stale = {"read_version": read_at, "preconditions": [point(key()), point(mine)], "operations": [write(mine)]}
    for one in FORMATS:
        refused = answer(database, one, stale, status=409)
        assert set(refused) == {"request_id", "status", "reason", "version", "leader", "conflicts"}
        assert (refused["status"], refused["reason"], refused["conflicts"]) == ("not_committed", "conflict", [1])
    versions, questions = [], []
    for one in FORMATS:
        accept = f"Accept: {one.media_types[0]}\r\n"
        versions.append(one.version(database.get("/v1/version", "GET", accept).body))
        questions.append(one.result(database.get(f"/v1/status?request_id={document['request_id']}", "GET", accept).body))
    assert versions[0] == versions[1] == versions[2]
    assert questions[0] == questions[1] == questions[2] == {
        "request_id": document["request_id"],
        "status": "committed",
        "version": told[0]["version"],
    }


def test_a_payload_is_the_same_in_every_format(database):
    """What was sent in one format may be repeated in another; what differs in any byte may not."""
    for number, (first, second) in enumerate(itertools.product(FORMATS, FORMATS)):
        name = f"payload-{number}-{next(fresh)}"
        document = {
            "request_id": name,
            "read_version": 0,
            "preconditions": [point(key()), {"type": "range_read", "begin": b"\x01", "end": b"\x02", "version": 0}],
            "operations": [write(b"\x00" + key(), b""), {"type": "delete", "key": key()}, {"type": "range_delete", "begin": b"\x03", "end": b"\x04"}],
        }
        original = answer(database, first, document)
        assert answer(database, second, document) == original
        document["operations"][0]["value"] = b"\x00"
        problem(send(database, second, document), 422)


@pytest.mark.parametrize("asked", ["first", "later"])
def test_an_empty_database_tells_its_version_too(format, asked):
    """Version 0 is one like any other: there is an answer to read at before anything was written."""
    with wire.weaseldb() as server:
        if asked == "later":
            assert server.get("/v1/status?request_id=a").json() == {"request_id": "a", "status": "not_committed"}
            assert answer(server, format, {"request_id": "a", "operations": [write(b"a")]}, status=409)["reason"] == "fenced"
        checked = answer(server, format, {"preconditions": [point(b"a", version=0)]})
        assert checked["status"] == "committed" and checked["version"] == 0
        refused = answer(server, format, {"leader": "x", "operations": [write(b"a")]}, status=409)
        assert refused["reason"] == "wrong_leader" and refused["version"] == 0
        info = server.get("/v1/version").json()
        assert info["version"] == 0 and info["oldest_read_version"] == 0
        first = answer(server, format, {"preconditions": [point(b"a", version=refused["version"])], "operations": [write(b"a")]})
        assert first["version"] == 1


# ---- methods, headers, errors ----

ALLOWED = {"/v1/commit": "POST, OPTIONS", "/v1/commits": "POST, OPTIONS", "/v1/status": "GET, HEAD, OPTIONS", "/v1/version": "GET, HEAD, OPTIONS"}


@pytest.mark.parametrize("target", ALLOWED)
def test_methods(database, target):
    response = database.get(target, "OPTIONS")
    assert response.status == 204 and response.header("Allow") == ALLOWED[target]
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"):
        if method in ALLOWED[target]:
            continue
        response = database.get(target, method, "X-Request-Id: here\r\n")
        assert response.status == 405 and response.header("Allow") == ALLOWED[target]
        assert response.header("X-Request-Id") == "here"
        if method != "HEAD":
            assert response.json()["title"] == "Method Not Allowed"
    for method in ("CONNECT", "BREW"):
        assert database.get("/" if method == "BREW" else "a:1", method).status in (400, 501)


@pytest.mark.parametrize("target", ["/v1/version", "/v1/status?request_id=head"])
def test_head_is_get_without_the_body(database, target):
    whole = database.get(target)
    head = database.get(target, "HEAD")
    assert head.status == whole.status == 200
    for name in ("Content-Type", "Content-Length"):
        assert head.header(name) == whole.header(name)


@pytest.mark.parametrize("sent, echoed", [("a", "a"), ("x" * 128, "x" * 128), ("x" * 129, None), ("~!{}", "~!{}"), ("a b", None), ("", None), ("\xe4", None)])
def test_the_request_id_of_http_comes_back(database, format, sent, echoed):
    headers = f"X-Request-Id: {sent}\r\n"
    for response in (
        send(database, format, {"operations": [write(key())]}, headers),
        send(database, format, format.cut, headers),
        send(database, format, {"leader": "x"}, headers),
        database.get("/v1/status?request_id=a", "GET", headers),
        database.get("/v1/status", "GET", headers),
        database.get("/v1/version", "GET", headers),
    ):
        assert response.header("X-Request-Id") == echoed


@pytest.mark.parametrize("query", ["", "?request_id=", "?min_version=1", "?request_id=a&min_version=x", "?request_id=a&min_version=", "?a=b"])
def test_a_question_that_is_wrong_says_nothing_of_the_commit(database, query):
    problem(database.get("/v1/status" + query), 400, outcome=None)


@pytest.mark.parametrize("size, status", [(1, 200), (2, 200), (127, 200), (128, 200), (129, 400)])
def test_sizes_of_a_request_id(database, format, size, status):
    name = f"{next(fresh):x}".rjust(size, "x")[-size:] if size > 1 else {"json": "!", "msgpack": "~", "protobuf": "0"}[format.name]
    name = name if size < 100 else (format.name[0] + name)[:size]
    response = send(database, format, {"request_id": name, "operations": [write(key())]})
    question = database.get("/v1/status?request_id=" + name.replace("~", "%7E").replace("!", "%21"))
    if status == 200:
        assert format.result(response.body)["request_id"] == name
        assert question.json()["status"] == "committed"
    else:
        assert "request_id" in problem(response, 400)["detail"]
        problem(question, 400, outcome=None)
    leader = send(database, format, {"leader": "l" * size, "operations": [write(key())]})
    assert leader.status == (409 if status == 200 else 400)
    header = send(database, format, {"operations": [write(key())]}, f"Idempotency-Key: {'i' * size}{format.name[0] if size < 128 else ''}\r\n")
    assert header.status == (200 if size < 128 else 422 if size == 128 and header.status == 422 else status)


@pytest.mark.parametrize("name", ["", " ", "a b", "a\tb", "\x7f", "a\n", "\x00", "ä"])
def test_characters_of_a_request_id(database, format, name):
    for member in ("request_id", "leader"):
        found = problem(send(database, format, {member: name, "operations": [write(key())]}), 400)
        assert member in found["detail"]


KEYS_SENT = [
    ("Idempotency-Key: a\r\nIdempotency-Key: b\r\n", None, 400),
    ("Idempotency-Key: a\r\nidempotency-key: b\r\n", "a", 400),
    ("Idempotency-Key: %s\r\nIDEMPOTENCY-KEY: \"%s\"\r\n", None, 200),
    ("Idempotency-Key: %s\r\nIdempotency-Key: %s\r\n", "%s", 200),
    ("Idempotency-Key: %sx\r\nIdempotency-Key: %s\r\n", "%s", 400),
    ("Idempotency-Key:\r\n", None, 400),
    ('Idempotency-Key: ""\r\n', None, 400),
    ("Idempotency-Key: a b\r\n", None, 400),
    ("Idempotency-Key: \xe4\r\n", None, 400),
]


@pytest.mark.parametrize("headers, in_body, status", KEYS_SENT)
def test_the_header_names_the_transaction_like_the_field(database, format, headers, in_body, status):
    name = f"header-{next(fresh)}"
    document = {"operations": [write(key())]}
    if in_body:
        document["request_id"] = in_body.replace("%s", name)
    response = send(database, format, document, headers.replace("%s", name))
    if status == 200:
        assert format.result(response.body)["request_id"] == name
    else:
        assert "Idempotency-Key" in problem(response, status)["detail"]


def test_a_batch_takes_no_header(database, format):
    response = send(database, format, {"transactions": [{"operations": [write(key())]}]}, "Idempotency-Key: a\r\n", "/v1/commits")
    assert "batch" in problem(response, 400)["detail"]


# ---- strictness ----

OPERATION = '{"type":"write","key":"YQ==","value":""}'


def in_operation(text):
    return '{"operations":[%s,%s]}' % (OPERATION, text)


def in_precondition(text):
    return '{"read_version":0,"preconditions":[{"type":"point_read","key":""},%s]}' % text


WRONG_JSON = [
    # body, what the detail says
    ("", "at byte 0"),
    (" ", "at byte 0"),
    ("{", "at byte 1"),
    ('{"operations":[]} x', "at byte 18"),
    ('{"operations":[]}{}', "at byte 17"),
    ('{"operations":[],}', "at byte 16"),
    ("{'operations':[]}", "at byte 1"),
    ('{"operations":[]/**/}', "at byte 16"),
    ("\ufeff{}", "at byte 0"),
    (b'{"leader":"\xff"}', "at byte"),
    (b'{"leader":"\xc0\xaf"}', "at byte"),
    (b'{"leader":"\xed\xa0\x80"}', "at byte"),
    (b'{"leader":"\\ud800"}', "at byte"),
    (b'{"leader":"a\nb"}', "at byte"),
    (b"{}\x00", "at byte 2"),
    ('{"read_version":01}', "at byte"),
    ('{"read_version":+1}', "at byte"),
    ('{"read_version":NaN}', "at byte"),
    ("[" * 60000, "at byte"),
    ('{"a":' * 10000 + "1" + "}" * 10000, "a is not a field"),
    ('{"operations":' + "[" * 30000 + "]" * 30000 + "}", "operations[0] must be a map"),
    ("null", "must be a map"),
    ("[]", "must be a map"),
    ('"a"', "must be a map"),
    ("1", "must be a map"),
    ('{"operation":[]}', "operation is not a field"),
    ('{"Operations":[]}', "Operations is not a field"),
    ('{"operations":[],"operations":[]}', "operations is there twice"),
    ('{"operations":[],"\\u006fperations":[]}', "operations is there twice"),
    ('{"leader":"a","leader":"a"}', "leader is there twice"),
    ('{"transactions":[]}', "transactions is not a field"),
    ('{"":1}', "(an empty name)"),
    ('{"key\\u0000":1}', "key? is not a field"),
    ('{"request_id":1}', "request_id must be a string"),
    ('{"request_id":null}', "request_id must be a string"),
    ('{"leader":[]}', "leader must be a string"),
    ('{"read_version":"1"}', "read_version must be a whole number"),
    ('{"read_version":1.0}', "read_version must be a whole number"),
    ('{"read_version":1e3}', "read_version must be a whole number"),
    ('{"read_version":-1}', "read_version must be a whole number"),
    ('{"read_version":-0}', "read_version must be a whole number"),
    ('{"read_version":true}', "read_version must be a whole number"),
    ('{"read_version":9007199254740992}', "read_version must be below 2^53"),
    ('{"read_version":18446744073709551615}', "read_version must be below 2^53"),
    ('{"read_version":18446744073709551616}', "read_version must be a whole number"),
    ('{"operations":{}}', "operations must be an array"),
    ('{"preconditions":null}', "preconditions must be an array"),
    (in_operation("1"), "operations[1] must be a map"),
    (in_operation("{}"), "operations[1].type is missing"),
    (in_operation('{"type":1,"key":""}'), "operations[1].type must be a string"),
    (in_operation('{"type":"Write","key":"","value":""}'), "operations[1].type is none of write, delete and range_delete"),
    (in_operation('{"type":"point_read","key":""}'), "operations[1].type is none of"),
    (in_operation('{"type":"write","key":""}'), "operations[1].value is missing"),
    (in_operation('{"type":"write","value":""}'), "operations[1].key is missing"),
    (in_operation('{"type":"delete","key":"","value":""}'), "operations[1].value does not belong"),
    (in_operation('{"type":"delete","key":"","version":1}'), "operations[1].version does not belong"),
    (in_operation('{"type":"range_delete","begin":"YQ=="}'), "operations[1].end is missing"),
    (in_operation('{"type":"range_delete","begin":"YQ==","end":"YQ=="}'), "operations[1].begin must be before end"),
    (in_operation('{"type":"range_delete","begin":"Yg==","end":"YQ=="}'), "operations[1].begin must be before end"),
    (in_operation('{"type":"range_delete","begin":"YQA=","end":"YQ=="}'), "operations[1].begin must be before end"),
    (in_operation('{"type":"range_delete","begin":"/w==","end":"fw=="}'), "operations[1].begin must be before end"),
    (in_operation('{"type":"range_delete","begin":"","end":""}'), "operations[1].begin must be before end"),
    (in_operation('{"type":"write","key":"","value":"","x":1}'), "operations[1].x is not a field"),
    (in_operation('{"type":"write","key":"","key":"","value":""}'), "operations[1].key is there twice"),
    (in_operation('{"type":"write","type":"write","key":"","value":""}'), "operations[1].type is there twice"),
    (in_operation('{"type":"write","key":1,"value":""}'), "operations[1].key must be a string of base64"),
    (in_precondition('{"type":"write","key":"","value":""}'), "preconditions[1].type is none of point_read and range_read"),
    (in_precondition('{"type":"range_read","begin":"Yg==","end":"YQ=="}'), "preconditions[1].begin must be before end"),
    (in_precondition('{"type":"point_read","key":"","version":-1}'), "preconditions[1].version must be"),
    (in_precondition('{"type":"point_read","key":"","version":9007199254740992}'), "preconditions[1].version must be below"),
    (in_precondition('{"type":"point_read","key":"","version":0,"version":0}'), "preconditions[1].version is there twice"),
    ('{"preconditions":[{"type":"point_read","key":""}]}', "preconditions[0].version is missing, and there is no read_version"),
]

WRONG_BASE64 = ["YQ", "YQ=", "YQ===", "Y Q==", "YR==", "YWJ=", "YQ==\\n", "-_==", "=", "====", "YQ==YQ==", "Y", "YWJj\\u0000", "\\u00e4", "%%%%"]


@pytest.mark.parametrize("body, says", WRONG_JSON, ids=lambda value: repr(value)[:40])
def test_wrong_json_is_named(database, body, says):
    body = body if isinstance(body, bytes) else body.encode()
    found = problem(send(database, Json(), body), 400)
    assert says in found["detail"], found
    # The same inside of a batch, where it is a transaction.
    if body.startswith(b"{") and "at byte" not in says:
        batch = b'{"transactions":[{"operations":[]},%s]}' % body
        found = problem(send(database, Json(), batch, target="/v1/commits"), 400)
        assert "transactions[1]." + says in found["detail"] or "transactions[1] " + says in found["detail"], found


@pytest.mark.parametrize("text", WRONG_BASE64)
def test_base64_is_strict(database, text):
    for item, name in (('{"type":"write","key":"%s","value":""}', "key"), ('{"type":"write","key":"","value":"%s"}', "value")):
        found = problem(send(database, Json(), in_operation(item % text).encode()), 400)
        assert f"operations[1].{name} must be canonical base64" in found["detail"]


@pytest.mark.parametrize(
    "body, says",
    [
        ('{}', "transactions is missing"),
        ('{"transactions":null}', "transactions must be an array"),
        ('{"transactions":[1]}', "transactions[0] must be a map"),
        ('{"transactions":[],"transactions":[]}', "transactions is there twice"),
        ('{"transactions":[],"operations":[]}', "operations is not a field"),
        ('{"transactions":[{"transactions":[]}]}', "transactions[0].transactions is not a field"),
    ],
)
def test_wrong_batches_are_named(database, body, says):
    assert says in problem(send(database, Json(), body.encode(), target="/v1/commits"), 400)["detail"]


def pairs(*items):
    """A MessagePack map as it stands, also with a name twice."""
    return bytes([0x80 | len(items)]) + b"".join(msgpack(name) + msgpack(value) for name, value in items)


def operation(*items):
    return b"\x81" + msgpack("operations") + b"\x91" + pairs(*items)


WRONG_MSGPACK = [
    (b"", "ends too early"),
    (b"\xc1", "at byte 0"),
    (b"\x80\x80", "something follows the value, at byte 1"),
    (b"\x81", "more is announced than comes"),
    (b"\xdd\xff\xff\xff\xff", "more is announced than comes"),
    (b"\xdf\x7f\xff\xff\xff", "more is announced than comes"),
    (b"\xdb\xff\xff\xff\xff", "ends too early"),
    (b"\x91" * 60000, "nested too deeply"),
    (b"\xc0", "must be a map"),
    (b"\x90", "must be a map"),
    (b"\x81\x01\x01", "has a name that is not a string"),
    (b"\x81" + msgpack(b"operations") + b"\x90", "has a name that is not a string"),
    (pairs(("x", 1)), "x is not a field"),
    (pairs(("\xff", 1)), "is not a field"),
    (b"\x81\xa2\xff\xfe\x01", "\ufffd\ufffd is not a field"),
    (pairs(("leader", "a"), ("leader", "a")), "leader is there twice"),
    (pairs(("leader", b"a")), "leader must be a str"),
    (pairs(("request_id", None)), "request_id must be a str"),
    (pairs(("read_version", -1)), "read_version must be an integer"),
    (pairs(("read_version", 1.0)), "read_version must be an integer"),
    (pairs(("read_version", True)), "read_version must be an integer"),
    (pairs(("read_version", 2**53)), "read_version must be below 2^53"),
    (pairs(("read_version", 2**64 - 1)), "read_version must be below 2^53"),
    (pairs(("operations", {})), "operations must be an array"),
    (operation(), "operations[0].type is missing"),
    (operation(("type", "write"), ("key", b"")), "operations[0].value is missing"),
    (operation(("type", "write"), ("key", 1), ("value", b"")), "operations[0].key must be a bin"),
    (operation(("type", b"write"), ("key", b""), ("value", b"")), "operations[0].type must be a str"),
    (operation(("type", "delete"), ("key", b""), ("key", b"")), "operations[0].key is there twice"),
    (operation(("type", "delete"), ("key", b""), ("x", b"")), "operations[0].x is not a field"),
    (operation(("type", "range_delete"), ("begin", b"b"), ("end", b"a")), "operations[0].begin must be before end"),
    (operation(("type", "delete"), ("key", [])), "operations[0].key must be a bin"),
]


@pytest.mark.parametrize("body, says", WRONG_MSGPACK, ids=lambda value: repr(value)[:40])
def test_wrong_msgpack_is_named(database, body, says):
    assert says in problem(send(database, bodies.Msgpack(), body), 400)["detail"]


def test_a_str_of_msgpack_is_its_bytes(database):
    name = f"str-{next(fresh)}"
    document = {"request_id": name, "operations": [{"type": "write", "key": "k\u00e4y", "value": "v"}]}
    first = answer(database, bodies.Msgpack(), document)
    document["operations"] = [write("k\u00e4y".encode(), b"v")]
    for one in FORMATS:
        assert answer(database, one, document) == first


def delete(inside):
    return field(5, field(2, inside))


WRONG_PROTOBUF = [
    (b"\x80", "at byte 0"),
    (b"\x2a\x05\x12", "a length goes beyond the end, at byte 0"),
    (b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "does not fit"),
    (b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "read_version must be below 2^53"),
    (b"\x98\x80\x80\x80\x80\x00\x05", "a tag is cut off or does not fit"),
    (b"\x12\x81\x80\x80\x80\x80\x00a", "a number is cut off or does not fit"),
    (b"\x2b\x2c", "operations has the wrong wire type"),
    (b"\x33\x34", "6 is not a field"),
    (b"\x08\x01", "request_id has the wrong wire type"),
    (field(6, 1), "6 is not a field"),
    (field(2**29 - 1, b"x"), "536870911 is not a field"),
    (field(2, "a") * 2, "leader is there twice"),
    (field(3, 1) * 2, "read_version is there twice"),
    (field(1, "a\0b"), "request_id must not have a NUL"),
    (field(3, 2**53), "read_version must be below 2^53"),
    (field(5, b""), "operations[0].type is none of"),
    (field(5, field(4, b"")), "operations[0].4 is not a field"),
    (delete(b""), "operations[0].key is missing"),
    (delete(field(1, b"a") * 2), "operations[0].key is there twice"),
    (delete(field(1, b"a") + field(2, b"")), "operations[0].2 is not a field"),
    (delete(field(1, 7)), "operations[0].key has the wrong wire type"),
    (field(5, field(2, field(1, b"a")) * 2), "operations[0].type is there twice"),
    (field(5, field(1, field(1, b"a")) + field(1, field(2, b"b"))), "operations[0].type is there twice"),
    (field(5, field(1, field(1, b"a") + field(2, b"b")) + field(2, field(1, b"a"))), "operations[0].type is there twice"),
    (field(5, field(3, field(1, b"b") + field(2, b"a"))), "operations[0].begin must be before end"),
    (field(4, field(1, field(1, b"a"))), "preconditions[0].version is missing"),
    (field(4, field(1, field(1, b"a")) + field(3, 2**53)), "preconditions[0].version must be below 2^53"),
]


@pytest.mark.parametrize("body, says", WRONG_PROTOBUF, ids=lambda value: repr(value)[:40])
def test_wrong_protobuf_is_named(database, body, says):
    protobuf = bodies.Protobuf()
    assert says in problem(send(database, protobuf, body), 400)["detail"]
    if "at byte" not in says and "cut off" not in says and "fit" not in says:
        found = problem(send(database, protobuf, field(1, b"") + field(1, body), target="/v1/commits"), 400)
        assert "transactions[1]." + says in found["detail"]


def test_protobuf_in_another_writers_words(database):
    """Longer numbers than need be, and lists in turn, mean the same."""
    name = f"words-{next(fresh)}"
    one, two = key(), key()
    plain = {"request_id": name, "read_version": 0, "preconditions": [point(one), point(two)], "operations": [write(one), write(two)]}
    first = answer(database, bodies.Protobuf(), plain)
    item = {number: field(1, field(1, each)) for number, each in enumerate((one, two))}
    change = {number: field(1, field(1, each) + field(2, b"v")) for number, each in enumerate((one, two))}
    body = field(5, change[0]) + field(4, item[0]) + field(5, change[1])
    body += b"\xa2\x80\x00" + varint(len(item[1]))[:-1] + bytes([len(item[1]) | 0x80, 0]) + item[1]
    body += b"\x18\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00" + field(1, name)
    response = send(database, bodies.Protobuf(), body)
    assert response.status == 200, response.body
    assert bodies.Protobuf().result(response.body) == first


@pytest.mark.parametrize("size", [60, 63, 64, 65, 300])
def test_a_name_that_is_cut_leaves_good_json(database, size):
    """A detail quotes names; where that is cut, no character is."""
    for name in ("\u20ac" * size, "a" + "\u20ac" * size, "aa" + "\u20ac" * size, "\u0001" * size, '"' * size, "\\" * size):
        problem(send(database, Json(), json.dumps({name: 1}).encode()), 400)
        problem(send(database, bodies.Msgpack(), pairs((name, 1))), 400)
    problem(send(database, bodies.Msgpack(), b"\x81" + b"\xd9\xff" + b"\xff" * 255 + b"\x01"), 400)


# ---- limits ----

LIMITS = {"max_key_bytes": 16, "max_value_bytes": 20, "max_operations": 3, "max_preconditions": 4, "max_batch_transactions": 5}


@pytest.fixture(scope="module")
def limited():
    with wire.weaseldb(*(f"commit.{name}={value}" for name, value in LIMITS.items()), "http.max_body_bytes=4096") as running:
        yield running


def of_size(name, size):
    """The document whose `name` has that size, and where that is."""
    k = b"k" * size
    return {
        "max_key_bytes": [
            ({"operations": [write(k)]}, "operations[0].key"),
            ({"operations": [write(b""), {"type": "delete", "key": k}]}, "operations[1].key"),
            ({"operations": [{"type": "range_delete", "begin": b"", "end": k}]}, "operations[0].end"),
            ({"operations": [{"type": "range_delete", "begin": k, "end": b"l"}]}, "operations[0].begin"),
            ({"preconditions": [point(k, version=0)]}, "preconditions[0].key"),
            ({"preconditions": [{"type": "range_read", "begin": k, "end": b"l", "version": 0}]}, "preconditions[0].begin"),
            ({"preconditions": [{"type": "range_read", "begin": b"", "end": k, "version": 0}]}, "preconditions[0].end"),
        ],
        "max_value_bytes": [({"operations": [write(b"", k)]}, "operations[0].value")],
        "max_operations": [({"operations": [write(b"")] * size}, "operations")],
        "max_preconditions": [({"preconditions": [point(b"a", version=0)] * size, "read_version": 0}, "preconditions")],
        "max_batch_transactions": [({"transactions": [{"operations": []}] * size}, "transactions")],
    }[name]


@pytest.mark.parametrize("name", LIMITS)
def test_limits_in_every_format(limited, format, name):
    limit = LIMITS[name]
    for size in (limit - 1, limit, limit + 1):
        for document, place in of_size(name, size):
            target = "/v1/commits" if "transactions" in document else "/v1/commit"
            response = send(limited, format, document, target=target)
            if size <= limit:
                # Too old or in conflict with what was written meanwhile, perhaps; but not too large.
                assert response.status in (200, 409), response.body
                continue
            found = problem(response, 413, limit_key=f"commit.{name}", limit=limit, actual=size)
            assert found["detail"].startswith(place + " has ")
            if target == "/v1/commit":
                batch = send(limited, format, {"transactions": [{"operations": []}, document]}, target="/v1/commits")
                found = problem(batch, 413, limit_key=f"commit.{name}", limit=limit, actual=size)
                assert found["detail"].startswith(f"transactions[1].{place} has ")


@pytest.mark.parametrize("chunked", [False, True])
def test_the_size_of_a_body(limited, chunked):
    for size in (4095, 4096, 4097):
        body = Json().commit({"operations": []})
        body += b" " * (size - len(body))
        if chunked:
            with limited.connect() as connection:
                head = f"POST /v1/commit HTTP/1.1\r\nHost: a\r\n{content('application/json')}Transfer-Encoding: chunked\r\n\r\n"
                connection.send(head.encode() + b"%x\r\n%s\r\n0\r\n\r\n" % (size, body))
                response = connection.read()
        else:
            response = send(limited, Json(), body)
        if size <= 4096:
            assert response.status == 200
        else:
            assert response.status == 413 and response.header("Content-Type") == "application/problem+json"
            found = response.json()
            assert (found["limit_key"], found["limit"], found["outcome"]) == ("http.max_body_bytes", 4096, "not_committed")
            assert found.get("actual", size) == size


# ---- keys and ranges ----

LONGEST = b"\xff" * 1024
ORDERED = [b"", b"\x00", b"\x00\x00", b"\x01", b"a", b"a\x00", b"a\x00\xff", b"a\x01", b"ab", b"a\xff", b"b", b"\x7f", b"\x80", b"\xff", b"\xff\x00", LONGEST[:-1], LONGEST]


def test_keys_order_by_unsigned_bytes(database, format):
    """Each range of these keys, read and deleted: what lies in it conflicts, what does not does not."""
    assert ORDERED == sorted(ORDERED)
    chosen = {"json": ORDERED, "msgpack": ORDERED[::3], "protobuf": ORDERED[1::3]}[format.name]
    with database.connect() as connection:
        for begin, end in itertools.combinations(chosen, 2):
            # One transaction a key, so that each has its version; then which of them a range sees.
            at = {name: answer(connection, format, {"operations": [write(name)]})["version"] for name in (begin, end)}
            expected = {begin: True, end: False}
            for name, seen in expected.items():
                check = {"preconditions": [{"type": "range_read", "begin": begin, "end": end, "version": at[name] - 1}]}
                status = 409 if seen else 200
                assert send(connection, format, check).status == status, (begin, end, name)
            deleted = answer(connection, format, {"operations": [{"type": "range_delete", "begin": begin, "end": end}]})["version"]
            seen = answer(connection, format, {"read_version": deleted - 1, "preconditions": [point(name) for name in chosen]}, status=409)
            assert seen["conflicts"] == [at for at, name in enumerate(chosen) if begin <= name < end], (begin, end)


def test_the_last_operation_on_a_key_wins_and_counts_once(database, format):
    """Order is kept: a write, its deletion and a write again are one write of that version."""
    mine = key()
    document = {"operations": [write(mine, b"1"), {"type": "delete", "key": mine}, {"type": "range_delete", "begin": mine, "end": mine + b"\0"}, write(mine, b"2")]}
    version = answer(database, format, document)["version"]
    assert answer(database, format, {"preconditions": [point(mine, version=version)]})["version"] >= version
    assert answer(database, format, {"preconditions": [point(mine, version=version - 1)]}, status=409)["conflicts"] == [0]


def test_a_check_alone_changes_nothing(database, format):
    before = database.get("/v1/version").json()["version"]
    checked = answer(database, format, {"request_id": f"check-{format.name}", "preconditions": [point(key(), version=before)]})
    assert checked["version"] == before
    assert answer(database, format, {}) | {"request_id": ""} == checked | {"request_id": ""}
    problem(send(database, format, {"preconditions": [point(key(), version=before + 1)]}), 400)
    problem(send(database, format, {"read_version": 2**53 - 1}), 400)
    assert database.get("/v1/version").json()["version"] == before


def test_a_batch_with_every_outcome(database, format):
    mine, name = key(), f"batch-{format.name}-{next(fresh)}"
    read_at = answer(database, format, {"operations": [write(mine)]})["version"]
    database.get(f"/v1/status?request_id={name}-fenced")
    transactions = [
        {"request_id": name, "operations": [write(mine)]},
        {"request_id": name, "operations": [write(mine)]},
        {"request_id": name, "operations": [write(mine, b"other")]},
        {"request_id": name + "-stale", "read_version": read_at, "preconditions": [point(mine)], "operations": [write(mine)]},
        {"request_id": name + "-stale", "read_version": read_at, "preconditions": [point(mine)], "operations": [write(mine)]},
        {"leader": "another", "operations": [write(mine)]},
        {"request_id": name + "-fenced", "operations": [write(mine)]},
        {"read_version": read_at + 9, "operations": [write(mine)]},
        {"preconditions": [point(mine, version=read_at)]},
        {"operations": [write(mine)]},
        {"read_version": read_at, "preconditions": [point(key())], "operations": []},
    ]
    response = send(database, format, {"transactions": transactions}, target="/v1/commits")
    assert response.status == 200
    results = format.results(response.body)["results"]
    assert [one["http_status"] for one in results] == [200, 200, 422, 409, 409, 409, 409, 400, 409, 200, 200]
    assert [one.get("reason") for one in results] == [None, None, None, "conflict", "conflict", "wrong_leader", "fenced", None, "conflict", None, None]
    assert [one["version"] for one in results if one["status"] == "committed"] == [read_at + 1, read_at + 1, read_at + 2, read_at + 2]
    assert all(one["status"] == "not_committed" for one in results if one["http_status"] != 200)
    assert all(one["detail"] for one in results if one["http_status"] in (400, 422))
    assert all(one["request_id"] and one["leader"] for one in results)
    # A refusal's version is one to read at: fresh, and not beyond what is durable.
    for one in results:
        if one["http_status"] == 409:
            assert read_at <= one["version"] <= read_at + 2
            answer(database, format, {"preconditions": [point(key(), version=one["version"])]})


@pytest.mark.parametrize("asked_first", [False, True])
def test_what_a_question_was_told_of_a_refused_commit_outlasts_a_kill(tmp_path, format, asked_first):
    """The refusal itself is in no log. Once somebody has asked, nothing under that id may ever commit."""
    with wire.weaseldb(cwd=tmp_path) as server:
        mine = key()
        read_at = answer(server, format, {"operations": [write(mine)]})["version"]
        answer(server, format, {"operations": [write(mine)]})
        refused = {"request_id": "refused", "preconditions": [point(mine, version=read_at)], "operations": [write(mine)]}
        if asked_first:
            assert server.get("/v1/status?request_id=refused").json()["status"] == "not_committed"
        assert answer(server, format, refused, status=409)["reason"] == ("fenced" if asked_first else "conflict")
        for _ in range(2):
            assert server.get("/v1/status?request_id=refused").json() == {"request_id": "refused", "status": "not_committed"}
        server.process.kill()
        server.expect_exit = -9
    with wire.weaseldb(cwd=tmp_path) as server:
        del refused["preconditions"]
        assert answer(server, format, refused, status=409)["reason"] == "fenced"
        assert server.get("/v1/version").json()["version"] == read_at + 1
