"""Deadlines, limits, vanishing clients: what happens to connections, by behaviour."""

import json
import os
import resource
import socket
import threading
import time

import pytest

import wire

HELLO = wire.request("/hello")
UPLOAD_HEAD = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


def quiet(server):
    """Nothing is open or in use but the connection that asks: counters are back where they began."""
    metrics = server.metrics()
    return (
        metrics["http_connections_open"] == 1
        and metrics["http_memory_chunks"] <= 8  # of the request for /metrics itself
        and all(v == 0 for n, v in metrics.items() if n.startswith("http_pipeline_ring_occupancy"))
        and sum(v for n, v in metrics.items() if n.startswith("http_connections{")) == 1
    )


def becomes_quiet(server, descriptors):
    wire.wait_for(lambda: quiet(server), lambda: str(server.metrics()))
    wire.wait_for(lambda: server.descriptors() <= descriptors)


# ---- deadlines ----


@pytest.fixture(scope="module")
def hasty():
    """Short times everywhere."""
    with wire.testserver(
        "--keepalive-timeout", 1, "--request-timeout", 1, "--write-timeout", 1, "--body-rate", 0
    ) as server:
        yield server


def test_an_idle_connection_is_closed_without_a_word(hasty):
    before = hasty.metric('http_timeouts_total{kind="idle"}')
    with hasty.connect() as connection:
        assert connection.get("/hello").status == 200
        assert connection.ended() == b""
    assert hasty.metric('http_timeouts_total{kind="idle"}') > before


def test_a_client_that_never_sends_a_byte_is_closed(hasty):
    with hasty.connect() as connection:
        assert connection.ended() == b""


def test_a_client_that_never_lets_up_is_not_idle():
    """Answering what has arrived takes longer than a connection may be idle."""
    with wire.testserver("--keepalive-timeout", 1, "--network-threads", 1) as server, server.connect() as connection:
        assert connection.get("/hello").status == 200
        connection.send(wire.request("/busy?ms=8") * 300)
        for _ in range(300):
            assert connection.read().body == b"busy"
        assert server.metric('http_timeouts_total{kind="idle"}') == 0


@pytest.mark.parametrize(
    "start",
    [b"G", b"GET /hello HTTP/1.1\r\nHost: a\r\n", UPLOAD_HEAD % 10 + b"12345"],
    ids=["one byte", "a head without its end", "half a body"],
)
def test_a_late_request_is_answered_408(hasty, start):
    with hasty.connect() as connection:
        connection.send(start)
        response = connection.read()
        assert response.status == 408
        assert response.header("Connection") == "close"
        assert connection.ended() == b""


def test_bytes_that_trickle_in_do_not_renew_the_deadline(hasty):
    with hasty.connect() as connection:
        sent = 0
        while not wire.is_readable(connection, 0.05):
            assert sent < 500, "bytes are taken for ever"
            connection.send(b"GET /hello HTTP/1.1\r\nX: "[sent : sent + 1] or b"y")
            sent += 1
        assert connection.read().status == 408


def test_a_body_at_the_least_rate_earns_time():
    with wire.testserver("--request-timeout", 1, "--body-rate", 20000) as server:
        with server.connect() as connection:
            connection.send(UPLOAD_HEAD % 200000)
            end = time.monotonic() + 2.5
            sent = 0
            while sent < 200000:  # 100 kB/s: well above the least rate, well beyond one second
                connection.send(b"x" * 10000)
                sent += 10000
                time.sleep(max(0, (end - time.monotonic()) / max(1, (200000 - sent) / 10000)))
            assert connection.read().body.startswith(b"200000 ")


def test_a_client_that_does_not_read_is_cut(hasty):
    with hasty.connect() as connection:
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        before = hasty.metric('http_timeouts_total{kind="write"}')
        connection.send(wire.request("/big?bytes=30000000"))
        wire.wait_for(lambda: hasty.metric('http_timeouts_total{kind="write"}') > before)
    wire.wait_for(lambda: quiet(hasty), lambda: str(hasty.metrics()))


def test_a_stream_to_a_client_that_does_not_read_is_cut(hasty):
    closed = hasty.metric("test_streams_closed_total")
    with hasty.connect() as connection:
        connection.send(wire.request("/stream?events=100000000&bytes=4096"))
        wire.wait_for(lambda: hasty.metric("test_streams_closed_total") > closed)
    wire.wait_for(lambda: quiet(hasty), lambda: str(hasty.metrics()))


# ---- limits ----


def test_a_full_ring_is_503_and_service_resumes():
    with wire.testserver("--ring", 16) as server:
        server.get("/gate/close", "POST")
        waiting = [server.connect() for _ in range(16)]
        for connection in waiting:
            connection.send(wire.request("/block"))
        wire.wait_for(lambda: server.metric('http_pipeline_ring_occupancy{pipeline="gate"}') == 16)
        with server.connect() as late:
            response = late.get("/block")
            assert response.status == 503
            assert response.header("Retry-After") == "1"
            assert response.json()["type"] == "urn:weaseldb:problem:overloaded"
            assert late.get("/hello").status == 200, "the connection is still good"
            assert late.get("/slow").status == 200, "and so are the other pipelines"
            server.get("/gate/open", "POST")
            for connection in waiting:
                assert connection.read().body == b"through"
                connection.close()
            wire.wait_for(lambda: late.get("/block").status == 200)
        assert server.metric('http_pipeline_full_total{pipeline="gate"}') >= 1


def test_a_refusal_says_what_has_become_of_the_request():
    with wire.testserver("--ring", 2, "--threads", 1) as server:
        # Both slots of "work" are taken by one that sleeps and one behind it.
        busy = [server.connect() for _ in range(2)]
        for connection in busy:
            connection.send(wire.request("/slow?ms=1500"))
        wire.wait_for(lambda: server.metric('http_pipeline_ring_occupancy{pipeline="work"}') == 2)
        response = server.get("/slow")
        assert response.status == 503
        assert response.json()["outcome"] == "not_committed"
        for connection in busy:
            assert connection.read().body == b"slow"
            connection.close()


def test_the_memory_budget_is_an_answer_and_recovers():
    with wire.testserver("--memory-limit-bytes", 8 << 20) as server:
        assert server.get("/hello").status == 200
        held = []
        refused = None
        for _ in range(40):
            connection = server.connect()
            connection.send(UPLOAD_HEAD % 1000000 + b"x" * 900000)
            held.append(connection)
            if wire.is_readable(connection, 0.05):
                refused = connection.read()
                break
        assert refused is not None, "the budget holds less than forty megabytes"
        assert server.metrics()["http_memory_refused_total"] >= 1
        assert refused.status == 503
        assert refused.header("Retry-After") == "1"
        assert refused.header("Connection") == "close"
        for connection in held:
            connection.close()
        wire.wait_for(lambda: server.get("/upload", "POST", body=b"y" * 1000000).status == 200)
        assert server.metrics()["http_memory_used_bytes"] <= 8 << 20


def test_bodies_that_are_announced_and_never_sent_leave_memory_to_others():
    with wire.testserver("--memory-limit-bytes", 8 << 20, "--request-timeout", 60) as server:
        silent = [server.connect() for _ in range(40)]
        for size in (3 << 20, 1000000, 100000, 9000):
            for connection in silent[:10]:
                connection.send(UPLOAD_HEAD % size)
            silent = silent[10:] + silent[:10]
        wire.wait_for(lambda: server.metrics()['http_connections{state="body"}'] == 40)
        used = server.metrics()["http_memory_used_bytes"]
        assert 3 << 20 < used < 7 << 20, "up to three quarters were given at once, and no more"
        for size in (100, 9000, 100000, 500000):
            assert server.get("/upload", "POST", body=b"y" * size).body.startswith(b"%d " % size)
        for connection in silent:
            connection.close()


def test_free_memory_of_one_thread_is_not_missing_to_another():
    with wire.testserver("--memory-limit-bytes", 4 << 20, "--network-threads", 2) as server:
        # In turn, connections go to one network thread and to the other.
        with server.connect() as one, server.connect() as other:
            assert other.get("/hello").status == 200
            # Bodies of several sizes, one after the other: all of the budget passes through one thread.
            for size in (2 << 20, 3 << 19, 1 << 18, 1 << 16, 1 << 14, 8000, 8000):
                assert one.get("/upload", "POST", body=b"x" * (size - 3000)).status == 200
            assert other.get("/upload", "POST", body=b"y" * 1000000).status == 200


def test_memory_for_a_thousand_heads_is_refused_not_crashed():
    with wire.testserver("--memory-limit-bytes", 1 << 20) as server:
        held = [server.connect() for _ in range(600)]
        for connection in held:
            connection.send(b"GET /hello HTTP/1.1\r\nX: ")
        answered = wire.readable(held, 0.5)
        assert len(answered) > 100
        assert {connection.read().status for connection in answered} == {503}
        for connection in held:
            connection.close()
        wire.wait_for(lambda: server.get("/hello").status == 200)


def test_a_body_that_can_never_fit_is_413():
    with wire.testserver("--memory-limit-bytes", 4 << 20) as server:
        with server.connect() as connection:
            connection.send(UPLOAD_HEAD % (10 << 20))
            response = connection.read()
            assert response.status == 413
            assert response.json()["limit_key"] == "http.memory_limit_bytes"
            assert response.json()["actual"] == 10 << 20


def test_connections_beyond_the_limit_are_refused_and_service_resumes():
    with wire.testserver("--max-connections", 20) as server:
        held = [server.connect() for _ in range(20)]
        for connection in held:
            assert connection.get("/hello").status == 200
        cpu = server.cpu_ns()
        for _ in range(5):
            with server.connect() as late:
                late.send(HELLO)
                response = late.read()
                assert response.status == 503
                assert response.json()["type"] == "urn:weaseldb:problem:too-many-connections"
                assert late.ended() == b""
        time.sleep(1)  # while full: nothing may spin
        assert server.cpu_ns() - cpu < 200_000_000 / min(1, wire.SCALE)
        held.pop().close()
        wire.wait_for(lambda: server.get("/hello").status == 200)
        for connection in held:
            assert connection.get("/hello").status == 200, "those that were open noticed nothing"
            connection.close()


def test_connections_leave_descriptors_for_the_log(tmp_path):
    """Clients may take all descriptors that they can: the log still gets its next segments."""
    small = ("log.segment_bytes=1048576", "http.max_body_bytes=262144", "commit.max_operations=1000")
    with wire.weaseldb(*small, "http.max_connections=1000", cwd=tmp_path, limits={resource.RLIMIT_NOFILE: 200}) as server:
        assert b"connections_max=136" in server.stderr()
        good = server.connect()
        assert good.get("/livez").status == 200
        held = [server.connect() for _ in range(150)]
        for connection in held:
            connection.send(wire.request("/livez"))
        statuses = [connection.read().status for connection in held]
        assert statuses.count(200) == 135 and statuses.count(503) == 15
        body = json.dumps({"operations": [{"type": "write", "key": "YQ==", "value": "A" * 200000}]}).encode()
        for _ in range(30):
            assert good.get("/v1/commit", "POST", "Content-Type: application/json\r\n", body).status == 200
        good.close()
        for connection in held:
            connection.close()


def test_without_descriptors_it_waits_and_resumes():
    """Descriptors become fewer than the connections that were found to fit at the start."""
    with wire.testserver("--max-connections", 1000) as server:
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (64, 64))
        held = []
        for _ in range(100):
            connection = server.connect()
            connection.send(HELLO)
            held.append(connection)
        served = wire.readable(held, 1)
        assert 10 < len(served) < 64
        cpu = server.cpu_ns()
        time.sleep(1)
        assert server.cpu_ns() - cpu < 200_000_000 / min(1, wire.SCALE), "it spins"
        for connection in served:
            connection.close()
        for connection in held:
            if connection not in served:
                # Those that waited in the backlog are served as descriptors come free.
                assert connection.read().status == 200
                connection.close()
        wire.wait_for(lambda: server.metric("http_accept_pauses_total") > 0)


def test_a_stop_without_descriptors_is_quick():
    """Connections that wait for a descriptor must not hold a stop up."""
    with wire.testserver("--drain-timeout", 30) as server:
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (64, 64))
        held = [server.connect() for _ in range(200)]
        for connection in held:
            connection.send(HELLO)
        wire.wait_for(lambda: b"accepting is paused" in server.stderr(), server.stderr)
        start = time.monotonic()
        server.signal()
        assert server.wait() == 0
        assert time.monotonic() - start < 3 / min(1, wire.SCALE), "it paused for each of them"
        for connection in held:
            connection.close()


# ---- clients that do odd things ----


def test_a_half_closed_client_still_gets_its_answers(server):
    for target in ("/hello", "/slow?ms=50", "/stream?events=3&interval_ms=20"):
        with server.connect() as connection:
            connection.send(wire.request(target))
            connection.socket.shutdown(socket.SHUT_WR)
            assert connection.read().status == 200
            assert connection.ended() == b""


def test_a_request_cut_short_is_400(server):
    with server.connect() as connection:
        connection.send(b"GET /hello HTTP/1.1\r\nHo")
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.read().status == 400
        assert connection.ended() == b""


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_client_that_vanishes_at_every_byte(server, end):
    wire.wait_for(lambda: quiet(server))
    descriptors = server.descriptors()
    data = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: u\r\n\r\n"
    for place in range(len(data) + 1):
        connection = wire.Connection(server.addresses[0])
        connection.send(data[:place])
        getattr(connection, end)()
    becomes_quiet(server, descriptors)


@pytest.mark.parametrize("end", ["close", "reset"])
def test_clients_that_vanish_while_in_a_pipeline(server, end):
    wire.wait_for(lambda: quiet(server))
    descriptors = server.descriptors()
    server.get("/gate/close", "POST")
    gone = [server.connect() for _ in range(50)]
    staying = [server.connect() for _ in range(10)]
    for connection in gone + staying:
        connection.send(wire.request("/block"))
    wire.wait_for(lambda: server.metric('http_pipeline_ring_occupancy{pipeline="gate"}') == 60)
    for connection in gone:
        getattr(connection, end)()
    server.get("/gate/open", "POST")
    for connection in staying:
        assert connection.read().body == b"through"
        assert connection.get("/hello").status == 200
        connection.close()
    becomes_quiet(server, descriptors)


@pytest.mark.parametrize("target", ["/big?bytes=20000000", "/stream?events=100000000&bytes=1000"])
@pytest.mark.parametrize("end", ["close", "reset"])
def test_clients_that_vanish_while_a_response_is_half_written(server, target, end):
    wire.wait_for(lambda: quiet(server))
    descriptors = server.descriptors()
    closed = server.metric("test_streams_closed_total")
    connections = [server.connect() for _ in range(5)]
    for connection in connections:
        connection.send(wire.request(target))
        assert connection.read_head().status == 200
    for connection in connections:
        getattr(connection, end)()
    becomes_quiet(server, descriptors)
    if "stream" in target:
        assert server.metric("test_streams_closed_total") == closed + 5


def test_an_upload_that_is_refused_reads_the_whole_answer(server):
    """The answer comes before the body; the server reads on, so that no reset overtakes it."""
    with server.connect() as connection:
        connection.send(b"POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 8388608\r\n\r\n")
        for _ in range(128):
            connection.send(b"x" * 65536)
        response = connection.read()
        assert response.status == 404
        assert response.header("Connection") == "close"
        assert connection.ended() == b""


def test_a_refusal_does_not_wait_for_the_body(server):
    with server.connect() as connection:
        connection.send(b"POST /json-only HTTP/1.1\r\nHost: a\r\nContent-Length: 8388608\r\n\r\n")
        assert connection.read().status == 415  # although nothing of the body was sent


def test_100_continue_comes_only_when_the_body_will_be_read(server):
    head = b"POST %s HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    with server.connect() as connection:
        connection.send(head % b"/echo")
        assert connection.read().status == 100
        connection.send(b"abc")
        assert connection.read().body == b"abc"
        connection.send(head % b"/json-only")
        assert connection.read().status == 415
        assert connection.ended() == b""


def fnv1a(data):
    value = 14695981039346656037
    for byte in data:
        value = (value ^ byte) * 1099511628211 % (1 << 64)
    return value


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_upload_arrives_whole(server, chunked):
    data = os.urandom(1 << 16) * 3 + os.urandom(12345)
    with server.connect() as connection:
        if chunked:
            connection.send(b"POST /upload?hash=1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            at = 0
            size = 1
            while at < len(data):
                piece = data[at : at + size]
                connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
                at += size
                size = size * 3 % 7919 + 1
            connection.send(b"0\r\n\r\n")
        else:
            connection.send(b"POST /upload?hash=1 HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(data))
            connection.send(data)
        assert connection.read().body == b"%d %016x" % (len(data), fnv1a(data))
        assert connection.get("/hello").status == 200


def test_a_big_response_to_a_slow_reader(server):
    with server.connect() as connection:
        connection.send(wire.request("/big?bytes=5000000") + HELLO)
        body = connection.read().body
        assert len(body) == 5000000
        assert body[:30] == b"abcdefghijklmnopqrstuvwxyzabcd"
        assert connection.read().status == 200


def test_a_long_pipelined_burst_keeps_order_and_lets_others_in(server):
    with server.connect() as connection:
        count = 5000
        targets = [b"/items/%d" % i for i in range(count)]
        sender = threading.Thread(
            target=connection.send, args=(b"".join(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % t for t in targets),)
        )
        sender.start()
        assert server.get("/hello").status == 200
        for i in range(count):
            assert connection.read().body == b"%d" % i
        sender.join()


def test_tiny_chunks_do_not_cost_memory(server):
    before = server.metrics()["http_memory_used_bytes"]
    with server.connect() as connection:
        connection.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.send(b"1\r\nx\r\n" * 50000 + b"0\r\n\r\n")
        assert connection.read().body.startswith(b"50000 ")
    assert server.metrics()["http_memory_used_bytes"] < before + (1 << 20)


# ---- streams ----


def test_events_come_one_by_one(server):
    with server.connect() as connection:
        connection.send(wire.request("/stream?events=3&interval_ms=100"))
        assert connection.read_head().header("Transfer-Encoding") == "chunked"
        for i in range(3):
            assert connection.read_chunk().startswith(b"id: %d\n" % i)
        assert connection.read_chunk() == b""
        assert connection.get("/hello").status == 200


def test_a_stream_that_cannot_go_on_is_cut(server):
    closed = server.metric("test_streams_closed_total")
    with server.connect() as connection:
        connection.send(wire.request("/abort?events=3&interval_ms=100"))
        assert connection.read_head().header("Transfer-Encoding") == "chunked"
        for i in range(3):
            assert connection.read_chunk().startswith(b"id: %d\n" % i)
        with pytest.raises((wire.Closed, ConnectionResetError)):
            connection.read_chunk()
    assert server.metric("test_streams_closed_total") == closed + 1


def test_more_streams_than_are_asked_at_once_are_all_woken(server):
    streams = [server.connect() for _ in range(300)]
    for stream in streams:
        stream.send(wire.request("/wait"))
        assert stream.read_head().status == 200
    streams.pop(150).reset()
    assert server.get("/wake", "POST").status == 200
    for stream in streams:
        assert stream.read_chunk() == b"woken"
        assert stream.read_chunk() == b""
        stream.close()


def test_a_stream_is_woken_from_outside(server):
    streams = [server.connect() for _ in range(20)]
    for stream in streams:
        stream.send(wire.request("/wait"))
        assert stream.read_head().status == 200
    assert not wire.is_readable(streams[0], 0.2)
    server.get("/wake", "POST")
    for stream in streams:
        assert stream.read_chunk() == b"woken"
        assert stream.read_chunk() == b""
        stream.close()


def test_a_fast_stream_goes_at_the_clients_pace(server):
    with server.connect() as connection:
        connection.send(wire.request("/stream?events=20000&bytes=1000"))
        assert connection.read_head().status == 200
        got = 0
        while chunk := connection.read_chunk():
            got += len(chunk)
        assert got == 20000 * 1000


def test_what_a_client_sends_during_a_stream_is_served_after_it(server):
    with server.connect() as connection:
        connection.send(wire.request("/stream?events=3&interval_ms=50") + HELLO)
        assert connection.read().body.count(b"id: ") == 3
        assert connection.read().body == b'{"hello":"world"}'
