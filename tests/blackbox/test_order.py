"""One connection, many requests: order, back-pressure, deadlines between requests; and a crowd that does everything at once."""

import random
import select
import signal
import socket
import threading
import time

import pytest

import wire
from test_connections import becomes_quiet, quiet

HELLO = wire.request("/hello")
HASTY = ("--keepalive-timeout", 1, "--request-timeout", 1, "--write-timeout", 1, "--body-rate", 20000)


@pytest.fixture(scope="module")
def hasty():
    with wire.testserver(*HASTY) as server:
        yield server


# ---- order ----


def test_mixed_requests_are_answered_in_order(server):
    """Fast, slow, refused, streamed, large: an answer never overtakes the one before it."""
    kinds = [
        ("/items/%d", lambda i, r: r.body == b"%d" % i),
        ("/parallel?n=%d", lambda i, r: r.body == b"%d" % (2 * i)),
        ("/upper?text=x%d", lambda i, r: r.body == b"X%d" % i),
        ("/nothing/%d", lambda i, r: r.status == 404),
        ("/big?bytes=%d", lambda i, r: len(r.body) == i),
        ("/stream?bytes=64&events=1&x=%d", lambda i, r: r.body.startswith(b"id: 0")),
        ("/slow?ms=1&x=%d", lambda i, r: r.body == b"slow"),
    ]
    choose = random.Random(1)
    plan = [(choose.choice(kinds), i) for i in range(600)]
    with server.connect() as connection:
        data = b"".join(wire.request(target % i) for (target, _), i in plan)
        sender = threading.Thread(target=connection.send, args=(data,))
        sender.start()
        for (target, check), i in plan:
            response = connection.read()
            assert check(i, response), (target % i, response.status, response.body[:100])
        sender.join()
        assert connection.get("/hello").status == 200


def test_a_refusal_by_a_full_ring_keeps_its_place():
    with wire.testserver("--ring", 2) as server:
        server.get("/gate/close", "POST")
        held = [server.connect() for _ in range(2)]
        for connection in held:
            connection.send(wire.request("/block"))
        wire.wait_for(lambda: server.metric('http_pipeline_ring_occupancy{pipeline="gate"}') == 2)
        with server.connect() as connection:
            connection.send(HELLO + wire.request("/block") + HELLO + wire.request("/block"))
            assert [connection.read().status for _ in range(4)] == [200, 503, 200, 503]
            server.get("/gate/open", "POST")
            for other in held:
                assert other.read().body == b"through"
                other.close()
            wire.wait_for(lambda: connection.get("/block").status == 200)


def test_a_half_closed_client_gets_all_of_its_answers(server):
    targets = ["/hello", "/slow?ms=20", "/items/1", "/slow?ms=20", "/big?bytes=3000000", "/stream?events=2"]
    with server.connect() as connection:
        connection.send(b"".join(map(wire.request, targets)))
        connection.socket.shutdown(socket.SHUT_WR)
        for target in targets:
            assert connection.read().status == 200, target
        assert connection.ended() == b""


def test_a_client_that_does_not_read_is_not_read_from(server):
    """Answers that nobody takes must not pile up: the server stops reading, and goes on when they are taken."""
    request = wire.request("/big?bytes=3000")
    with server.connect() as connection:
        connection.socket.setblocking(False)
        sent = 0
        offset = 0
        stuck_since = None
        while True:
            try:
                offset = (offset + connection.socket.send(request[offset:])) % len(request)
                sent += offset == 0
                stuck_since = None
            except BlockingIOError:
                # Stuck for good: neither side's buffers have moved for a while.
                stuck_since = stuck_since or time.monotonic()
                if time.monotonic() - stuck_since > 0.3:
                    break
                select.select([], [connection.socket], [], 0.1)
            assert sent < 5_000_000, "the server reads for ever"
        assert server.metric("http_memory_used_bytes") < 16 << 20
        connection.socket.settimeout(wire.PATIENCE)
        answered = 0
        while answered < sent:
            assert len(connection.read().body) == 3000
            answered += 1
        connection.send(request[offset:] if offset else b"")
        if offset:
            assert len(connection.read().body) == 3000
        assert connection.get("/hello").body == b'{"hello":"world"}'
    assert sent > 100


def padded(size):
    """A request of so many bytes."""
    request = b"GET /hello HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n"
    return request % (b"y" * (size - len(request) + 2))


@pytest.mark.parametrize("half_closed", [False, True])
def test_bursts_that_end_exactly_where_a_buffer_does(server, half_closed):
    """Then the input is full, and nothing of a request is left in it. Wherever buffers end: each size is tried."""
    for total in range(3900, 4200):
        with server.connect() as connection:
            burst = padded(60) * 32
            burst += padded(total - len(burst))
            assert len(burst) == total
            if half_closed:
                connection.send(burst)
                connection.socket.shutdown(socket.SHUT_WR)
                count = 33
            else:
                connection.send(burst + padded(60))
                count = 34
            for _ in range(count):
                assert connection.read().body == b'{"hello":"world"}'
            if half_closed:
                assert connection.ended() == b""


# ---- deadlines between and within requests ----


def test_a_second_request_has_a_deadline_of_its_own(hasty):
    with hasty.connect() as connection:
        connection.send(HELLO + b"GET /hello HTTP/1.1\r\n")
        assert connection.read().status == 200
        assert connection.read().status == 408
        assert connection.ended() == b""


def test_blank_lines_are_no_request(hasty):
    """They neither renew the idle time nor are answered."""
    with hasty.connect() as connection:
        connection.send(b"\r\n\r\n")
        assert connection.ended() == b""


def test_a_pipeline_may_take_longer_than_every_deadline(hasty):
    with hasty.connect() as connection:
        assert connection.get("/slow?ms=2500").body == b"slow"
        assert connection.get("/hello").status == 200


def test_a_stream_may_take_longer_than_every_deadline(hasty):
    with hasty.connect() as connection:
        connection.send(wire.request("/stream?events=3&interval_ms=1300"))
        assert connection.read().body.count(b"id: ") == 3
        assert connection.get("/hello").status == 200


def test_a_body_below_the_least_rate_is_late(hasty):
    with hasty.connect() as connection:
        connection.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        sent = 0
        while not wire.is_readable(connection, 0.05):  # 2 kB/s, a tenth of what earns time
            connection.send(b"x" * 100)
            sent += 100
            assert sent < 100000, "it goes on for ever"
        assert connection.read().status == 408
        assert connection.ended() == b""


def test_a_slow_reader_that_makes_progress_is_not_cut(hasty):
    with hasty.connect() as connection:
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.send(wire.request("/big?bytes=20000000"))
        assert connection.read_head().status == 200
        got = len(connection.buffer)
        end = time.monotonic() + 3  # three times the write time
        while time.monotonic() < end:
            got += len(connection.socket.recv(200000))
            time.sleep(0.05)
        assert got < 20000000, "it was too quick to prove anything"
        while got < 20000000:
            data = connection.socket.recv(1 << 20)
            assert data, got
            got += len(data)
        assert got == 20000000


# ---- stopping, in the middle of something ----


def stop_begun(server):
    """Whether new connections are refused: the listener is closed before the connections are told."""
    try:
        socket.create_connection(server.address, timeout=wire.PATIENCE).close()
        return False
    except ConnectionRefusedError:
        return True


def test_an_upload_in_progress_is_taken_and_answered_by_a_stop():
    with wire.testserver() as server:
        with server.connect() as connection:
            connection.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 500000)
            wire.wait_for(lambda: server.metric('http_connections{state="body"}') == 1)
            server.signal()
            wire.wait_for(lambda: stop_begun(server))
            connection.send(b"x" * 500000)
            response = connection.read()
            assert response.body.startswith(b"1000000 ")
            assert response.header("Connection") == "close"
            assert connection.ended() == b""
        assert server.wait() == 0


def test_an_answer_half_read_is_delivered_whole_by_a_stop():
    with wire.testserver() as server:
        with server.connect() as connection:
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            connection.send(wire.request("/big?bytes=30000000"))
            assert connection.read_head().status == 200
            server.signal()
            wire.wait_for(lambda: stop_begun(server))
            got = len(connection.buffer)
            while data := connection.socket.recv(1 << 20):
                got += len(data)
            assert got == 30000000
        assert server.wait() == 0


def test_a_client_that_does_not_read_is_cut_when_the_drain_time_is_up():
    with wire.testserver("--drain-timeout", 1, "--write-timeout", 60) as server:
        server.expect_exit = 1
        with server.connect() as connection:
            connection.send(wire.request("/big?bytes=60000000"))
            assert connection.read_head().status == 200
            start = time.monotonic()
            server.signal()
            assert server.wait() == 1
            assert time.monotonic() - start >= 1, "it did not wait for the client"


def test_waiting_streams_and_old_clients_are_let_go_by_a_stop():
    with wire.testserver() as server:
        with server.connect() as waiting, server.connect() as old, server.connect() as pipelined:
            waiting.send(wire.request("/wait"))
            assert waiting.read_head().status == 200
            old.send(b"GET /stream?events=100000&interval_ms=100 HTTP/1.0\r\n\r\n")
            assert old.read_head().header("Connection") == "close"
            pipelined.send(wire.request("/slow?ms=300"))
            wire.wait_for(lambda: server.metric('http_pipeline_ring_occupancy{pipeline="work"}') == 1)
            server.signal(signal.SIGINT)
            assert waiting.read_chunk() == b"drain"
            assert waiting.read_chunk() == b""
            assert waiting.ended() == b""
            assert old.ended().startswith(b"id: 0\n")
            assert pipelined.read().header("Connection") == "close"
            assert pipelined.ended() == b""
        assert server.wait() == 0


# ---- everything at once ----


class Monkey:
    """A client that does something legal or rude, as its dice say; it only knows that its server must stay well."""

    RUDE = [
        b"GET /hello HTTP/1.1\r\nHost: a\r\nX: ",
        b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 5000,
        b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50000,
        b"\x00\x01\x02garbage\r\n\r\n",
        wire.request("/slow?ms=2") * 5,
        wire.request("/big?bytes=2000000"),
        wire.request("/big?bytes=2000000") * 3 + b"GARBAGE",
        wire.request("/stream?events=100000&bytes=1000"),
        wire.request("/stream?events=1000&interval_ms=1"),
        wire.request("/wait"),
        HELLO * 200,
        HELLO * 70 + wire.request("/parallel?n=1") * 30 + b"GET",
    ]

    def __init__(self, address, dice):
        self.dice = dice
        self.connection = wire.Connection(address)
        self.connection.socket.setblocking(False)

    def act(self):
        """False: it is gone."""
        action = self.dice.randrange(12)
        try:
            if action < 6:
                self.connection.socket.send(self.dice.choice(self.RUDE))
            elif action < 9:
                self.connection.socket.recv(self.dice.choice([1, 1000, 1 << 20]))
            elif action == 9:
                self.connection.socket.shutdown(socket.SHUT_WR)
            elif action == 10:
                self.connection.reset()
                return False
            else:
                self.connection.close()
                return False
        except BlockingIOError:
            pass
        except OSError:
            self.connection.close()
            return False
        return True


@pytest.mark.parametrize("seed", range(2))
def test_whatever_clients_do_the_others_do_not_notice(seed):
    """Rude clients by the hundred for some seconds; polite ones beside them; nothing is left over."""
    dice = random.Random(seed)
    options = ("--network-threads", 2, "--ring", 64, "--write-timeout", 2, "--request-timeout", 2)
    with wire.testserver(*options, "--memory-limit-bytes", 64 << 20) as server:
        server.get("/hello")
        descriptors = server.descriptors()
        polite = [server.connect() for _ in range(4)]
        monkeys = []
        served = 0
        for _ in range(int(1500 * min(1, wire.SCALE))):
            while len(monkeys) < 150:
                monkeys.append(Monkey(server.address, dice))
            monkeys = [monkey for monkey in monkeys if dice.random() > 0.2 or monkey.act()]
            connection = dice.choice(polite)
            response = connection.get(dice.choice(["/hello", "/items/5", "/parallel?n=4"]))
            assert response.status in (200, 503)
            served += response.status == 200
            if response.header("Connection") == "close":  # no memory left to read into
                connection.close()
                polite[polite.index(connection)] = server.connect()
            if dice.random() < 0.01:
                server.get("/wake", "POST")
        assert served >= 100 * min(1, wire.SCALE)
        for connection in polite:
            connection.close()
        if seed == 0:
            # All of them are still there: each is answered, cut at a deadline, or told to end.
            server.signal()
            assert server.wait() == 0
        for monkey in monkeys:
            monkey.connection.close()
        if seed == 0:
            return
        server.get("/wake", "POST")
        becomes_quiet(server, descriptors)
        assert quiet(server)
