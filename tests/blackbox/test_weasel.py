"""The `weasel` command: what it says, what it ends with, and what it does when the server does not answer."""

import base64
import json
import os
import pathlib
import pty
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

import wire
from fake_server import FakeServer, problem

WEASEL = wire.BUILD / "weasel"
COMMANDS = ["commit", "status", "version", "subscribe", "bench", "follow"]


def environment(server):
    kept = {name: value for name, value in os.environ.items() if name != "WEASEL_SERVER"}
    return {**kept, **({"WEASEL_SERVER": server} if server else {})}


def start(*arguments, server=None, stdin=subprocess.DEVNULL, **options):
    return subprocess.Popen(
        [WEASEL, *map(str, arguments)],
        env=environment(server),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def weasel(*arguments, server=None, text="", **options):
    return subprocess.run(
        [WEASEL, *map(str, arguments)],
        env=environment(server),
        input=text,
        capture_output=True,
        text=True,
        timeout=wire.PATIENCE * 3,
        **options,
    )


@pytest.fixture(scope="module")
def database():
    with wire.weaseldb() as running:
        running.url = f"http://127.0.0.1:{running.address[1]}"
        yield running


fresh = iter(range(10**9))


def key():
    return f"key-{next(fresh)}"


# ---- the command line ----


def test_help_and_version():
    result = weasel("--help")
    assert result.returncode == 0
    for command in COMMANDS:
        assert f"\n  {command} " in result.stdout
    assert weasel("--version").stdout.startswith("weasel ")
    result = weasel()
    assert result.returncode == 2
    assert result.stdout == ""
    assert "usage: weasel" in result.stderr
    result = weasel("comit")
    assert result.returncode == 2
    assert "there is no command 'comit'" in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each(command):
    result = weasel(command, "--help")
    assert result.returncode == 0
    assert result.stderr == ""
    assert result.stdout.startswith(f"usage: weasel {command}")
    assert "Exit status: 0" in result.stdout
    assert all(len(line) <= 100 for line in result.stdout.splitlines())


@pytest.mark.parametrize("command", COMMANDS)
def test_mistakes_on_the_command_line(command):
    needed = {"status": ["id"], "follow": ["--sqlite", "/tmp/x"], "commit": ["--delete", "a"]}.get(command, [])
    for words, said in (
        (["--nonsense"], "there is no option --nonsense"),
        (["--server"], "--server needs a value"),
        (["--help=x"], "--help=x: the option takes no value"),
        ([*needed, "more"], "'more' is not an option"),
        ([*needed, "--server", "ftp://x"], "it must be http://HOST:PORT or unix:PATH"),
        ([*needed, "--server", "https://x"], "'https://x': neither weasel nor the server speaks TLS"),
        ([*needed, "--server", "HTTPS://x:443/"], "name a tunnel on this machine that adds TLS"),
        ([*needed, "--server", "http://x:0"], "the port must be a number from 1 to 65535"),
        ([*needed, "--server", "http://x:65536"], "the port must be a number from 1 to 65535"),
        ([*needed, "--server", "http://"], "there is no host name"),
        ([*needed, "--server", "http://x:1/v1"], "must end behind the port"),
        ([*needed, "--server", "http://[::1]x"], "only a port may stand"),
        ([*needed, "--server", "unix:"], "1 to 107 bytes"),
        ([*needed, "--server", "unix:" + "x" * 108], "1 to 107 bytes"),
    ):
        result = weasel(command, *words)
        assert result.returncode == 2, words
        assert said in result.stderr
        assert result.stderr.endswith(f"See weasel {command} --help.\n")
        assert result.stdout == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_https_of_the_environment_is_refused_too(command):
    words = {"status": ["id"], "follow": ["--sqlite", "/tmp/x"], "commit": ["--delete", "a"]}.get(command, [])
    result = weasel(command, *words, server="https://127.0.0.1:1")
    assert result.returncode == 2
    assert "the server 'https://127.0.0.1:1': neither weasel nor the server speaks TLS" in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_the_server_is_not_there(command, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        words = {"status": ["id"], "follow": ["--sqlite", tmp_path / "db"], "commit": ["--delete", "a"]}.get(command, [])
        for where in (["--server", url], ["--server", f"unix:{tmp_path}/none"]):
            result = weasel(command, *words, *where)
            assert result.returncode == 1
            assert f"no server at {where[1]}: " in result.stderr
            assert "Connection refused" in result.stderr or "No such file" in result.stderr
            assert "WEASEL_SERVER" in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_something_else_is_there(command, tmp_path):
    """A web server that has pages for everything, and one that has none."""

    def page(exchange):
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n<html")

    def nothing(exchange):
        exchange.send("HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nNot Found")

    words = {"status": ["id"], "follow": ["--sqlite", tmp_path / "db"], "commit": ["--delete", "a"]}.get(command, [])
    for answer in (page, nothing):
        with FakeServer(answer) as server:
            result = weasel(command, *words, server=server.url)
        assert result.returncode == 1
        assert "WeaselDB" in result.stderr


def test_unix_sockets_and_names(tmp_path):
    with wire.weaseldb(f"http.unix_socket={tmp_path}/s") as server:
        port = [address[1] for address in server.addresses if not isinstance(address, str)][0]
        for url in (f"unix:{tmp_path}/s", f"http://localhost:{port}/"):
            assert weasel("version", "--json", "--server", url).returncode == 0
            assert weasel("bench", "--duration", 0.05, "--clients", 2, "--server", url).returncode == 0


def test_a_full_disk_for_the_output_is_an_error(database):
    for words in (["version"], ["commit", "--write", "a=1"], ["--help"]):
        with open("/dev/full", "w") as full:
            result = subprocess.run(
                [WEASEL, *words], env=environment(database.url), stdout=full, stderr=subprocess.PIPE, timeout=wire.PATIENCE
            )
        assert result.returncode == 1
        assert b"No space left" in result.stderr


def test_a_closed_pipe_for_the_output(database):
    process = start("version", server=database.url, preexec_fn=lambda: os.close(1))
    process.communicate(timeout=wire.PATIENCE)
    assert process.returncode == 1
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run([WEASEL, "--help"], stdout=writer, timeout=wire.PATIENCE)
    os.close(writer)
    assert result.returncode in (1, -signal.SIGPIPE)


# ---- version and status ----


def test_version(database):
    info = json.loads(weasel("version", "--json", server=database.url).stdout)
    text = weasel("version", server=database.url).stdout
    assert info == database.get("/v1/version").json()
    assert dict(line.split() for line in text.splitlines()) == {
        name: str(info[name]) for name in ("version", "oldest_read_version", "log_start_version", "leader")
    }


def test_status(database):
    first = weasel("commit", "--write", f"{key()}=1", "--request-id", "status-1", server=database.url)
    assert first.returncode == 0
    known = weasel("status", "status-1", server=database.url)
    assert known.returncode == 0
    assert known.stdout == first.stdout
    assert re.fullmatch(r"committed at version \d+, request id status-1\n", known.stdout)
    fenced = weasel("status", "--json", "never/sent?&=", server=database.url)
    assert fenced.returncode == 3
    assert json.loads(fenced.stdout) == {"request_id": "never/sent?&=", "status": "not_committed"}
    late = weasel("commit", "--write", "a=1", "--request-id", "never/sent?&=", server=database.url)
    assert late.returncode == 3
    assert "not committed: fenced" in late.stderr


@pytest.mark.parametrize("words", [[], ["two", "ids"], [""], ["a b"], ["x" * 129], ["é"]])
def test_status_needs_a_request_id(database, words):
    assert weasel("status", *words, server=database.url).returncode == 2


def test_status_of_an_id_of_the_longest_size(database):
    assert weasel("status", "x" * 128, server=database.url).returncode == 3


def test_an_expired_id():
    with FakeServer(lambda exchange: exchange.reply(200, {"request_id": "old", "status": "expired"})) as server:
        result = weasel("status", "old", "--min-version", 7, server=server.url)
    assert result.returncode == 4
    assert "expired" in result.stderr
    assert server.requests[0].query == {"request_id": "old", "min_version": "7"}


# ---- commit ----


def sent(*arguments, text=""):
    """What a commit with these words sends."""
    with FakeServer(lambda exchange: exchange.reply(200, {"request_id": "x", "status": "committed", "version": 1})) as server:
        result = weasel("commit", *arguments, server=server.url, text=text)
    assert result.returncode == 0, result.stderr
    assert server.requests[0].headers["content-type"] == "application/json"
    document = json.loads(server.requests[0].body)
    return document


def test_what_is_sent():
    document = sent(
        *("--write", "a=b=c", "--delete", "\\x00\\\\", "--delete-range", "-x", "--y"),
        *("--read", "k@l@41", "--read", "m@n", "--read-range", "b", "c", "@7", "--read-range", "d", "e"),
        *("--read-version", 42, "--request-id", "id-1", "--leader", "someone"),
    )
    assert document == {
        "request_id": "id-1",
        "leader": "someone",
        "read_version": 42,
        "operations": [
            {"type": "write", "key": "YQ==", "value": "Yj1j"},
            {"type": "delete", "key": "AFw="},
            {"type": "range_delete", "begin": "LXg=", "end": "LS15"},
        ],
        "preconditions": [
            {"type": "point_read", "key": "a0Bs", "version": 41},
            {"type": "point_read", "key": "bUBu"},
            {"type": "range_read", "begin": "Yg==", "end": "Yw==", "version": 7},
            {"type": "range_read", "begin": "ZA==", "end": "ZQ=="},
        ],
    }


def test_a_request_id_is_made_when_none_is_given():
    ids = {sent("--write", "a=1")["request_id"] for _ in range(3)}
    assert len(ids) == 3
    assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in ids)


def test_hex_and_base64():
    expected = [{"type": "write", "key": "AP8=", "value": ""}, {"type": "delete", "key": "YWJj"}]
    assert sent("--write", "00fF=", "--delete", "616263", "--hex")["operations"] == expected
    assert sent("--base64", "--write", "AP8==", "--delete", "YWJj")["operations"] == expected


def test_a_file(tmp_path):
    document = {"operations": [{"type": "delete", "key": "YQ=="}], "request_id": "of-file"}
    path = tmp_path / "t.json"
    path.write_text(json.dumps(document))
    assert sent("--file", path) == document
    del document["request_id"]
    text = json.dumps(document)
    made = sent("--file", "-", "--request-id", "given", "--read-version", 3, text=text)
    assert made == {**document, "request_id": "given", "read_version": 3}


@pytest.mark.parametrize(
    "words, said",
    [
        ([], "there is nothing to commit"),
        (["--write", "novalue"], "--write novalue: must be KEY=VALUE"),
        (["--write", "a\\q=1"], "the escapes are"),
        (["--write", "a\\x4=1"], "the escapes are"),
        (["--delete", "a\\"], "the escapes are"),
        (["--hex", "--delete", "abc"], "hex has two digits for each byte"),
        (["--delete", "zz", "--hex"], "hex has digits"),
        (["--base64", "--delete", "YQ"], "base64 must be"),
        (["--base64", "--write", "YQ=="], "must be KEY=VALUE"),
        (["--delete-range", "a"], "--delete-range needs two values"),
        (["--read-range", "a", "b", "@x"], "must be a whole number"),
        (["--read-version", "-1", "--read", "a"], "must be a whole number from 0"),
        (["--read-version", 2**53, "--read", "a"], f"from 0 to {2**53 - 1}"),
        (["--timeout", "0", "--delete", "a"], "--timeout 0: must be seconds"),
        (["--timeout", "1.0001", "--delete", "a"], "must be seconds"),
        (["--request-id", "a b", "--delete", "a"], "a request id is 1 to 128 printable"),
        (["--request-id", "x" * 129, "--delete", "a"], "a request id is 1 to 128 printable"),
        (["--request-id", "x" * 121, "--delete", "a", "--retry-conflicts", "1"], "1 to 120 printable"),
        (["--retry-conflicts", "1", "--read", "a@1"], "has a version of its own"),
        (["--request-id", "x" * 108, "--file", "-"], "1 to 107 printable"),
        (["--request-id", "x" * 100, "--file", "-", "--retry-conflicts", "1"], "1 to 99 printable"),
        (["--file", "-", "--delete", "a"], "--file goes without operations"),
    ],
)
def test_a_commit_with_a_mistake(words, said):
    result = weasel("commit", *words)
    assert result.returncode == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    "text, said",
    [
        ('{"operations":\n [', "standard input:2:3: not valid JSON"),
        ("[]", "standard input:1:1: a transaction is a JSON object"),
        ("", "standard input: there is no transaction in it"),
        (" \n\n", "standard input: there is no transaction in it"),
        ('{"request_id":"a b"}', "standard input:1: transaction 1: its request_id must be 1 to 128"),
        ('{"request_id":5}', "standard input:1: transaction 1: its request_id must be 1 to 128"),
        ('{"request_id":"a","operations":[],"request_id":"b"}', "request_id"),
        ('{"operations":[{"type":"write","key":"YQ","value":""}]}', "operations[0].key must be canonical base64"),
        ('{"operation":[]}', "operation"),
    ],
)
def test_a_file_with_a_mistake(database, text, said):
    result = weasel("commit", "--file", "-", text=text, server=database.url)
    assert result.returncode == 2
    assert said in result.stderr


def test_a_file_that_is_not_there(tmp_path):
    result = weasel("commit", "--file", tmp_path / "none")
    assert result.returncode == 1
    assert "none: cannot be read: No such file or directory" in result.stderr
    assert weasel("commit", "--file", tmp_path).returncode == 1


def test_a_file_and_an_option_with_a_request_id():
    result = weasel("commit", "--file", "-", "--request-id", "b", text='{"request_id":"a"}')
    assert result.returncode == 2


def writes(name, value):
    return {"operations": [{"type": "write", "key": base64.b64encode(name.encode()).decode(), "value": value}]}


def documents(count, **more):
    name = key()
    return [{**writes(f"{name}-{i}", "MQ=="), **more} for i in range(count)]


def test_a_file_of_many(database, tmp_path):
    """Each is committed and answered in turn, however the file is laid out."""
    path = tmp_path / "many"
    for indent, between in ((None, "\n"), (None, ""), (2, "\r\n\t\r\n")):
        many = documents(5)
        many[1]["request_id"] = key()
        path.write_text("".join(json.dumps(one, indent=indent) + between for one in many))
        before = database.get("/v1/version").json()["version"]
        result = weasel("commit", "--file", path, "--json", server=database.url)
        assert (result.returncode, result.stderr) == (0, "")
        answers = [json.loads(line) for line in result.stdout.splitlines()]
        assert [one["status"] for one in answers] == ["committed"] * 5
        assert [one["version"] for one in answers] == list(range(before + 1, before + 6))
        assert answers[1]["request_id"] == many[1]["request_id"]
    result = weasel("commit", "--file", "-", text="".join(map(json.dumps, documents(2))), server=database.url)
    assert re.fullmatch(r"(committed at version \d+, request id [0-9a-f]{32}\n){2}", result.stdout)


def test_the_options_hold_for_each_of_a_file():
    with FakeServer(lambda exchange: exchange.reply(200, {"request_id": "x", "status": "committed", "version": 1})) as server:
        words = ["--file", "-", "--request-id", "bulk", "--leader", "l-1", "--read-version", 7]
        result = weasel("commit", *words, server=server.url, text="\n".join(map(json.dumps, documents(3))))
    assert result.returncode == 0, result.stderr
    bodies = [json.loads(request.body) for request in server.requests]
    assert [one["request_id"] for one in bodies] == ["bulk", "bulk-2", "bulk-3"]
    assert [(one["leader"], one["read_version"]) for one in bodies] == [("l-1", 7)] * 3
    assert len(server.connections) == 1


def test_a_file_sent_again_under_its_request_id_commits_nothing_twice(database):
    text = "\n".join(map(json.dumps, documents(4)))
    words = ["commit", "--file", "-", "--request-id", key()]
    first, again = (weasel(*words, text=text, server=database.url) for _ in range(2))
    assert first.returncode == again.returncode == 0
    assert first.stdout == again.stdout
    assert len(first.stdout.splitlines()) == 4


SECOND = {
    "a conflict": ({"preconditions": [{"type": "point_read", "key": "YQ==", "version": 0}]}, 3, ":2: transaction 2: not committed: "),
    "a mistake": ({"operations": [{"type": "write", "key": "YQ", "value": ""}]}, 2, ":2: transaction 2: "),
    "an id with another payload": ({**writes("b", ""), "request_id": "many-once"}, 2, ":2: transaction 2: "),
    "no JSON": ('{"operations":[],}', 2, ":2:17: not valid JSON"),
    "a part": ('{"operations":[', 2, ":4:1: not valid JSON"),
    "an array": ("[]", 2, ":2:1: a transaction is a JSON object"),
    "a comma": (",", 2, ":2:1: a transaction is a JSON object"),
    "a word": ("null", 2, ":2:1: a transaction is a JSON object"),
}


@pytest.mark.parametrize("name", SECOND)
def test_the_first_that_is_not_committed_ends_a_file(database, name):
    second, code, said = SECOND[name]
    assert weasel("commit", "--write", "a=1", server=database.url).returncode == 0
    assert weasel("commit", "--write", "a=1", "--request-id", "many-once", server=database.url).returncode == 0
    first, third = documents(2)
    lines = [json.dumps(first), second if isinstance(second, str) else json.dumps(second)]
    text = "\n".join([*lines, json.dumps(third) if name != "a part" else ""]) + "\n"
    before = database.get("/v1/version").json()["version"]
    result = weasel("commit", "--file", "-", text=text, server=database.url)
    assert result.returncode == code, result.stderr
    assert f"weasel commit: standard input{said}" in result.stderr
    end = "standard input: up to transaction 1 all are committed; nothing behind transaction 2 was sent\n"
    assert result.stderr.endswith(f"weasel commit: {end}")
    assert len(result.stdout.splitlines()) == 1
    assert database.get("/v1/version").json()["version"] == before + 1


def test_each_of_a_file_is_retried_like_one():
    """And the first whose outcome nobody knows is the last."""
    fates = iter(["cut", "commit", "busy", "commit", *["cut"] * 1000])

    def answer(exchange):
        if exchange.request.path == "/v1/status":
            exchange.cut()
            return
        fate = next(fates)
        if fate == "cut":
            exchange.cut()
        elif fate == "busy":
            exchange.reply(503, problem(503, "The ring is full.", "not_committed"), "Retry-After: 1\r\n")
        else:
            exchange.reply(200, {"request_id": json.loads(exchange.request.body)["request_id"], "status": "committed", "version": 5})

    text = "\n".join(map(json.dumps, documents(4)))
    with FakeServer(answer) as server:
        result = weasel("commit", "--file", "-", "--request-id", "i", "--timeout", 4, text=text, server=server.url)
    assert result.returncode == 4
    assert [line.split()[-1] for line in result.stdout.splitlines()] == ["i", "i-2"]
    assert "transaction 3: it is not known whether the transaction was committed" in result.stderr
    assert "weasel status i-3" in result.stderr
    assert {json.loads(request.body)["request_id"] for request in server.asked("/v1/commit")} == {"i", "i-2", "i-3"}


def test_a_transaction_is_sent_while_the_next_is_not_there_yet(database):
    """A pipe that stays open is no reason to wait; and a file may be longer than memory."""
    process = start("commit", "--file", "-", server=database.url, stdin=subprocess.PIPE)
    for one in documents(3):
        process.stdin.write(json.dumps(one))
        process.stdin.flush()
        assert process.stdout.readline().startswith("committed at version ")
    assert process.communicate(timeout=wire.PATIENCE) == ("", "")
    assert process.returncode == 0


@pytest.mark.skipif(wire.SANITIZED, reason="sanitizers keep what was freed")
def test_memory_does_not_grow_with_a_file():
    """40 MB of transactions, of which one is held at a time."""

    def answer(exchange):
        exchange.reply(200, {"request_id": "x", "status": "committed", "version": 1})

    line = json.dumps(writes("a", base64.b64encode(bytes(300_000)).decode()))
    with FakeServer(answer) as server:
        process = start("commit", "--file", "-", server=server.url, stdin=subprocess.PIPE)
        for i in range(100):
            process.stdin.write(line)
            process.stdin.flush()
            process.stdout.readline()
            if i == 10:
                before = resident_bytes(process.pid)
        after = resident_bytes(process.pid)
        process.communicate(timeout=wire.PATIENCE)
    assert process.returncode == 0
    assert len({json.loads(request.body)["request_id"] for request in server.requests}) == 100
    assert after < before + (4 << 20)


def resident_bytes(pid):
    return int(re.search(r"VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) << 10


def test_outcomes_that_cannot_be_written_end_a_file(database):
    text = "\n".join(map(json.dumps, documents(3)))
    before = database.get("/v1/version").json()["version"]
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [WEASEL, "commit", "--file", "-"],
            env=environment(database.url),
            input=text,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=wire.PATIENCE,
        )
    assert result.returncode == 1
    assert "up to transaction 1 all are committed; nothing behind transaction 1 was sent" in result.stderr
    assert "No space left" in result.stderr
    assert database.get("/v1/version").json()["version"] == before + 1


def test_a_conflict_and_its_retry(database):
    mine = key()
    assert weasel("commit", "--write", f"{mine}=1", server=database.url).returncode == 0
    words = ["commit", "--read", mine, "--read-version", 0, "--write", f"{mine}=2", "--request-id", f"{mine}-id"]
    result = weasel(*words, server=database.url)
    assert result.returncode == 3
    assert "not committed: conflict in precondition 0; read again at version" in result.stderr
    assert result.stdout == ""
    result = weasel(*words, "--json", server=database.url)
    assert result.returncode == 3
    answer = json.loads(result.stdout)
    assert (answer["reason"], answer["conflicts"]) == ("conflict", [0])
    result = weasel(*words, "--retry-conflicts", 1, server=database.url)
    assert result.returncode == 0, result.stderr
    assert f"request id {mine}-id.1" in result.stdout


def test_conflicts_are_retried_so_often_and_no_more():
    def answer(exchange):
        request_id = json.loads(exchange.request.body)["request_id"]
        exchange.reply(
            409, {"request_id": request_id, "status": "not_committed", "reason": "conflict", "version": 9, "conflicts": [0]}
        )

    for retries in (0, 1, 3):
        with FakeServer(answer) as server:
            result = weasel(
                "commit", "--read", "a", "--read-version", 1, "--request-id", "i", "--retry-conflicts", retries, server=server.url
            )
        assert result.returncode == 3
        bodies = [json.loads(request.body) for request in server.requests]
        assert [one["request_id"] for one in bodies] == ["i"] + [f"i.{n + 1}" for n in range(retries)]
        assert [one["read_version"] for one in bodies] == [1] + [9] * retries


def test_a_request_id_with_another_payload(database):
    assert weasel("commit", "--write", "a=1", "--request-id", "once", server=database.url).returncode == 0
    assert weasel("commit", "--write", "a=1", "--request-id", "once", server=database.url).returncode == 0
    result = weasel("commit", "--write", "a=2", "--request-id", "once", server=database.url)
    assert result.returncode == 2
    assert "used before with other" in result.stderr


def test_too_large(database):
    result = weasel("commit", "--write", "k" * 1024 + "=", server=database.url)
    assert result.returncode == 0, result.stderr
    result = weasel("commit", "--write", "k" * 1025 + "=", server=database.url)
    assert result.returncode == 2
    assert "1024" in result.stderr


# ---- commit, when the outcome is not told ----


def unkind(*fates, status=None):
    """A server that treats one attempt after the other like this, and then commits."""
    left = list(fates)

    def answer(exchange):
        if exchange.request.path == "/v1/status":
            exchange.reply(200, {"request_id": exchange.request.query["request_id"], **status})
            return
        fate = left.pop(0) if left else "commit"
        if fate == "cut":
            exchange.cut()
        elif fate == "half":
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
            exchange.cut()
        elif fate == "unknown":
            exchange.reply(500, problem(500, "The log failed.", "unknown"))
        elif fate == "gateway":
            exchange.send("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        elif fate == "silent":
            pass
        elif fate == "busy":
            exchange.reply(503, problem(503, "The ring is full.", "not_committed"), "Retry-After: 1\r\n")
        else:
            exchange.reply(200, {"request_id": "i", "status": "committed", "version": 5})

    return FakeServer(answer)


@pytest.mark.parametrize("fates", [["cut"], ["half"], ["unknown"], ["gateway"], ["cut", "unknown", "half"]])
def test_an_unknown_outcome_is_asked_for_with_the_same_id(fates):
    with unkind(*fates) as server:
        result = weasel("commit", "--write", "a=1", server=server.url)
    assert result.returncode == 0, result.stderr
    bodies = {request.body for request in server.asked("/v1/commit")}
    assert len(bodies) == 1, "the same id and the same payload"
    # libcurl itself sends once more on a connection that was there already and died
    assert len(server.asked("/v1/commit")) >= len(fates) + 1


def test_a_server_without_room_is_asked_again_after_what_it_says():
    with unkind("busy") as server:
        result = weasel("commit", "--write", "a=1", server=server.url)
    assert result.returncode == 0
    assert len(server.asked("/v1/commit")) == 2


def test_a_server_that_stays_without_room_has_not_committed():
    with unkind(*["busy"] * 100) as server:
        result = weasel("commit", "--write", "a=1", "--timeout", 0.5, "--json", server=server.url)
    assert result.returncode == 3
    assert "not committed: The ring is full." in result.stderr
    assert json.loads(result.stdout)["status"] == "not_committed"
    assert server.asked("/v1/status") == []


@pytest.mark.parametrize(
    "status, code",
    [
        ({"status": "committed", "version": 8}, 0),
        ({"status": "not_committed"}, 3),
        ({"status": "expired"}, 4),
    ],
)
@pytest.mark.parametrize("fate", ["cut", "unknown", "silent"])
def test_at_the_end_the_status_is_asked(status, code, fate):
    with unkind(*[fate] * 100, status=status) as server:
        result = weasel("commit", "--write", "a=1", "--timeout", 2, "--request-id", "i", "--json", server=server.url)
    assert result.returncode == code, result.stderr
    assert json.loads(result.stdout) == {"request_id": "i", **status}


def test_the_time_out_bounds_attempts_and_the_question_together():
    with FakeServer(lambda exchange: None) as server:
        started = time.monotonic()
        result = weasel("commit", "--write", "a=1", "--timeout", 2, server=server.url)
        took = time.monotonic() - started
    assert result.returncode == 4
    assert len(server.asked("/v1/commit")) >= 1
    assert len(server.asked("/v1/status")) == 1
    assert 1.5 < took < 5, "a question of five seconds once came on top"


@pytest.mark.parametrize("words", [["commit", "--write", "a=1"], ["status", "i"]])
@pytest.mark.parametrize("version", [{}, {"version": "5"}, {"version": None}])
def test_committed_without_a_version_is_no_answer(words, version):
    with FakeServer(lambda exchange: exchange.reply(200, {"request_id": "i", "status": "committed", **version})) as server:
        result = weasel(*words, server=server.url)
    assert result.returncode == 1
    assert "the answer is not a WeaselDB's" in result.stderr
    assert result.stdout == ""


def test_unknown_then_without_room_is_unknown():
    with unkind("cut", *["busy"] * 100, status={"status": "committed", "version": 8}) as server:
        result = weasel("commit", "--write", "a=1", "--timeout", 2, server=server.url)
    assert result.returncode == 0
    assert len(server.asked("/v1/status")) == 1


def test_nobody_knows():
    """The server is gone for good after the first attempt."""
    gone = threading.Event()

    def answer(exchange):
        gone.set()
        server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()
        exchange.cut()

    with FakeServer(answer) as server:
        result = weasel("commit", "--write", "a=1", "--timeout", 0.3, "--request-id", "i", "--json", server=server.url)
    assert gone.is_set()
    assert result.returncode == 4
    assert "it is not known whether the transaction was committed" in result.stderr
    assert "weasel status i" in result.stderr
    assert json.loads(result.stdout) == {"request_id": "i", "status": "unknown"}


def test_a_crash_under_commits_loses_and_doubles_nothing(tmp_path):
    """Commits go on while the server is killed and started again; each is there once."""
    setting = f"log.directory={tmp_path}/log"
    with wire.weaseldb(setting) as first:
        port = first.address[1]
        processes = []
        for i in range(12):
            processes.append(start("commit", "--write", f"k{i}=1", "--request-id", f"crash-{i}", server=f"http://127.0.0.1:{port}"))
            if i == 6:
                first.signal(signal.SIGKILL)
                first.expect_exit = -signal.SIGKILL
                first.wait()
    unreached = 0
    with wire.weaseldb(setting, f"http.port={port}") as second:
        versions = set()
        for process in processes:
            output, errors = process.communicate(timeout=wire.PATIENCE * 3)
            if process.returncode == 1:
                assert "no server at" in errors
                unreached += 1
                continue
            assert process.returncode == 0, errors
            versions.add(re.search(r"version (\d+)", output).group(1))
        assert len(versions) == len(processes) - unreached
        for i in range(12):
            code = weasel("status", f"crash-{i}", server=f"http://127.0.0.1:{port}").returncode
            assert code == (0 if processes[i].returncode == 0 else 3)
        second.get("/v1/version")


# ---- bench ----


def bench(server, *arguments):
    return weasel("bench", "--duration", 0.3, *arguments, server=server.url)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--format", "json"],
        ["--batch", 10],
        ["--batch", 10, "--format", "json"],
        ["--operations", 3, "--reads", 5, "--value-bytes", 0],
        ["--operations", 0, "--reads", 2, "--format", "json"],
        ["--reads", 0, "--distribution", "sequential"],
        ["--distribution", "zipf", "--zipf-exponent", 1, "--keys", 1000],
        ["--clients", 1, "--value-bytes", 100000],
        ["--rate", 200],
        ["--rate", 200, "--batch", 7, "--check-share", 50],
    ],
)
def test_bench(database, words):
    before = database.get("/v1/version").json()["version"]
    result = bench(database, "--clients", 4, "--json", *words)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    answer = json.loads(result.stdout)
    assert answer["committed"] > 0
    assert answer["errors"] == answer["shed"] == 0
    latency = answer["latency_us"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p999"] <= latency["max"]
    gained = database.get("/v1/version").json()["version"] - before - 1  # one to begin with
    checks = "--check-share" in words or answer["operations"] == 0
    assert gained < answer["committed"] if checks else gained == answer["committed"]


def test_bench_makes_conflicts(database):
    answer = json.loads(bench(database, "--conflict-share", 100, "--json").stdout)
    assert answer["committed"] == 0
    assert answer["conflicts"] == answer["conflicts_made"] > 0
    answer = json.loads(bench(database, "--conflict-share", 30, "--seed", 1, "--format", "json", "--json").stdout)
    assert answer["conflicts"] >= answer["conflicts_made"] > 0
    share = answer["conflicts_made"] / (answer["conflicts"] + answer["committed"])
    assert 0.1 < share < 0.5


def test_bench_in_words(database):
    result = bench(database, "--rate", 100)
    assert result.returncode == 0
    for word in ("open loop", "committed", "conflicts", "p50", "p99.9", "max", "CPU a request"):
        assert word in result.stdout


def test_bench_shows_progress_on_a_terminal(database):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [WEASEL, "bench", "--duration", "1.5", "--clients", "2"],
        env=environment(database.url),
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while more := os.read(ours, 4096):
            shown += more
    except OSError:
        pass  # the other side has closed
    os.close(ours)
    process.communicate(timeout=wire.PATIENCE)
    assert process.returncode == 0
    assert b"committed/s" in shown


def test_bench_ends_early_with_a_result(database):
    process = start("bench", "--duration", 3600, "--json", "--clients", 2, server=database.url)
    before = database.metric('weaseldb_outcomes_total{outcome="committed"}')
    wire.wait_for(lambda: database.metric('weaseldb_outcomes_total{outcome="committed"}') > before + 10)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=wire.PATIENCE)
    assert process.returncode == 0, errors
    assert json.loads(output)["committed"] > 0


@pytest.mark.parametrize(
    "words, said",
    [
        (["--clients", 0], "from 1 to 16384"),
        (["--clients", 16385], "from 1 to 16384"),
        (["--batch", 1001], "from 1 to 1000"),
        (["--value-bytes", 1048577], "from 0 to 1048576"),
        (["--distribution", "normal"], "must be one of uniform, zipf, sequential"),
        (["--format", "xml"], "must be one of protobuf, json"),
        (["--check-share", 101], "from 0 to 100"),
        (["--rate", 0], "must be a number from 0.001"),
        (["--operations", 0, "--reads", 0], "nothing is left to do"),
        (["--batch", 1000, "--operations", 10000], "one request would have more than"),
    ],
)
def test_bench_with_a_mistake(words, said):
    result = weasel("bench", *words)
    assert result.returncode == 2
    assert said in result.stderr


def answering(commit):
    """A server for a bench: one commit to begin with, then this."""
    first = iter([True])

    def answer(exchange):
        if next(first, False):
            exchange.reply(200, {"request_id": "x", "status": "committed", "version": 1})
        else:
            commit(exchange)

    return FakeServer(answer)


OK_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\x20\x07"


def test_a_stalling_server_shows_in_an_open_loop():
    """Half a second without answers: in open loop all that was due then has waited."""
    stalled = threading.Event()

    def commit(exchange):
        if not stalled.is_set():
            stalled.set()
            threading.Event().wait(0.5)
        exchange.send(OK_ANSWER)

    with answering(commit) as server:
        result = weasel("bench", "--duration", 1, "--clients", 1, "--rate", 100, "--json", server=server.url)
    answer = json.loads(result.stdout)
    assert answer["latency_us"]["p50"] < 500000
    assert answer["latency_us"]["max"] >= 500000
    # 50 requests were due meanwhile; those waited from half a second down to nothing
    assert answer["latency_us"]["p90"] > 200000


def test_bench_counts_what_goes_wrong():
    fates = iter(["busy", "cut", "error", "garbage", "half"])

    def commit(exchange):
        fate = next(fates, "good")
        if fate == "busy":
            exchange.reply(503, problem(503, "full", "not_committed"))
        elif fate == "error":
            exchange.reply(500, problem(500, "the log failed", "unknown"))
        elif fate == "cut":
            exchange.cut()
        elif fate == "garbage":
            exchange.send("SSH-2.0-OpenSSH_9.2\r\n\r\n")
        elif fate == "half":
            exchange.send(OK_ANSWER[:10])
            exchange.send(OK_ANSWER[10:-1])
            exchange.send(OK_ANSWER[-1:])
        else:
            exchange.send(OK_ANSWER)

    with answering(commit) as server:
        result = weasel("bench", "--duration", 0.2, "--clients", 1, "--json", server=server.url)
    assert result.returncode == 1
    answer = json.loads(result.stdout)
    assert (answer["shed"], answer["errors"]) == (1, 3)
    assert answer["committed"] > 0
    assert "there were errors; the first: the server closed the connection" in result.stderr


def test_bench_ends_when_the_server_is_gone():
    def commit(exchange):
        server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()
        exchange.cut()

    with answering(commit) as server:
        result = weasel("bench", "--clients", 1, server=server.url)
    assert result.returncode == 1
    assert "a connection cannot be made: Connection refused" in result.stderr
