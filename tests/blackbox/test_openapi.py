"""The description of the API: it is well formed, its examples work, and it is what the server does. That every other exchange
with weaseldb keeps to it is checked where the exchange is made; see openapi.py."""

import re
import socket

import jsonschema
import pytest
import yaml

import formats
import openapi
import unseen
import wire

DOCUMENT = openapi.DOCUMENT
SERVED = [path for path in DOCUMENT["paths"] if path not in unseen.NOT_SERVED]
OPERATIONS = [(path, method) for path in SERVED for method in sorted(openapi.METHODS & set(DOCUMENT["paths"][path]))]
NAMES = [f"{method.upper()} {path}" for path, method in OPERATIONS]
STREAMS = {path for path, method in OPERATIONS if "text/event-stream" in str(DOCUMENT["paths"][path][method]["responses"])}
FEED_EVENTS = {"FeedTransaction", "FeedProgress", "FeedEnd"}  # lines of a stream, which no schema has hold of
FORMATS = ["application/json", "application/msgpack", "application/protobuf"]
JSON = "Content-Type: application/json\r\n"


@pytest.fixture(scope="module")
def database():
    with wire.weaseldb() as running:
        yield running


def operation(path, method):
    return DOCUMENT["paths"][path][method]


def target(path, method):
    """The path with what it needs, from the examples."""
    item = DOCUMENT["paths"][path]
    parameters = [*item.get("parameters", ()), *item[method].get("parameters", ())]
    query = [f"{p['name']}={p['example']}" for p in parameters if p["in"] == "query" and p.get("required")]
    for parameter in parameters:
        if parameter["in"] == "path":
            path = path.replace("{%s}" % parameter["name"], parameter["example"])
    return path + ("?" + "&".join(query) if query else "")


# ---- the document ----

# Fields of each kind of object in OpenAPI 3.1, with the kind of what they hold: None: anything, [kind]: a list, {"": kind}: a map.
CONTENT = {"": "media type"}
RESPONSES = {"": "response"}
KINDS = {
    "document": {
        **dict.fromkeys(("openapi", "jsonSchemaDialect", "security", "externalDocs"), None),
        "info": "info",
        "servers": ["server"],
        "tags": ["tag"],
        "paths": {"": "path"},
        "components": "components",
        "x-common-responses": RESPONSES,
    },
    "info": dict.fromkeys(("title", "summary", "description", "termsOfService", "contact", "license", "version"), None),
    "server": dict.fromkeys(("url", "description", "variables"), None),
    "tag": dict.fromkeys(("name", "description", "externalDocs"), None),
    "components": {"schemas": None, "responses": RESPONSES, "headers": {"": "header"}, "parameters": {"": "parameter"}},
    "path": {
        **dict.fromkeys(("summary", "description"), None),
        **dict.fromkeys(openapi.METHODS, "operation"),
        "parameters": ["parameter"],
    },
    "operation": {
        **dict.fromkeys(("operationId", "tags", "summary", "description", "deprecated", "security"), None),
        "parameters": ["parameter"],
        "requestBody": "request body",
        "responses": RESPONSES,
    },
    "parameter": dict.fromkeys(
        ("name", "in", "description", "required", "allowEmptyValue", "style", "explode", "schema", "example"), None
    ),
    "request body": {"description": None, "required": None, "content": CONTENT},
    "response": {"description": None, "headers": {"": "header"}, "content": CONTENT},
    "header": dict.fromkeys(("description", "required", "schema"), None),
    "media type": {"schema": None, "examples": {"": "example"}, "x-protobuf-message": None},
    "example": dict.fromkeys(("summary", "description", "value", "x-status"), None),
}
NEEDED = {
    "document": {"openapi", "info", "paths"},
    "info": {"title", "version"},
    "operation": {"operationId", "tags", "summary", "responses"},
    "parameter": {"name", "in", "schema", "description"},
    "request body": {"content"},
    "response": {"description"},
    "header": {"schema", "description"},
    "media type": {"schema"},
    "example": {"value"},
}


def walk(node, kind, place):
    """All mistakes of form, and every object with its kind."""
    if isinstance(kind, list):
        for number, item in enumerate(node):
            yield from walk(item, kind[0], f"{place}[{number}]")
    elif isinstance(kind, dict):
        for name, item in node.items():
            assert isinstance(name, str), f"{place}: {name!r} is not a string"
            yield from walk(item, kind[""], f"{place}.{name}")
    elif kind is not None:
        assert isinstance(node, dict), f"{place} is no {kind}"
        assert set(node) <= set(KINDS[kind]), f"{place}: a {kind} has no {set(node) - set(KINDS[kind])}"
        assert NEEDED.get(kind, set()) <= set(node), f"{place}: a {kind} needs {NEEDED[kind] - set(node)}"
        yield kind, node, place
        for name, item in node.items():
            yield from walk(item, KINDS[kind][name], f"{place}.{name}")


def test_the_document_is_well_formed():
    assert re.fullmatch(r"3\.1\.\d+", DOCUMENT["openapi"])
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    ids = []
    for kind, node, place in walk(DOCUMENT, "document", "document"):
        if kind == "operation":
            ids.append(node["operationId"])
            assert set(node["tags"]) <= tags, place
        elif kind == "path":
            own = [name for method in openapi.METHODS & set(node) for name in node[method].get("parameters", ())]
            named = {p["name"] for p in [*node.get("parameters", ()), *own] if p["in"] == "path"}
            assert named == set(re.findall(r"\{(.*?)\}", place.partition("paths.")[2])), place
        elif kind == "parameter":
            assert node["in"] in ("query", "path", "header"), place
            assert node.get("required") or node["in"] != "path", place
            if "example" in node:
                assert not openapi.check_value(node["example"], node["schema"], place)
        elif kind == "response" and place.rpartition(".")[2] not in DOCUMENT["components"]["responses"]:
            assert re.fullmatch("[2-5][0-9][0-9]", place.rpartition(".")[2]), place
        elif kind == "media type":
            for example in node.get("examples", {}).values():
                assert not openapi.check_value(example["value"], node["schema"], place)
    assert len(ids) == len(set(ids)), ids


def test_every_schema_is_one_and_is_used():
    text = openapi.PATH.read_text()
    for group, items in DOCUMENT["components"].items():
        for name in items:
            used = text.count(f"'#/components/{group}/{name}'")
            assert used or name in FEED_EVENTS, f"{group}/{name} is not used"

    def objects(node):
        if isinstance(node, dict):
            yield node
        for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            yield from objects(item)

    for kind, node, _ in walk(DOCUMENT, "document", "document"):
        if "schema" in KINDS[kind]:
            jsonschema.Draft202012Validator.check_schema(node["schema"])
    for schema in objects(DOCUMENT["components"]["schemas"]):
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is False
            assert set(schema.get("required", ())) <= set(schema["properties"])


def test_no_name_stands_twice_in_the_yaml():
    class Strict(yaml.SafeLoader):
        pass

    def construct(loader, node):
        names = [key.value for key, _ in node.value]
        assert len(names) == len(set(names)), f"twice at line {node.start_mark.line + 1}: {names}"
        return yaml.SafeLoader.construct_mapping(loader, node, deep=True)

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, construct)
    yaml.load(openapi.PATH.read_text(), Loader=Strict)


def test_the_events_of_the_example_are_what_their_schemas_say():
    content = operation("/v1/subscribe", "get")["responses"]["200"]["content"]["text/event-stream"]
    events = content["examples"]["events"]["value"].strip().split("\n\n")
    names = {"transaction": "FeedTransaction", "progress": "FeedProgress", "end": "FeedEnd"}
    for event in events:
        fields = dict(line.split(": ", 1) for line in event.splitlines())
        data = formats.parse_json(fields["data"].encode())
        openapi.check_named(data, names.pop(fields["event"]))
        assert fields.get("id") == (str(data["version"]) if "version" in data else None)
    assert not names


def test_every_problem_type_is_one_of_the_source():
    text = "".join(path.read_text() for path in (wire.ROOT / "src").rglob("*.[ch]"))
    for name in DOCUMENT["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]:
        slug = name.rpartition(":")[2]
        assert (f'"{slug}"' in text) == (slug not in unseen.NOT_GIVEN), slug


# ---- the document and the server ----


def test_both_files_are_served_as_they_are(database):
    for name in ("openapi.yaml", "weaseldb.proto"):
        response = database.get(f"/{name}")
        assert response.body == (formats.API / name).read_bytes()
        etag = response.header("ETag")
        head = database.get(f"/{name}", "HEAD")
        assert head.header("ETag") == etag and head.header("Content-Length") == str(len(response.body))
        for value, wanted in (
            (etag, 304),
            (f"W/{etag}", 304),
            (f'"other", {etag}', 304),
            ("*", 304),
            ('"other"', 200),
            (etag[:-2] + '"', 200),
            (etag.strip('"'), 200),
            ("", 200),
        ):
            with database.connect() as connection:
                assert connection.get(f"/{name}", headers=f"If-None-Match: {value}\r\n").status == wanted, value
                assert connection.get("/livez").status == 200


def test_the_server_lists_what_is_documented(database):
    about = database.get("/").json()
    assert about["version"] == DOCUMENT["info"]["version"]
    listed = {(endpoint["path"], endpoint["method"].lower()) for endpoint in about["endpoints"]}
    assert listed <= set(OPERATIONS)
    assert {path for path, _ in listed} == set(SERVED), "of each path one method at least"
    for path in unseen.NOT_SERVED:
        assert DOCUMENT["paths"][path]
        with socket.create_connection(database.address) as plain:  # not an exchange that must be documented
            plain.sendall(f"GET {path.replace('{id}', 'a')} HTTP/1.0\r\n\r\n".encode())
            assert plain.makefile("rb").readline() == b"HTTP/1.1 404 Not Found\r\n", f"{path} is served: take it off the list"


def example_bodies():
    for path, method in OPERATIONS:
        content = operation(path, method).get("requestBody", {}).get("content", {})
        for name, example in content.get("application/json", {}).get("examples", {}).items():
            yield path, method, content, name, example


@pytest.mark.parametrize("media_type", FORMATS)
def test_the_examples_work(media_type):
    sent = 0
    with wire.weaseldb() as server:
        for path, method, content, name, example in example_bodies():
            if media_type not in content:
                continue
            body = formats.encode(example["value"], media_type, content[media_type])
            response = server.get(target(path, method), method.upper(), f"Content-Type: {media_type}\r\n", body)
            assert response.status == example["x-status"], (name, response.body)
            answer = response.header("Content-Type")
            assert answer == (media_type if response.status in (200, 409) else "application/problem+json")
            sent += 1
        assert sent > 9
        for path, method in OPERATIONS:
            if method == "get" and path not in STREAMS and "{" not in path:
                response = server.get(target(path, method), headers=f"Accept: {media_type}\r\n")
                assert response.status == 200
                if media_type in operation(path, method)["responses"]["200"]["content"]:
                    assert response.header("Content-Type") == media_type


@pytest.mark.parametrize("media_type", [*operation("/v1/commit", "post")["requestBody"]["content"]])
def test_every_name_of_a_format_is_taken(database, media_type):
    for path, value in (("/v1/commit", {"operations": []}), ("/v1/commits", {"transactions": [{}]})):
        content = operation(path, "post")["requestBody"]["content"]
        assert set(content) == set(operation("/v1/commit", "post")["requestBody"]["content"])
        for spelt in (media_type, media_type.upper(), media_type + "; charset=utf-8"):
            body = formats.encode(value, media_type, content[media_type])
            response = database.get(path, "POST", f"Content-Type: {spelt}\r\nAccept: application/json\r\n", body)
            assert response.status == 200, response.body
        accepted = database.get(path, "POST", "Content-Type: text/plain\r\n", b"x").header("Accept-Post")
        assert set(accepted.split(", ")) == set(content)


@pytest.mark.parametrize("path, method", OPERATIONS, ids=NAMES)
def test_unknown_and_repeated_parameters_are_refused(database, path, method):
    at = target(path, method)
    known = at.partition("?")[2].partition("=")[0]
    mistakes = [("nonsense=1", "nonsense"), ("nonsense", "nonsense"), ("NONSENSE=", "NONSENSE"), ("%6eonsense=1", "%6eonsense")]
    if known:
        mistakes += [(f"{known}=again", known), (f"{known.upper()}=1", known.upper())]
    body = b"{}" if method in ("post", "put") else b""
    for query, named in mistakes:
        response = database.get(at + ("&" if "?" in at else "?") + query, method.upper(), JSON if body else "", body)
        assert response.status == 400
        problem = response.json()
        assert named in problem["detail"], problem
        assert problem.get("outcome") == ("not_committed" if path.startswith("/v1/commit") else None)


@pytest.mark.parametrize("path", SERVED)
def test_methods_that_a_path_has_not(database, path):
    item = DOCUMENT["paths"][path]
    allowed = {method.upper() for method in openapi.METHODS & set(item)} | {"OPTIONS"}
    if "get" in item:
        allowed.add("HEAD")
    if "get" in item and path not in STREAMS:
        got, head = database.get(target(path, "get")), database.get(target(path, "get"), "HEAD")
        assert got.status == head.status
        changing = {"Date", "Content-Length"} if path == "/metrics" else {"Date"}
        same = [[header for header in answer.headers if header[0] not in changing] for answer in (got, head)]
        assert same[0] == same[1]
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "OPTIONS"):
        if method == "OPTIONS" or method not in allowed:
            response = database.get(path.replace("{id}", "a"), method)
            assert response.status == (204 if method == "OPTIONS" else 405)
            assert set(response.header("Allow").split(", ")) == allowed


def test_request_ids_come_back(database):
    for path, method in OPERATIONS:
        if path in STREAMS:
            continue
        for sent, wanted in (("abc-1", "abc-1"), ("x" * 128, "x" * 128), ("x" * 129, None), ("a b", None)):
            response = database.get(target(path, method), method.upper(), f"X-Request-Id: {sent}\r\n")
            assert response.header("X-Request-Id") == wanted


@pytest.mark.parametrize(
    "data, status",
    [
        (b"GET /livez HTTP/1.1\r\n\r\n", 400),
        (b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 413),
        (b"POST /v1/commit HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 101 + b"\r\n", 431),
        (b"BREW /livez HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"POST /v1/commit HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET /livez HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET  /livez HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ],
)
def test_answers_to_any_request(database, data, status):
    with database.connect() as connection:
        connection.send(data)
        assert connection.read().status == status


def test_a_batch_that_is_too_large(database):
    response = database.get("/v1/commits", "POST", JSON, b'{"transactions":[' + b"{}," * 100000 + b"{}]}")
    assert response.status == 413 and response.json()["limit_key"] == "commit.max_batch_transactions"


def test_late_and_too_many():
    with wire.weaseldb("http.request_timeout_sec=1", "http.max_connections=1") as server:
        with server.connect() as first:
            first.send(b"GET /livez HT")
            wire.wait_for(lambda: refused(server))
            assert first.read().status == 408


def refused(server):
    try:
        return server.get("/").status == 503
    except (ConnectionResetError, BrokenPipeError):
        return False  # refused before all of it was sent


@pytest.mark.skipif(wire.SANITIZED, reason="sanitizers want to be the first library")
@pytest.mark.parametrize("path", ["/v1/status?request_id=nobody", "/v1/commits"])
def test_a_log_that_fails(tmp_path, path):
    trigger = tmp_path / "trigger"
    faulty = {"LD_PRELOAD": str(wire.BUILD / "tests/libbad_disk.so"), "BAD_DISK": str(trigger)}
    with wire.weaseldb(cwd=tmp_path, env=faulty) as server:
        trigger.write_text("sync")
        server.expect_exit = 1
        if path == "/v1/commits":
            response = server.get(path, "POST", JSON, b'{"transactions":[{"operations":[{"type":"write","key":"","value":""}]}]}')
            assert response.status == 200
            assert [(r["http_status"], r["status"]) for r in response.json()["results"]] == [(500, "unknown")]
        else:
            response = server.get(path)
            assert response.status == 500
            assert "outcome" not in response.json(), "that the question failed says nothing of the commit"
        assert server.wait() == 1


# ---- the check itself ----


def answer(status, body, *headers, kind="application/json"):
    fields = [("Date", "Sun, 06 Nov 1994 08:49:37 GMT"), *headers]
    return wire.Response(status, [*fields, ("Content-Type", kind)] if kind else fields, body)


COMMIT = b'{"operations":[]}'
SENT = wire.request("/v1/commit", "POST", JSON, COMMIT)
GOOD = b'{"request_id":"a","status":"committed","version":1,"leader":"l"}'
PROBLEM = b'{"type":"urn:weaseldb:problem:not-found","title":"t","status":404,"detail":"d"}'


@pytest.mark.parametrize(
    "sent, got, complaint",
    [
        (SENT, answer(200, GOOD), None),
        (SENT, answer(200, GOOD.replace(b"committed", b"perhaps")), "'committed' was expected"),
        (SENT, answer(200, GOOD.replace(b'"version":1,', b"")), "'version' is a required property"),
        (SENT, answer(200, GOOD.replace(b"{", b'{"more":1,')), "'more' was unexpected"),
        (SENT, answer(200, GOOD.replace(b"{", b'{"version":1,')), "twice"),
        (SENT, answer(200, GOOD[:-1]), "not well formed"),
        (SENT, answer(200, GOOD, kind="text/html"), "Content-Type is 'text/html'"),
        (SENT, answer(200, b"\x85", kind="application/msgpack"), "not well formed"),
        (SENT, answer(200, b"\xff", kind="application/protobuf"), "not well formed"),
        (SENT, answer(200, b"\x0a\x00\x7a\x01a", kind="application/protobuf"), "unknown fields"),
        (SENT, answer(200, GOOD, ("Server", "x")), "the header Server is not documented"),
        (SENT, answer(206, GOOD), "not documented"),
        (SENT, answer(204, b"", kind=None), "204 is the answer to OPTIONS"),
        (SENT, answer(503, b"{}", kind="application/problem+json"), "Retry-After is missing"),
        (SENT, answer(404, PROBLEM, kind="application/problem+json"), "nothing is there"),
        (wire.request("/x"), answer(404, PROBLEM, kind="application/problem+json"), None),
        (wire.request("/x"), answer(404, PROBLEM.replace(b"404", b"400"), kind="application/problem+json"), "another status"),
        (wire.request("/x"), answer(404, PROBLEM.replace(b"not-found", b"lost"), kind="application/problem+json"), "is not one of"),
        (wire.request("/x"), answer(200, GOOD), "not documented"),
        (b"nonsense", answer(200, GOOD), "not documented"),
        (wire.request("/livez", headers="X-Request-Id: q\r\n"), answer(200, b'{"status":"ok"}'), "X-Request-Id"),
        (wire.request("/livez", "HEAD"), answer(200, b""), None),
        (wire.request("/livez", "HEAD"), answer(200, b"x"), "it has a body"),
        (wire.request("/livez?x=1"), answer(200, b'{"status":"ok"}'), "was accepted"),
        (wire.request("/v1/status"), answer(200, b'{"request_id":"a","status":"expired"}'), "request_id is required"),
        (SENT.replace(b'"operations"', b'"Operations"'), answer(200, GOOD), "'Operations' was unexpected"),
        (SENT.replace(b"application/json", b"text/plain"), answer(200, GOOD), "'text/plain' is not documented"),
    ],
)
def test_the_check_finds_what_deviates(sent, got, complaint):
    assert not openapi.complaints
    before = set(openapi.seen)
    request, rest = openapi.take_request(sent)
    assert rest == b""
    openapi.Exchange(request, got).check_body()
    found, openapi.complaints[:] = list(openapi.complaints), []
    openapi.seen.intersection_update(before)  # this was not the server
    assert any(complaint in text for text in found) if complaint else not found, found


def test_requests_are_taken_apart_as_they_were_sent():
    chunked = b"POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nab\r\n1\r\nc\r\n0\r\nT: t\r\n\r\n"
    first, rest = openapi.take_request(wire.request("/a?q=%20&r=", "POST", "", b"12") + chunked + wire.request("/c"))
    assert (first.path, first.query, first.body, first.complete) == ("/a", {"q": [" "], "r": [""]}, b"12", True)
    second, rest = openapi.take_request(rest)
    assert (second.path, second.body, second.complete) == ("/b", b"abc", True)
    third, rest = openapi.take_request(rest)
    assert (third.path, third.body, rest) == ("/c", b"", b"")
    assert not openapi.take_request(wire.request("/a", "POST", "", b"12")[:-1])[0].complete


def test_the_formats_carry_the_same():
    for path, method, content, _, example in example_bodies():
        value = example["value"]
        if len(content) == 1:
            continue  # JSON only
        assert formats.parse_msgpack(formats.encode(value, "application/msgpack", {})) == value
        kind = content["application/protobuf"]
        again = formats.parse_protobuf(formats.encode(value, "application/protobuf", kind), kind["x-protobuf-message"])
        assert without_empty(again) == without_empty(value)


def without_empty(value):
    if isinstance(value, list):
        return [without_empty(item) for item in value]
    return {name: without_empty(item) for name, item in value.items() if item != []} if isinstance(value, dict) else value
