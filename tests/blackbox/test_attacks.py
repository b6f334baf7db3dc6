"""Clients that mean no good: the others are answered all the same, whoever is too slow is cut, and everything comes back.

bench/attack measures what the others notice of it.
"""

import contextlib
import json
import resource
import subprocess
import sys
import threading

import pytest

import wire
from test_commit import commit, key, write
from test_load import Crowd

ATTACKERS = wire.ROOT / "bench/attackers"
MEMORY = 64 << 20


@contextlib.contextmanager
def attack(server, kind, count):
    """Yields a function that ends it and says what became of the attackers."""
    process = subprocess.Popen([sys.executable, str(ATTACKERS), kind, str(server.address[1]), str(count)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)

    def end():
        process.stdin.close()
        process.stdin = None
        return json.loads(process.communicate(timeout=wire.PATIENCE)[0])

    try:
        assert process.stdout.readline() == "ready\n"
        yield end
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def is_back(server):
    metrics = server.metrics()
    return metrics["http_connections_open"] == 1 and metrics["http_memory_chunks"] <= 8


@pytest.mark.parametrize(
    "kind, count, seconds, ends",
    [
        ("slow-head", 400, 1, {"408"}),
        ("huge-head", 3600, 4, {"408", "503", "reset"}),
        ("slow-body", 1600, 4, {"408", "503", "reset"}),
        ("fat-body", 400, 4, {"408", "503", "reset"}),
        ("slow-chunk", 400, 1, {"408"}),
        ("slow-read", 200, 1, {"closed"}),
        ("slow-read-made", 1200, 4, {"closed"}),
        ("stalled-feed", 200, 1, {"closed"}),
    ],
)
def test_good_requests_are_answered_while(tmp_path, kind, count, seconds, ends):
    """Those with four seconds want more memory together than there is."""
    settings = (f"http.memory_limit_bytes={MEMORY}", f"http.request_timeout_sec={seconds}", f"http.write_timeout_sec={seconds}")
    count = int(count * min(1, wire.SCALE)) if not wire.SANITIZED else count // 4
    with wire.weaseldb(*settings, cwd=tmp_path) as server:
        with server.connect() as kept:
            for _ in range(8):
                assert commit(kept, write(key(), "v" * 300000)).status == 200
        wire.wait_for(lambda: is_back(server))
        descriptors = server.descriptors()
        with attack(server, kind, count) as end:
            with server.connect() as kept:

                def cut():
                    """All good requests so far were answered; whether each attacker was cut once, on average."""
                    assert commit(kept, write(key())).status == 200
                    assert kept.get("/livez").status == 200
                    response = server.get("/metrics")  # on a connection of its own
                    if response.status == 503:
                        return False  # a large answer: it may find no memory
                    metrics = wire.parse_metrics(response)
                    assert metrics["http_memory_used_bytes"] <= MEMORY
                    return metrics["http_connections_closed_total"] > count + 50

                wire.wait_for(cut)
            told = end()
        assert set(told["ends"]) <= ends, told
        assert sum(told["ends"].values()) >= (1 if wire.SANITIZED else count // 2), told
        wire.wait_for(lambda: is_back(server), lambda: str(server.metrics()))
        # Network threads that have read the log for feeds keep a segment open.
        wire.wait_for(lambda: server.descriptors() <= descriptors + 4)


def test_slow_clients_are_found_among_many_idle_ones(tmp_path):
    idle, slow = int(13000 * min(1, wire.SCALE)), 3600
    settings = (f"http.memory_limit_bytes={MEMORY}", "http.max_connections=30000", "http.network_threads=1",
                "http.request_timeout_sec=300", "http.keepalive_timeout_sec=300")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(wire.weaseldb(*settings, cwd=tmp_path))
        crowd = stack.enter_context(Crowd("idle", server, idle, "/livez"))
        crowd.told()
        for _ in range(slow):
            stack.enter_context(server.connect()).send(b"GET /livez HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 15000)
        asked = write(key(), "v" * 20000)
        wire.wait_for(lambda: commit(server, asked).status == 200)  # from when on they count as slow
        for _ in range(20):
            assert commit(server, asked).status == 200
        assert server.metric("http_memory_refused_total") > 0
        assert crowd.end()["open"] == idle


def test_connections_that_come_and_go_do_not_keep_others_out(tmp_path):
    """In all ways there are to go: at once, with half a request, without reading the answer, with a reset."""
    with wire.weaseldb(cwd=tmp_path) as server:
        descriptors = server.descriptors()
        over = threading.Event()
        made = [0]

        def flood(sent, end):
            while not over.is_set():
                with contextlib.suppress(OSError):
                    connection = server.connect()
                    connection.send(sent)
                    getattr(connection, end)()
                    made[0] += 1

        floods = [threading.Thread(target=flood, args=(sent, end)) for sent in (b"", b"GET /l", wire.request("/livez") * 3)
                  for end in ("close", "reset")]
        for thread in floods:
            thread.start()
        try:
            with server.connect() as kept:

                def enough():
                    assert commit(kept, write(key())).status == 200
                    assert server.get("/livez").status == 200
                    return made[0] > 3000 * min(1, wire.SCALE)

                wire.wait_for(enough)
        finally:
            over.set()
            for thread in floods:
                thread.join()
        wire.wait_for(lambda: is_back(server), lambda: str(server.metrics()))
        wire.wait_for(lambda: server.descriptors() <= descriptors)


def answers_so_far(good):
    return wire.parse_metrics(good.get("/metrics"))['http_responses_total{status="200"}']


@pytest.mark.parametrize(
    "paths, count, turn", [(["/hello"], 600, 64), (["/big?bytes=60000"], 200, 2), (["/hello"] * 60 + ["/slow"], 10, 60)],
    ids=["small", "large", "some through a stage"])
def test_a_flood_of_pipelined_requests_lets_others_in(paths, count, turn):
    """A client that asks now and then waits for a share of a round, not until each connection of the flood has had its
    turn. `turn`: the least that such a turn may be."""
    hogs, asked = 400, 20
    told = []
    for _ in range(10):
        with wire.testserver("--network-threads", 1) as server, contextlib.ExitStack() as stack:
            good = stack.enter_context(server.connect())
            for connection in [stack.enter_context(server.connect()) for _ in range(hogs)]:
                connection.send(b"".join(map(wire.request, paths)) * count)
            before = answers_so_far(good)
            for _ in range(asked):
                assert good.get("/hello").status == 200
            after = answers_so_far(good)
            told.append((before, after, answers_so_far(good)))
        # A quarter of what turns in order would come to; and the flood went on.
        if after - before < hogs * turn * asked / 4 and told[-1][2] > after + 1:
            return
    raise AssertionError(f"answers before, with {asked} of a good client, and then: {told}")
