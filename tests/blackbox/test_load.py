"""Crowds: many idle connections, many busy ones beside slow ones, and no work when there is nothing to do."""

import collections
import json
import pathlib
import socket
import subprocess
import sys
import threading
import time

import wire

CROWD = pathlib.Path(__file__).with_name("crowd.py")


class Crowd:
    """A crowd.py; its two lines are told() and end()."""

    def __init__(self, kind, server, count, *targets):
        host, port = server.address
        words = [sys.executable, str(CROWD), kind, host, str(port), str(count), *targets]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def told(self):
        line = self.process.stdout.readline()
        assert line, "the crowd ended without a word"
        report = json.loads(line)
        assert report["errors"] == [], report
        return report

    def end(self, close_input=True):
        if close_input:
            self.process.stdin.close()
        report = self.told()
        assert self.process.wait(wire.PATIENCE) == 0
        return report

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def settled(server):
    before = server.cpu_ns()
    time.sleep(0.2)
    return server.cpu_ns() == before


def test_with_nothing_to_do_no_cpu_is_used():
    # ThreadSanitizer has a thread of its own, which works now and then.
    allowed_ns = 300_000_000 if wire.SANITIZED else 0
    with wire.testserver("--network-threads", 2) as alone, wire.testserver() as visited, wire.weaseldb() as database:
        servers = {"without connections": alone, "with 100 idle connections": visited, "weaseldb": database}
        with Crowd("idle", visited, 100) as crowd:
            assert crowd.told()["open"] == 100
            before = {}
            for name, server in servers.items():
                if not wire.SANITIZED:
                    wire.wait_for(lambda: settled(server))
                before[name] = server.cpu_ns()
            time.sleep(3)  # the time over which nothing may happen
            used = {name: server.cpu_ns() - before[name] for name, server in servers.items()}
            assert all(ns <= allowed_ns for ns in used.values()), used
            crowd.end()


def anonymous_bytes(server):
    for line in pathlib.Path(f"/proc/{server.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel does not tell")


def test_15000_idle_connections_cost_less_than_a_kibibyte_each():
    count = int(15000 * min(1, wire.SCALE))
    with wire.testserver("--keepalive-timeout", 300) as server:
        # What the first requests need is not what a connection needs.
        with Crowd("idle", server, 200) as crowd:
            crowd.told()
            crowd.end()
        wire.wait_for(lambda: server.metric("http_connections_open") == 1)
        before = anonymous_bytes(server)
        with Crowd("idle", server, count) as crowd:
            assert crowd.told()["open"] == count
            each = (anonymous_bytes(server) - before) / count
            assert server.metric("http_connections_open") == count + 1, "they, and the one that asks"
            if not wire.SANITIZED:
                assert 0 < each < 1024, f"{each:.0f} bytes each"
            assert server.get("/hello").status == 200
            assert crowd.end()["open"] == count, "none was closed meanwhile"
        wire.wait_for(lambda: server.metric("http_connections_open") == 1)


def test_512_busy_clients_beside_5000_slow_ones():
    deadline_sec = 3
    busy, slow = int(512 * min(1, wire.SCALE)), int(5000 * min(1, wire.SCALE))
    with wire.testserver("--request-timeout", deadline_sec, "--network-threads", 2) as server:
        with Crowd("work", server, busy, "/hello", "/hello", "/slow") as workers:
            workers.told()
            with Crowd("drip", server, slow) as attackers:
                assert attackers.told()["open"] == slow
                answered = server.metric('http_responses_total{status="200"}')
                report = attackers.end(close_input=False)
                served = server.metric('http_responses_total{status="200"}') - answered
                assert report["cut"] == slow
                assert report["soonest"] >= deadline_sec - 0.1, report
                # Bytes that trickle in renew nothing. The margin is for a busy machine.
                assert report["latest"] <= deadline_sec + 3 / min(1, wire.SCALE), report
            report = workers.end()
            assert served >= busy * 10, f"{served} answers while the slow ones were there"
            assert report["longest"] < deadline_sec, report
        assert server.metric('http_timeouts_total{kind="request"}') == slow
        wire.wait_for(lambda: server.metric("http_connections_open") == 1)
        wire.wait_for(lambda: server.metric("http_memory_chunks") <= 8)


def test_streams_and_requests_both_go_on_when_neither_ends():
    """Streams that have always something to send, beside connections that always have requests, on one network thread."""
    streams, floods, each_bytes = 16, 4, 256 << 10
    burst = wire.request("/hello") * 500
    done = threading.Event()

    def take_all(connection):
        with connection:
            while not done.is_set():
                taken[connection] += len(connection.recv(1 << 20))

    def flood(connection):
        with connection:
            while not done.is_set():
                connection.sendall(burst)
                left = len(answer) * 500
                while left > 0:
                    left -= len(connection.recv(1 << 20))
                taken[connection] += 500

    with wire.testserver("--network-threads", 1) as server:
        with socket.create_connection(server.address) as one:
            one.sendall(wire.request("/hello"))
            answer = one.recv(4096)
            assert answer.endswith(b'{"hello":"world"}')
        taken = {socket.create_connection(server.address): 0 for _ in range(streams + floods)}
        connections = list(taken)
        for connection in connections[:streams]:
            connection.sendall(wire.request(f"/stream?events={1 << 40}&bytes=4096"))
        threads = [threading.Thread(target=take_all if i < streams else flood, args=(connection,))
                   for i, connection in enumerate(connections)]
        try:
            for thread in threads:
                thread.start()
            for _ in range(20):
                before = dict(taken)
                assert server.get("/hello").status == 200
                wire.wait_for(lambda: all(taken[c] - before[c] >= each_bytes / 20 for c in connections[:streams])
                              and all(taken[c] - before[c] >= 500 for c in connections[streams:]), lambda: str(list(taken.values())))
        finally:
            done.set()
            for thread in threads:
                thread.join()
        wire.wait_for(lambda: server.metric("http_connections_open") == 1)


def test_a_stop_under_load_loses_no_answer():
    """Busy clients on fast and slow paths: each gets an answer that says close, then a clean end."""
    count = int(256 * min(1, wire.SCALE))
    with wire.testserver("--network-threads", 2) as server:
        with Crowd("work", server, count, "/hello", "/slow", "/hello", "/parallel?n=4") as workers:
            workers.told()
            server.signal()
            report = workers.end(close_input=False)
            assert report["answers"] >= count
        assert server.wait() == 0


def test_a_stop_while_clients_keep_connecting_answers_wholly_or_not_at_all():
    """One connection a request. What the kernel had not handed to the server yet is refused or reset; what the server
    has taken is answered."""
    outcomes = collections.Counter()

    def client(address):
        while True:
            data = b""
            try:
                with socket.create_connection(address, timeout=wire.PATIENCE) as connection:
                    connection.sendall(wire.request("/hello", headers="Connection: close\r\n"))
                    while piece := connection.recv(65536):
                        data += piece
                whole = data.startswith(b"HTTP/1.1 200 OK\r\n") and data.endswith(b'{"hello":"world"}')
                outcomes["whole" if whole else f"closed after {data!r}"] += 1
            except ConnectionRefusedError:
                outcomes["refused"] += 1
                return
            except ConnectionResetError:
                outcomes["reset before an answer" if data == b"" else f"reset after {data!r}"] += 1

    with wire.testserver("--network-threads", 2, "--accept-threads", 2) as server:
        clients = [threading.Thread(target=client, args=(server.address,)) for _ in range(16)]
        for thread in clients:
            thread.start()
        wire.wait_for(lambda: outcomes["whole"] > 300 * min(1, wire.SCALE))
        server.signal()
        for thread in clients:
            thread.join()
        assert server.wait() == 0
    assert set(outcomes) <= {"whole", "refused", "reset before an answer"}, outcomes
    assert outcomes["refused"] == 16
