"""The `weasel` command as a reader of the feed: subscribe and follow, from a server that is not always kind."""

import itertools
import json
import random
import re
import signal
import sqlite3
import subprocess
import threading

import pytest

import wire
from fake_server import FakeLog, FakeServer, delete, event, problem, progress, range_delete, write
from test_weasel import start, weasel


def feed(log, stream):
    """A server with this log, whose subscriptions `stream(exchange, after)` answers."""

    def answer(exchange):
        if exchange.request.path == "/v1/version":
            log.tell_version(exchange)
        elif exchange.request.path == "/v1/subscribe":
            stream(exchange, int(exchange.request.query["after"]))
        else:
            exchange.reply(404, problem(404, "There is nothing at this path."))

    return FakeServer(answer)


def whole(log):
    def stream(exchange, after):
        exchange.begin_stream()
        for one in log.after(after):
            exchange.send(event(one))
        exchange.send(progress(log.version))
        exchange.connection.recv(1)

    return stream


LOG = FakeLog(
    [write("a", "1"), write("b\0", "x\\y\n")],
    [delete("a")],
    [range_delete("b", "c"), write("d", "4")],
)


# ---- subscribe ----


def test_subscribe_for_people():
    with feed(LOG, whole(LOG)) as server:
        result = weasel("subscribe", "--after", 0, "--until-end", server=server.url)
    assert result.returncode == 0, result.stderr
    assert result.stdout == (
        "version 1  2026-11-23T05:32:00.123456Z  request id r1\n"
        "  write a = 1\n"
        "  write b\\x00 = x\\\\y\\n\n"
        "version 2  2026-11-23T05:32:00.123456Z  request id r2\n"
        "  delete a\n"
        "version 3  2026-11-23T05:32:00.123456Z  request id r3\n"
        "  delete-range b to c\n"
        "  write d = 4\n"
    )


def test_subscribe_as_json():
    with feed(LOG, whole(LOG)) as server:
        result = weasel("subscribe", "--after", 1, "--json", "--until-end", server=server.url)
    assert [json.loads(line) for line in result.stdout.splitlines()] == LOG.after(1)
    assert server.asked("/v1/subscribe")[0].headers["accept"] == "text/event-stream"


def test_subscribe_raw():
    with feed(LOG, whole(LOG)) as server:
        result = weasel("subscribe", "--after", 2, "--raw", "--limit", 1, server=server.url)
        assert result.stdout == event(LOG.transactions[2])
        result = weasel("subscribe", "--after", 3, "--raw", "--until-end", server=server.url)
        assert result.stdout == progress(3)


def test_subscribe_begins_now_by_default():
    with feed(LOG, whole(LOG)) as server:
        result = weasel("subscribe", "--until-end", server=server.url)
    assert result.returncode == 0
    assert result.stdout == ""
    assert server.asked("/v1/subscribe")[0].query == {"after": "3"}


def test_subscribe_limit():
    with feed(LOG, whole(LOG)) as server:
        result = weasel("subscribe", "--after", 0, "--limit", 2, "--json", server=server.url)
    assert [json.loads(line)["version"] for line in result.stdout.splitlines()] == [1, 2]


def test_subscribe_sends_ranges_as_base64url():
    with feed(LOG, whole(LOG)) as server:
        weasel("subscribe", "--until-end", "--range", "\\xfb\\xff", "\\xff", "--range", "a", "b", server=server.url)
    target = server.asked("/v1/subscribe")[0].target
    assert target.endswith("&begin=-_8&end=_w&begin=YQ&end=Yg")


def test_with_ranges_left_out_transactions_are_not_missed():
    log = FakeLog(*[[write("a", str(i))] for i in range(6)])

    def stream(exchange, _):
        exchange.begin_stream()
        exchange.send(event(log.transactions[1]) + progress(4) + event(log.transactions[5]))
        exchange.connection.recv(1)

    with feed(log, stream) as server:
        result = weasel("subscribe", "--after", 0, "--range", "a", "b", "--json", "--until-end", server=server.url)
    assert result.returncode == 0, result.stderr
    assert [json.loads(line)["version"] for line in result.stdout.splitlines()] == [2, 6]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("piece", [1, 7, 10000])
def test_events_in_pieces_with_each_end_of_line(line_end, piece):
    def stream(exchange, after):
        text = "\ufeff: a comment" + line_end * 2 + "".join(event(one, line_end) for one in LOG.after(after))
        data = text.encode() + progress(3).encode()
        exchange.begin_stream()
        for at in range(0, len(data), piece):
            exchange.send(data[at : at + piece])
        exchange.connection.recv(1)

    with feed(LOG, stream) as server:
        result = weasel("subscribe", "--after", 0, "--json", "--until-end", server=server.url)
    assert [json.loads(line) for line in result.stdout.splitlines()] == LOG.transactions


def test_subscribe_goes_on_where_the_connection_was_cut():
    """The connection ends in the middle of the second event, then in that of each one after."""

    def stream(exchange, after):
        exchange.begin_stream()
        rest = LOG.after(after)
        if exchange.request is not server.asked("/v1/subscribe")[0]:
            exchange.send(event(rest.pop(0)))  # once more
        exchange.send("retry: 10\n\n" + event(rest[0]))
        if len(rest) > 1:
            exchange.send(event(rest[1])[:-5])
            exchange.cut()
        else:
            exchange.connection.recv(1)

    with feed(LOG, stream) as server:
        result = weasel("subscribe", "--after", 0, "--limit", 3, "--json", server=server.url)
    assert [json.loads(line) for line in result.stdout.splitlines()] == LOG.transactions
    assert [request.query["after"] for request in server.asked("/v1/subscribe")] == ["0", "0", "1"]
    told = result.stderr.splitlines()
    assert [line.rpartition(": ")[2] for line in told] == [f"connecting again, to go on after version {n}" for n in (1, 2)]
    assert all(line.startswith("weasel subscribe: the connection has ended: ") for line in told)


@pytest.mark.parametrize("command", ["subscribe", "follow"])
def test_each_reconnect_is_told_once_with_its_reason(command, tmp_path):
    """Also where standard error is no terminal, as in a unit of systemd; tries in vain are not told."""
    ends = [
        ("the server has ended it (draining)", 'event: end\ndata: {"reason":"draining"}\n\n'),
        (None, ""),  # goes on trying, in vain
        (None, ""),
        ("the server has ended it (a?[31mb)", 'event: end\ndata: {"reason":"a\\u001b[31mb"}\n\n'),
        ("the stream is over", progress(2)),
        ("it brought nothing for 2.5 s", None),
    ]
    left = iter(ends)

    def stream(exchange, after):
        why, text = next(left, (None, "all"))
        if text == "":
            exchange.reply(503, problem(503, "Too many subscribers."), "Retry-After: 0\r\n")
            return
        if text == "all":
            whole(LOG)(exchange, max(after, 2))
            return
        exchange.begin_stream()
        exchange.send("retry: 10\n\n" + (progress(2) if text is None else text))
        if text is None:
            exchange.connection.recv(1)
        else:
            exchange.cut()

    words = {"subscribe": ["--after", 2, "--json"], "follow": ["--sqlite", tmp_path / "db"]}[command]
    with feed(LOG, stream) as server:
        result = weasel(command, *words, "--until-end", "--silence", 2.5, server=server.url)
    assert result.returncode == 0, result.stderr
    told = [why for why, _ in ends if why]
    place = {"subscribe": [2, 2, 2, 2], "follow": [0, 0, 2, 2]}[command]
    assert result.stderr.splitlines() == [
        f"weasel {command}: the connection has ended: {why}: connecting again, to go on after version {version}"
        for why, version in zip(told, place, strict=True)
    ]


def test_subscribe_resumes_at_progress():
    def stream(exchange, after):
        exchange.begin_stream()
        if after == 0:
            exchange.send(event(LOG.transactions[0]) + progress(2))
            exchange.cut()
        else:
            exchange.send(event({**LOG.transactions[2], "prev_version": 1}))
            exchange.connection.recv(1)

    with feed(LOG, stream) as server:
        result = weasel(
            "subscribe", "--after", 0, "--limit", 2, "--range", "a", "z", "--json", server=server.url
        )
    assert result.returncode == 0, result.stderr
    assert [request.query["after"] for request in server.asked("/v1/subscribe")] == ["0", "2"]


def test_subscribe_waits_out_a_server_that_is_busy():
    busy = iter([True, True, False])

    def stream(exchange, after):
        if next(busy):
            exchange.reply(503, problem(503, "Too many subscribers."), "Retry-After: 0\r\n")
        else:
            whole(LOG)(exchange, after)

    with feed(LOG, stream) as server:
        result = weasel("subscribe", "--after", 0, "--until-end", server=server.url)
    assert result.returncode == 0, result.stderr
    assert len(server.asked("/v1/subscribe")) == 3


def test_silence_is_an_end_of_the_connection():
    silent = iter([True, False])

    def stream(exchange, after):
        if next(silent):
            exchange.begin_stream()
            exchange.send(event(LOG.transactions[0]))
            exchange.connection.recv(1)
        else:
            whole(LOG)(exchange, after)

    with feed(LOG, stream) as server:
        result = weasel("subscribe", "--after", 0, "--until-end", "--silence", 0.2, "--json", server=server.url)
    assert [json.loads(line) for line in result.stdout.splitlines()] == LOG.transactions


def test_damage_is_an_error_and_a_drain_is_not():
    reasons = iter(["draining", "failed", "nothing known", "damaged"])

    def stream(exchange, _):
        exchange.begin_stream()
        exchange.send(f'event: end\ndata: {{"reason":"{next(reasons)}"}}\n\n')
        exchange.cut()

    with feed(LOG, stream) as server:
        result = weasel("subscribe", "--after", 1, server=server.url)
    assert result.returncode == 1
    assert "is damaged after version 1" in result.stderr
    assert next(reasons, None) is None


GAPS = {
    "one is missing": ([0, 2], "a transaction before it is missing"),
    "the first is missing": ([1], "a transaction before it is missing"),
    "one comes twice": ([0, 0], "it is not after what was already there"),
    "one comes late": ([0, 1, 0], "it is not after what was already there"),
}


@pytest.mark.parametrize("name", GAPS)
@pytest.mark.parametrize("command", ["subscribe", "follow"])
def test_a_broken_feed_is_an_error(name, command, tmp_path):
    order, said = GAPS[name]

    def stream(exchange, _):
        exchange.begin_stream()
        exchange.send("".join(event(LOG.transactions[i]) for i in order))
        exchange.connection.recv(1)

    arguments = ["--after", 0] if command == "subscribe" else ["--sqlite", tmp_path / "db"]
    with feed(LOG, stream) as server:
        result = weasel(command, *arguments, server=server.url)
    assert result.returncode == 1
    assert said in result.stderr
    if command == "follow":
        assert rows(tmp_path / "db")[1][0] == len(set(order) & {0, 1} if order[0] == 0 else []), "what was whole is kept"


def test_a_prev_version_that_forks_off_is_an_error():
    def stream(exchange, _):
        exchange.begin_stream()
        exchange.send(event(LOG.transactions[0]) + event(LOG.transactions[1]))
        exchange.send(event({**LOG.transactions[2], "prev_version": 1}))
        exchange.connection.recv(1)

    with feed(LOG, stream) as server:
        result = weasel("subscribe", "--after", 0, server=server.url)
    assert result.returncode == 1
    assert "the transaction before it is not the one that was there" in result.stderr


@pytest.mark.parametrize(
    "status, detail, code",
    [
        (410, "The log begins at 7.", 1),
        (400, "after is in the future.", 2),
        (404, "There is nothing at this path.", 1),
    ],
)
def test_a_refused_subscription(status, detail, code):
    with feed(LOG, lambda exchange, _: exchange.reply(status, problem(status, detail))) as server:
        result = weasel("subscribe", "--after", 1, server=server.url)
    assert result.returncode == code
    assert (detail if status != 404 else "there is no feed at") in result.stderr


def test_events_that_cannot_be_read():
    for text in ("event: transaction\ndata: {}\n\n", "event: progress\ndata: [\n\n"):

        def stream(exchange, _):
            exchange.begin_stream()
            exchange.send(text)
            exchange.connection.recv(1)

        with feed(LOG, stream) as server:
            result = weasel("subscribe", "--after", 0, server=server.url)
        assert result.returncode == 1
        assert "cannot be read" in result.stderr


def test_a_pipe_that_closes_ends_subscribe():
    more = threading.Event()

    def stream(exchange, _):
        exchange.begin_stream()
        exchange.send(event(LOG.transactions[0]))
        more.wait(wire.PATIENCE)
        exchange.send(event(LOG.transactions[1]))
        exchange.connection.recv(1)

    for before in (None, lambda: signal.signal(signal.SIGPIPE, signal.SIG_IGN)):
        more.clear()
        with feed(LOG, stream) as server:
            process = start("subscribe", "--after", 0, server=server.url, preexec_fn=before, restore_signals=before is None)
            assert process.stdout.readline().startswith("version 1")
            process.stdout.close()
            more.set()
            errors = process.stderr.read()
            process.wait(wire.PATIENCE)
        if before is None:
            assert process.returncode == -signal.SIGPIPE
        else:
            assert process.returncode == 1
            assert "Broken pipe" in errors


def test_each_transaction_is_shown_when_it_comes():
    log = FakeLog([write("a", "1")])
    more = threading.Event()

    def stream(exchange, after):
        exchange.begin_stream()
        exchange.send(event(log.transactions[0]))
        more.wait(wire.PATIENCE)
        log.add(write("a", "2"))
        exchange.send(event(log.transactions[1]))
        exchange.connection.recv(1)

    with feed(log, stream) as server:
        process = start("subscribe", "--after", 0, "--json", server=server.url)
        assert json.loads(process.stdout.readline())["version"] == 1
        more.set()
        assert json.loads(process.stdout.readline())["version"] == 2
        process.stdout.close()
        process.kill()
        process.wait()


# ---- follow ----


def rows(path, table="kv"):
    with sqlite3.connect(path) as database:
        state = {bytes(key): bytes(value) for key, value in database.execute(f'SELECT key, value FROM "{table}"')}
        place = database.execute(
            "SELECT version, last_version, last_request_id FROM weasel_follow WHERE table_name = ?", (table,)
        ).fetchone()
    return state, place


def follow(path, *arguments, server):
    return weasel("follow", "--sqlite", path, *arguments, server=server.url)


def test_follow_applies_what_the_log_says(tmp_path):
    with feed(LOG, whole(LOG)) as server:
        result = follow(tmp_path / "db", "--until-end", server=server)
    assert result.returncode == 0, result.stderr
    assert rows(tmp_path / "db") == ({b"d": b"4"}, (3, 3, "r3"))


def test_follow_resumes_and_has_tables_of_its_own(tmp_path):
    log = FakeLog([write("a", "1"), write("", "")])
    with feed(log, whole(log)) as server:
        for table in ("kv", 'two "words"'):
            assert follow(tmp_path / "db", "--table", table, "--until-end", server=server).returncode == 0
        log.add(write("b", "2"), delete("a"))
        log.add(range_delete("x", "z"), step=5)
        assert follow(tmp_path / "db", "--until-end", server=server).returncode == 0
    assert rows(tmp_path / "db") == ({b"": b"", b"b": b"2"}, (7, 7, "r7"))
    with sqlite3.connect(tmp_path / "db") as database:
        assert database.execute('SELECT count(*) FROM "two ""words"""').fetchone() == (2,)
    assert [request.query["after"] for request in server.asked("/v1/subscribe")] == ["0", "0", "0"]


def with_ids(log, prefix):
    for one in log.transactions:
        one["request_id"] = f"{prefix}{one['version']}"
    return log


def test_follow_refuses_another_log(tmp_path):
    with feed(LOG, whole(LOG)) as server:
        assert follow(tmp_path / "db", "--until-end", server=server).returncode == 0
    others = {
        "other id": with_ids(FakeLog(*[[write("z", "9")]] * 4), "x"),
        "other time": FakeLog(*[[write("z", "9")]] * 4),
        "not there": FakeLog([write("z", "9")]),
        "behind": with_ids(FakeLog([write("z", "9")]), "r"),
    }
    others["other time"].transactions[2]["timestamp"] = "2026-11-23T05:32:00.123457Z"
    others["not there"].add(write("z", "9"), step=3)
    for name, other in others.items():
        with feed(other, whole(other)) as server:
            result = follow(tmp_path / "db", "--until-end", server=server)
        assert result.returncode == 1, name
        assert "has another log" in result.stderr
        assert rows(tmp_path / "db")[0] == {b"d": b"4"}
    same = FakeLog(*[[write("z", "9")]] * 4)
    with feed(same, whole(same)) as server:
        assert follow(tmp_path / "db", "--until-end", server=server).returncode == 0
    assert rows(tmp_path / "db")[0] == {b"d": b"4", b"z": b"9"}


def test_progress_past_a_transaction_that_is_not_there_is_another_log(tmp_path):
    def stream(exchange, _):
        exchange.begin_stream()
        exchange.send(progress(3))
        exchange.connection.recv(1)

    with feed(LOG, whole(LOG)) as server:
        assert follow(tmp_path / "db", "--until-end", server=server).returncode == 0
    with feed(LOG, stream) as server:
        result = follow(tmp_path / "db", "--until-end", server=server)
    assert result.returncode == 1
    assert "has another log" in result.stderr


def test_the_last_transaction_may_be_gone_from_the_log(tmp_path):
    log = FakeLog([write("a", "1")], [write("a", "2")])

    def stream(exchange, after):
        if after < start_of_log - 1:
            exchange.reply(410, problem(410, "The log begins later."))
        else:
            whole(log)(exchange, after)

    start_of_log = 1
    with feed(log, stream) as server:
        assert follow(tmp_path / "db", "--until-end", server=server).returncode == 0
        log.add(write("a", "3"))
        start_of_log = 3
        assert follow(tmp_path / "db", "--until-end", server=server).returncode == 0
        assert rows(tmp_path / "db")[0] == {b"a": b"3"}
        log.add(write("a", "4"))
        start_of_log = 5
        result = follow(tmp_path / "db", "--until-end", server=server)
        assert result.returncode == 1
        assert "The log begins later." in result.stderr


def test_subscribe_finds_another_log_after_the_connection_was_cut():
    other = with_ids(FakeLog(*[[write("z", "9")]] * 3), "x")
    logs = iter([LOG, other])

    def stream(exchange, after):
        log = next(logs)
        exchange.begin_stream()
        exchange.send(event(log.after(after)[0]))
        if log is LOG:
            exchange.cut()
        exchange.connection.recv(1)

    with feed(LOG, stream) as server:
        result = weasel("subscribe", "--after", 0, "--json", server=server.url)
    assert result.returncode == 1
    assert "has another log: its transaction 1 is not request r1 of 2026-" in result.stderr
    assert len(result.stdout.splitlines()) == 1


def test_follow_refuses_a_table_of_somebody_else(tmp_path):
    with sqlite3.connect(tmp_path / "db") as database:
        database.execute("CREATE TABLE kv (a)")
    with feed(LOG, whole(LOG)) as server:
        result = follow(tmp_path / "db", server=server)
    assert result.returncode == 1
    assert "was not made by weasel follow" in result.stderr


def test_follow_tells_of_a_table_that_is_gone(tmp_path):
    with feed(LOG, whole(LOG)) as server:
        assert follow(tmp_path / "db", "--until-end", server=server).returncode == 0
        with sqlite3.connect(tmp_path / "db") as database:
            database.execute("DROP TABLE kv")
        result = follow(tmp_path / "db", server=server)
    assert result.returncode == 1
    assert "the table is gone" in result.stderr


def test_follow_needs_a_database(tmp_path):
    (tmp_path / "text").write_text("this is no database, it is a text of more than a hundred bytes\n" * 4)
    with feed(LOG, whole(LOG)) as server:
        assert follow(tmp_path / "missing/db", server=server).returncode == 1
        result = follow(tmp_path / "text", server=server)
        assert result.returncode == 1
        assert "file is not a database" in result.stderr
        assert weasel("follow", server=server.url).returncode == 2


def test_two_followers_of_one_table_do_not_both_write(tmp_path):
    log = FakeLog([write("a", "1")])
    more = threading.Event()

    def stream(exchange, after):
        exchange.begin_stream()
        exchange.send("".join(event(one) for one in log.after(after)) + progress(log.version))
        if after == 0:
            more.wait(wire.PATIENCE)
            exchange.send(event(log.transactions[1]) + progress(2))
        exchange.connection.recv(1)

    with feed(log, stream) as server:
        first = start("follow", "--sqlite", tmp_path / "db", server=server.url)
        wire.wait_for(lambda: (tmp_path / "db").exists() and place_of(tmp_path / "db") == 1)
        log.add(write("a", "2"))
        assert follow(tmp_path / "db", "--until-end", server=server).returncode == 0
        more.set()
        _, errors = first.communicate(timeout=wire.PATIENCE)
    assert first.returncode == 1
    assert "another process follows into the same table" in errors
    assert rows(tmp_path / "db")[0] == {b"a": b"2"}


def place_of(path):
    try:
        with sqlite3.connect(path) as database:
            found = database.execute("SELECT version FROM weasel_follow").fetchone()
    except sqlite3.OperationalError:
        return None
    return found and found[0]


def test_a_signal_ends_follow_with_everything_written(tmp_path):
    def stream(exchange, after):
        exchange.begin_stream()
        for one in LOG.after(after):
            exchange.send(event(one))
        exchange.connection.recv(1)

    with feed(LOG, stream) as server:
        process = start("follow", "--sqlite", tmp_path / "db", "--batch-ms", 60000, server=server.url)
        wire.wait_for(lambda: len(server.asked("/v1/subscribe")) == 1)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=wire.PATIENCE)
    assert process.returncode == 0, errors
    at = place_of(tmp_path / "db")
    assert f"is at version {at}" in output


def test_a_batch_is_written_when_its_time_is_up(tmp_path):
    def stream(exchange, after):
        exchange.begin_stream()
        exchange.send(event(LOG.transactions[0]))
        exchange.connection.recv(1)

    with feed(LOG, stream) as server:
        process = start("follow", "--sqlite", tmp_path / "db", "--batch-ms", 1, server=server.url)
        wire.wait_for(lambda: (tmp_path / "db").exists() and place_of(tmp_path / "db") == 1)
        process.kill()
        process.communicate()


def apply(state, operations):
    import base64

    decode = base64.b64decode
    for one in operations:
        if one["type"] == "write":
            state[decode(one["key"])] = decode(one["value"])
        elif one["type"] == "delete":
            state.pop(decode(one["key"]), None)
        else:
            for key in [key for key in state if decode(one["begin"]) <= key < decode(one["end"])]:
                del state[key]


def random_operation(chance):
    keys = sorted(chance.sample(range(60), 2))
    kind = chance.random()
    if kind < 0.7:
        return write(f"k{keys[0]:02}", str(chance.random()))
    if kind < 0.9:
        return delete(f"k{keys[0]:02}")
    return range_delete(f"k{keys[0]:02}", f"k{keys[1]:02}")


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_it_ends_with_what_the_log_implies(tmp_path, seed):
    chance = random.Random(seed)
    log = FakeLog(*[[random_operation(chance) for _ in range(chance.randint(1, 5))] for _ in range(1500)])
    connections = itertools.count()

    def stream(exchange, after):
        """Sends some of it, sometimes with progress, and sometimes cuts the connection."""
        own = random.Random(f"{seed} {next(connections)}")  # another fate each time: what was sent before a cut may be lost
        exchange.begin_stream()
        exchange.send("retry: 0\n\n")
        for one in log.after(after):
            exchange.send(event(one))
            if own.random() < 0.05:
                exchange.send(progress(one["version"]))
            if own.random() < 0.002:
                exchange.cut()
        exchange.send(progress(log.version))
        exchange.connection.recv(1)

    with feed(log, stream) as server:
        for _ in range(8):
            process = start("follow", "--sqlite", tmp_path / "db", "--batch-ms", 1, "--until-end", server=server.url)
            before = place_of(tmp_path / "db") or 0
            moved = chance.randint(1, 300)
            wire.wait_for(lambda: (place_of(tmp_path / "db") or 0) >= min(before + moved, log.version))
            process.kill()
            process.communicate()
            state, (version, last, _) = rows(tmp_path / "db")
            expected = {}
            for one in log.transactions[:version]:
                apply(expected, one["operations"])
            assert state == expected
            assert last == version
        result = follow(tmp_path / "db", "--until-end", server=server)
        assert result.returncode == 0, result.stderr
    expected = {}
    for one in log.transactions:
        apply(expected, one["operations"])
    assert rows(tmp_path / "db")[0] == expected


# ---- with a real server ----


def url_of(server):
    return f"http://127.0.0.1:{server.address[1]}"


@pytest.fixture
def real(tmp_path):
    """Starts a server on one log and one port, however often."""
    port = 0

    def begin():
        nonlocal port
        server = wire.weaseldb(f"log.directory={tmp_path}/log", f"http.port={port}")
        port = server.address[1]
        if server.get("/v1/subscribe", "OPTIONS").status == 404:
            server.stop()
            pytest.skip("this server has no feed")
        return server

    return begin


def kill(server):
    server.signal(signal.SIGKILL)
    server.expect_exit = -signal.SIGKILL
    server.stop()


def test_follow_a_real_server_through_crashes_of_both(real, tmp_path):
    chance = random.Random(5)
    expected = {}
    made = 0
    follower = None
    server = real()
    for _ in range(4):
        follower = follower or start("follow", "--sqlite", tmp_path / "db", server=url_of(server))
        with server.connect() as connection:
            for _ in range(150):
                operations = [random_operation(chance) for _ in range(chance.randint(1, 4))]
                body = json.dumps({"operations": operations}).encode()
                answer = connection.get("/v1/commit", "POST", "Content-Type: application/json\r\n", body)
                assert answer.status == 200
                apply(expected, operations)
                made = answer.json()["version"]
        if chance.random() < 0.5:
            follower.kill()
            follower.communicate()
            follower = None
        kill(server)
        server = real()
    if follower:
        wire.wait_for(lambda: place_of(tmp_path / "db") == made, lambda: str(place_of(tmp_path / "db")))
        follower.send_signal(signal.SIGTERM)
        _, errors = follower.communicate(timeout=wire.PATIENCE)
        assert follower.returncode == 0, errors
    assert weasel("follow", "--sqlite", tmp_path / "db", "--until-end", server=url_of(server)).returncode == 0
    assert rows(tmp_path / "db")[0] == expected
    lines = weasel("subscribe", "--after", 0, "--until-end", "--json", server=url_of(server)).stdout.splitlines()
    assert [json.loads(line)["version"] for line in lines] == list(range(1, made + 1))
    server.stop()


def load_until(over, server):
    """Commits all the time, from a client of its own."""
    chance = random.Random(11)
    with server.connect() as connection:
        while not over.is_set():
            transactions = [{"operations": [random_operation(chance) for _ in range(chance.randint(1, 4))]} for _ in range(20)]
            body = json.dumps({"transactions": transactions}).encode()
            assert connection.get("/v1/commits", "POST", "Content-Type: application/json\r\n", body).status == 200


def test_killed_a_hundred_times_under_load_it_ends_with_what_the_log_implies(real, tmp_path):
    chance = random.Random(7)
    found = []  # after each kill
    over = threading.Event()
    server = real()
    load = threading.Thread(target=load_until, args=(over, server))
    load.start()
    try:
        for _ in range(max(5, round(100 * wire.SCALE))):
            process = start("follow", "--sqlite", tmp_path / "db", "--batch-ms", 1, server=url_of(server))
            with pytest.raises(subprocess.TimeoutExpired):  # it runs until then: the moment means nothing
                process.wait(chance.random() * 0.1)
            process.kill()
            process.communicate()
            if place_of(tmp_path / "db") is not None:
                found.append(rows(tmp_path / "db"))
    finally:
        over.set()
        load.join()
    assert weasel("follow", "--sqlite", tmp_path / "db", "--until-end", server=url_of(server)).returncode == 0
    found.append(rows(tmp_path / "db"))
    server.stop()
    check_states(found, weasel("log", "dump", "--format", "json", tmp_path / "log"))


def check_states(found, dump):
    """Each state is what the log up to its version implies, and the last one what all of it does."""
    assert dump.returncode == 0, dump.stderr
    entries = [entry for entry in map(json.loads, dump.stdout.splitlines()) if entry["type"] == "commit"]
    assert found[-1][1][0] == len(entries)
    assert len({place for _, (place, _, _) in found}) > len(found) / 4, "most found something to do before they were killed"
    expected, at = {}, 0
    for state, (version, last, request_id) in found:
        assert version >= at
        for entry in entries[at:version]:
            apply(expected, entry["operations"])
        at = version
        assert state == expected
        assert last == version and (version == 0 or request_id == entries[version - 1]["request_id"])


def test_subscribe_to_a_range_of_a_real_server(real):
    server = real()
    url = url_of(server)
    assert weasel("commit", "--write", "a=1", "--write", "c=2", server=url).returncode == 0
    assert weasel("commit", "--delete-range", "a", "z", server=url).returncode == 0
    result = weasel("subscribe", "--after", 0, "--until-end", "--range", "b", "d", server=url)
    assert re.sub(r"version.*", "", result.stdout) == "\n  write c = 2\n\n  delete-range b to d\n"
    assert weasel("subscribe", "--after", 3, server=url).returncode == 2
    server.stop()
