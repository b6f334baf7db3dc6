"""Too much at once: what is shed, what goes on, and that whatever was shed never happened."""

import contextlib
import itertools
import json
import random

import pytest

import wire
from test_commit import commit, committed, key, point, post, range_delete, range_read, status, version, write
from test_contract import problem

JSON = "Content-Type: application/json\r\n"
NEEDS_PRELOAD = pytest.mark.skipif(wire.SANITIZED, reason="sanitizers want to be the first library")


class Disk:
    """A disk whose syncs wait while it is held."""

    def __init__(self, path):
        self.trigger = path / "trigger"
        self.environment = {"LD_PRELOAD": str(wire.BUILD / "tests/libbad_disk.so"), "BAD_DISK": str(self.trigger)}

    def hold(self):
        self.trigger.write_text("hang")

    def free(self):
        self.trigger.unlink()


def request(name, *operations, **fields):
    document = json.dumps({"request_id": name, "operations": list(operations), **fields}).encode()
    return wire.request("/v1/commit", "POST", JSON, document)


def under_way(server):
    return server.metric('http_pipeline_ring_occupancy{pipeline="commit_status"}')


# ---- a full ring ----


@NEEDS_PRELOAD
@pytest.mark.parametrize("threads", [1, 4])
def test_a_full_ring_sheds_and_nothing_else(tmp_path, threads):
    """With a disk that is stuck, 16 requests wait for it. The others are told at once, and never happen."""
    disk = Disk(tmp_path)
    settings = ("http.pipelines.commit_status.ring_buffer_size=16", f"http.pipelines.commit_status.threads={threads}")
    with wire.weaseldb(*settings, cwd=tmp_path, env=disk.environment) as server, contextlib.ExitStack() as stack:
        before = committed(server, write(key()))
        disk.hold()
        connections = [stack.enter_context(server.connect()) for _ in range(40)]
        for number, connection in enumerate(connections):
            connection.send(request(f"full-{number}", write(key())))
        wire.wait_for(lambda: sum(wire.is_readable(one, 0) for one in connections) == 24)
        assert under_way(server) == 16
        shed = {number: one.read() for number, one in enumerate(connections) if wire.is_readable(one, 0)}
        for response in shed.values():
            problem(response, 503)
        # So is a question, which tells nothing of what it asks for. What needs no ring goes on.
        problem(server.get("/v1/status?request_id=full-0"), 503, outcome=None)
        problem(post(server, "/v1/commits", {"transactions": [{"operations": [write(key())]}]}), 503)
        assert version(server) == before
        assert server.get("/livez").status == 200
        assert server.metric('weaseldb_outcomes_total{outcome="committed"}') == 1
        disk.free()
        kept = {number: one.read().json() for number, one in enumerate(connections) if number not in shed}
        assert sorted(answer["version"] for answer in kept.values()) == list(range(before + 1, before + 17))
        for number in shed:
            assert status(server, f"full-{number}")["status"] == "not_committed"
        # Shed, not refused for good: another id, or the same before it was asked for, commits.
        assert committed(server, write(key())) == before + 17


@NEEDS_PRELOAD
def test_repeats_and_questions_wait_for_their_original(tmp_path):
    """A repeat, or a question, that arrives while its original is being synced is not answered before it."""
    disk = Disk(tmp_path)
    with wire.weaseldb(cwd=tmp_path, env=disk.environment) as server, contextlib.ExitStack() as stack:
        before = committed(server, write(key()))
        mine = key()
        disk.hold()
        sent = [request("original", write(mine))] + [request("original", write(mine)), wire.request("/v1/status?request_id=original")] * 5
        sent.append(request("check", preconditions=[point(mine, version=before)]))
        connections = [stack.enter_context(server.connect()) for _ in sent]
        for number, (connection, data) in enumerate(zip(connections, sent), 1):
            connection.send(data)  # the next is sent when this one is taken up: network threads keep no order
            wire.wait_for(lambda: under_way(server) == number)
        assert version(server) == before
        assert not [one for one in connections if wire.is_readable(one, 0)]
        disk.free()
        answers = [connection.read().json() for connection in connections]
        assert {(answer["status"], answer["version"]) for answer in answers[:-1]} == {("committed", before + 1)}
        assert answers[-1]["conflicts"] == [0] and answers[-1]["version"] == before + 1


@NEEDS_PRELOAD
def test_kill_with_the_sync_under_way(tmp_path):
    """Nobody was told, so either may be true; but it is one of them, and stays it."""
    disk = Disk(tmp_path)
    with wire.weaseldb(cwd=tmp_path, env=disk.environment) as server, server.connect() as connection:
        before = committed(server, write(key()), request_id="told")
        disk.hold()
        connection.send(request("untold", write("a")))
        wire.wait_for(lambda: under_way(server) == 1)
        server.process.kill()
        server.process.wait()
        server.expect_exit = -9
    disk.free()
    outcomes = []
    for _ in range(2):
        with wire.weaseldb(cwd=tmp_path) as server:
            outcomes.append(status(server, "untold"))
            assert status(server, "told")["version"] == before
            assert version(server) == (before + 1 if outcomes[0]["status"] == "committed" else before)
            again = commit(server, write("a"), request_id="untold")
            assert again.json()["status"] == outcomes[0]["status"]
    assert outcomes[0] == outcomes[1]


@NEEDS_PRELOAD
def test_a_stop_waits_for_the_disk(tmp_path):
    """What was taken up before the stop is answered after it, as durable as ever."""
    disk = Disk(tmp_path)
    with wire.weaseldb(cwd=tmp_path, env=disk.environment) as server, server.connect() as connection, server.connect() as idle:
        before = committed(server, write(key()))
        idle.send(b"POST /v1/commit HTTP/1.1\r\nHost: a\r\n")
        disk.hold()
        connection.send(request("slow", write(key())))
        wire.wait_for(lambda: under_way(server) == 1)
        server.signal()
        wire.wait_for(lambda: b"shutting down" in server.stderr())
        body = b'{"request_id":"late","operations":[{"type":"write","key":"","value":""}]}'
        idle.send(b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        assert not wire.is_readable(connection, 0)
        disk.free()
        response = connection.read()
        assert response.status == 200 and response.header("Connection") == "close"
        late = idle.read()  # it had begun before the stop: answered, whichever way
        assert late.status in (200, 503)
        assert server.wait() == 0
    with wire.weaseldb(cwd=tmp_path) as server:
        assert status(server, "slow")["version"] in (before + 1, before + 2)
        assert status(server, "late")["status"] == ("committed" if late.status == 200 else "not_committed")


# ---- memory ----


def test_memory_that_runs_out_is_an_answer(tmp_path):
    """Uploads that together want more than the budget: those beyond it are shed, the others go on."""
    settings = (f"http.memory_limit_bytes={4 << 20}", f"http.max_body_bytes={1 << 19}", "http.request_timeout_sec=60")
    with wire.weaseldb(*settings, cwd=tmp_path) as server, contextlib.ExitStack() as stack:

        def body(name):
            document = json.dumps({"request_id": name, "operations": [write("k", "v" * 390000)]}).encode()
            return document + b" " * ((1 << 19) - len(document))

        # One of the most that is allowed fits, also while it is read.
        assert post(server, "/v1/commit", body("alone")).status == 200
        too_large = JSON + f"Content-Length: {(1 << 19) + 1}\r\n"
        problem(server.get("/v1/commit", "POST", too_large), 413, limit_key="http.max_body_bytes", limit=1 << 19, actual=(1 << 19) + 1)
        holding = []
        while True:
            connection = stack.enter_context(server.connect())
            data = wire.request("/v1/commit", "POST", JSON + "Expect: 100-continue\r\n", body(f"up-{len(holding)}"))
            head, end, rest = data.partition(b"\r\n\r\n")
            connection.send(head + end)
            response = connection.read()  # 100 when there is room for all of it
            if response.status != 100:
                break
            connection.send(rest[:-1])
            holding.append(connection)
            assert len(holding) < 8
        problem(response, 503)
        assert len(holding) >= 2
        assert version(server) == 1  # small requests go on
        assert server.get("/livez").status == 200
        for other in holding[1:]:
            other.close()

        def is_free():
            response = server.get("/metrics")
            return response.status == 200 and b'http_connections{state="body"} 1\n' in response.body

        wire.wait_for(is_free)
        holding[0].send(b" ")
        assert holding[0].read().json()["status"] == "committed"
        assert status(server, f"up-{len(holding)}")["status"] == "not_committed"
        assert version(server) == 2


# ---- a huge transaction ----


def cost(server, work):
    before = server.cpu_ns()
    work()
    return server.cpu_ns() - before


def many(server, connections, count):
    """So many small commits, in turn over the connections, all sent before the first is read."""
    for number in range(count):
        connections[number % len(connections)].send(request(f"small-{next(numbers)}", write(key())))
    for number in range(count):
        assert connections[number % len(connections)].read().status == 200


numbers = itertools.count()


def huge(kind, count, read_at):
    """A transaction of the most operations and preconditions, each as unlike its neighbours as can be."""
    names = [f"{kind}-{number:05d}" for number in range(count)]
    random.Random(count).shuffle(names)
    if kind == "points":
        operations = [write(name) for name in names]
        reads = [point(name + "x") for name in names]
    elif kind == "ranges":
        operations = [range_delete(name, name + "\x00") for name in names]
        reads = [range_read(name + "x", name + "y") for name in names]
    elif kind == "nested":
        operations = [range_delete(f"{kind}-{number:05d}", f"{kind}-{2 * count - number:05d}") for number in range(count)]
        reads = [range_read(f"{kind}-x{number:05d}", f"{kind}-x{2 * count - number:05d}") for number in range(count)]
    else:
        operations = [write(kind)] * count
        reads = [point(kind + "x")] * count
    return json.dumps({"read_version": read_at, "preconditions": reads, "operations": operations}).encode()


@pytest.mark.parametrize("kind", ["points", "ranges", "nested", "same"])
def test_a_huge_transaction_costs_its_size(tmp_path, kind):
    """Four times the operations take about four times the work, however they lie; and others pay nothing for it."""
    with wire.weaseldb(cwd=tmp_path) as server, contextlib.ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(8)]
        many(server, connections, 100)
        first = stack.enter_context(server.connect())

        def send_huge(count):
            first.send(wire.request("/v1/commit", "POST", JSON, huge(kind, count, version(server))))

        def run(count):
            send_huge(count)
            assert first.read().status == 200

        run(100)
        quarter = min(cost(server, lambda: run(2500)) for _ in range(3))
        whole = min(cost(server, lambda: run(10000)) for _ in range(3))
        assert whole < 12 * quarter, (quarter, whole)
        small = min(cost(server, lambda: many(server, connections, 400)) for _ in range(3))

        def together():
            send_huge(10000)
            many(server, connections, 400)
            assert first.read().status == 200

        # The least of three: now and then a helper prepares the next segment of the log meanwhile.
        both = min(cost(server, together) for _ in range(3))
        assert both < 3 * (whole + small), (whole, small, both)


# ---- the conflict window ----


def hostile(kind, round_number, count):
    """Batches of keys that are dear to keep."""
    chance = random.Random(round_number)
    for number in range(count):
        serial = round_number * count + number
        if kind == "long prefix":
            yield write("p" * 1000 + f"{serial:08d}")
        elif kind == "descending":
            yield write(f"{10**9 - serial:010d}" + "d" * 500)
        elif kind == "random":
            yield write(chance.randbytes(chance.randrange(1, 1024)))
        elif kind == "tiny":
            yield write(serial.to_bytes(4, "little"))
        elif kind == "nested ranges":
            yield range_delete(f"{serial:010d}" + "a" * 300, f"{10**10 - serial:010d}" + "z" * 300)
        elif kind == "slices":
            yield range_delete(f"{serial % 50000:010d}" + "s" * 200, f"{serial % 50000 + 1:010d}" + "s" * 200)
        elif number % 2:
            yield range_delete(b"", b"\xff" * 1024)
        else:
            yield write(chance.randbytes(1024))


@pytest.mark.parametrize("kind", ["long prefix", "descending", "random", "tiny", "nested ranges", "slices", "everything"])
def test_the_window_keeps_to_its_bytes(tmp_path, kind):
    """Whatever keys come, memory stays within the limit, what is still known is exact, and the rest is too old."""
    limit = 4 << 20
    settings = (f"commit.conflict_window_bytes={limit}", "log.durability=none")
    with wire.weaseldb(*settings, cwd=tmp_path) as server, server.connect() as connection:
        rounds, per_round = (14, 100) if kind == "everything" else (70 if kind == "tiny" else 25, 1000)
        newest = {}
        for number in range(rounds):
            operations = list(hostile(kind, number, per_round))
            transactions = [{"operations": operations[at : at + 50]} for at in range(0, per_round, 50)]
            response = post(connection, "/v1/commits", {"transactions": transactions})
            assert response.status == 200
            newest = {"operation": operations[-1], "version": response.json()["results"][-1]["version"]}
            assert server.metric("weaseldb_conflict_window_bytes") <= limit
        info = connection.get("/v1/version").json()
        floor, last = info["oldest_read_version"], info["version"]
        assert floor <= last
        if kind not in ("everything", "tiny"):
            assert floor > 0, "nothing had to be forgotten: this proves nothing"
        name = newest["operation"].get("key") or newest["operation"]["begin"]
        read = {"type": "point_read", "key": name}
        if newest["version"] > floor:
            stale = commit(connection, preconditions=[{**read, "version": newest["version"] - 1}])
            assert stale.status == 409
        assert commit(connection, preconditions=[{**read, "version": last}]).status == 200
        if floor > 0:
            answer = commit(connection, preconditions=[point("never written", version=floor - 1)])
            assert answer.status == 409 and answer.json()["reason"] == "too_old"
            assert answer.json()["version"] == last
