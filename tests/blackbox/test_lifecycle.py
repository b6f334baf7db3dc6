"""Start, stop, reload, sockets of every kind."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

import wire

HELLO = wire.request("/hello")


# ---- stopping ----


def test_sigterm_under_load_answers_all_that_was_read():
    """Closed-loop clients on both routes: each request is answered, or the connection ends cleanly between
    two requests; no reset."""
    with wire.testserver("--network-threads", 2) as server:
        faults, answered, goodbyes = [], [0] * 24, [0]
        stop = threading.Event()

        def client(number, target):
            try:
                with server.connect() as connection:
                    while not stop.is_set():
                        response = connection.get(target)
                        assert response.status == 200, response.status
                        answered[number] += 1
                        if response.header("Connection") == "close":
                            assert connection.ended() == b""
                            goodbyes[0] += 1
                            return
            except Exception as error:  # pylint: disable=broad-except
                faults.append(repr(error))

        threads = [
            threading.Thread(target=client, args=(i, "/slow?ms=1" if i % 2 else "/hello")) for i in range(24)
        ]
        for thread in threads:
            thread.start()
        wire.wait_for(lambda: all(answered) and sum(answered) > 500)  # one that comes later is refused
        server.signal()
        assert server.wait() == 0
        for thread in threads:
            thread.join()
        assert not faults, faults
        assert goodbyes[0] == 24


def test_sigterm_under_a_flood_through_a_stage_ends_well():
    """Connections that have had their share get a turn out of their order then, and may be lent in it."""
    burst = (wire.request("/hello") * 60 + wire.request("/slow")) * 10
    for _ in range(10):
        with wire.testserver("--network-threads", 1) as server:
            with contextlib.ExitStack() as stack:
                for connection in [stack.enter_context(server.connect()) for _ in range(100)]:
                    connection.send(burst)
                assert server.get("/hello").status == 200
                server.signal()
                time.sleep(0.2)  # then they leave, and nobody lingers for them
            assert server.wait() == 0


def test_requests_in_a_pipeline_are_answered_before_the_end():
    with wire.testserver() as server:
        server.get("/gate/close", "POST")
        waiting = [server.connect() for _ in range(20)]
        for connection in waiting:
            connection.send(wire.request("/block"))
        wire.wait_for(lambda: server.metric('http_pipeline_ring_occupancy{pipeline="gate"}') == 20)
        with server.connect() as opener:
            assert opener.get("/hello").status == 200
            server.signal()
            time.sleep(0.1)  # the opener is idle meanwhile, but within the time for those on their way
            opener.send(wire.request("/gate/open", "POST"))
            response = opener.read()
            assert response.body == b"open"
            assert response.header("Connection") == "close"
        for connection in waiting:
            response = connection.read()
            assert response.body == b"through"
            assert response.header("Connection") == "close"
            assert connection.ended() == b""
        assert server.wait() == 0


def test_an_idle_connection_is_closed_at_once_by_a_stop():
    with wire.testserver("--drain-timeout", 30) as server:
        with server.connect() as connection:
            assert connection.get("/hello").status == 200
            start = time.monotonic()
            server.signal()
            assert connection.ended() == b""
            assert server.wait() == 0
            assert time.monotonic() - start < 10, "it waited for the whole drain time"


def test_streams_are_told_to_end():
    with wire.testserver() as server:
        with server.connect() as connection:
            connection.send(wire.request("/stream?events=1000000&interval_ms=100"))
            assert connection.read_head().status == 200
            assert connection.read_chunk()
            server.signal()
            while connection.read_chunk():
                pass
            assert connection.ended() == b""
        assert server.wait() == 0


def test_new_connections_are_not_taken_while_stopping():
    with wire.testserver() as server:
        with server.connect() as connection:
            connection.send(wire.request("/slow?ms=1500"))
            wire.wait_for(lambda: server.metric('http_pipeline_ring_occupancy{pipeline="work"}') == 1)
            server.signal()

            def refused():
                try:
                    server.connect(timeout=1).close()
                    return False
                except OSError:
                    return True

            wire.wait_for(refused)
            assert connection.read().body == b"slow"
        assert server.wait() == 0


def test_the_drain_time_cuts_what_takes_longer():
    with wire.testserver("--drain-timeout", 1) as server:
        server.expect_exit = 1
        with server.connect() as connection:
            connection.send(wire.request("/slow?ms=1900"))
            wire.wait_for(lambda: server.metric('http_pipeline_ring_occupancy{pipeline="work"}') == 1)
            server.signal()
            assert server.wait() == 1


def test_a_stop_with_idle_rings_is_quick():
    for _ in range(3):
        with wire.testserver("--threads", 2, "--accept-threads", 3) as server:
            assert server.get("/slow").status == 200


# ---- weaseldb itself ----


def test_endpoints():
    with wire.weaseldb() as server:
        root = server.get("/").json()
        assert root["name"] == "weaseldb"
        assert {e["path"] for e in root["endpoints"]} == {
            *("/", "/livez", "/readyz", "/metrics"),
            *("/v1/commit", "/v1/commits", "/v1/status", "/v1/version"),
            *("/v1/retention", "/v1/retention/{id}", "/v1/subscribe"),
            *("/openapi.yaml", "/weaseldb.proto"),
        }
        for endpoint in root["endpoints"]:
            wanted = 405 if endpoint["method"] == "POST" else 400 if "status" in endpoint["path"] else 200
            path = endpoint["path"].replace("{id}", "nobody")
            method = "HEAD" if "subscribe" in path else "GET"  # it has no end
            assert server.get(path, method).status == (404 if "nobody" in path else wanted)
            refused = server.get(path + "?nonsense=1")
            assert refused.status == (405 if endpoint["method"] == "POST" else 400)
            assert "nonsense" in refused.json()["detail"] or endpoint["method"] == "POST"
        checks = server.get("/readyz?verbose").json()["checks"]
        assert checks == [{"name": name, "ok": True} for name in ("recovered", "writable", "draining")]


def test_metrics_are_prometheus_text():
    with wire.weaseldb() as server:
        response = server.get("/metrics")
        assert response.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
        families, seen = {}, set()
        for line in response.body.decode().splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name not in families
                families[name] = kind
            elif not line.startswith("#"):
                found = re.fullmatch(r'([a-z_]+)(\{[a-z]+="[^"]*"(?:,[a-z]+="[^"]*")*\})? (-?[0-9.e+]+)', line)
                assert found, line
                assert (found.group(1), found.group(2)) not in seen
                seen.add((found.group(1), found.group(2)))
                base = re.sub("_(bucket|sum|count)$", "", found.group(1))
                assert base in families or found.group(1) in families
        assert families["http_requests_total"] == "counter"
        assert families["http_request_duration_seconds"] == "histogram"
        assert families["process_cpu_seconds_total"] == "counter"


def test_readiness_goes_first():
    with wire.weaseldb() as server:
        with server.connect() as connection:
            connection.send(b"GET /readyz?verbose HTTP/1.1\r\nHost: a\r\n")
            wire.wait_for(lambda: server.metric('http_connections{state="head"}') == 1)
            server.signal()
            wire.wait_for(lambda: b"shutting down" in server.stderr())
            time.sleep(0.05)
            connection.send(b"\r\n")
            response = connection.read()
            assert response.status == 503
            assert response.json()["checks"][-1] == {"name": "draining", "ok": False}
            assert response.header("Connection") == "close"
        assert server.wait() == 0
        assert b"everything was answered" in server.stderr()


def test_a_second_signal_ends_at_once():
    with wire.weaseldb("http.request_timeout_sec=60") as server:
        server.expect_exit = 128 + signal.SIGTERM
        with server.connect() as connection:
            connection.send(b"GET / HT")
            wire.wait_for(lambda: server.metric('http_connections{state="head"}') == 1)
            server.signal()
            wire.wait_for(lambda: b"shutting down" in server.stderr())
            assert server.process.poll() is None
            server.signal()
            assert server.wait() == 128 + signal.SIGTERM


def test_the_signals_it_tells_itself_by_say_nothing_from_elsewhere():
    with wire.weaseldb() as server:
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            server.signal(number)
        assert server.get("/readyz").status == 200
        server.signal()  # a larger number than theirs: waits behind them
        assert server.wait() == 0
        assert b"everything was answered" in server.stderr()


def test_reload(tmp_path):
    path = tmp_path / "w.toml"
    path.write_text("[http]\nkeepalive_timeout_sec = 60\n")
    with wire.weaseldb(arguments=("--config", path)) as server:
        with server.connect() as connection:
            assert connection.get("/").status == 200
        assert b"target=/" not in server.stderr()
        original = path.read_text()
        path.write_text("[http]\nkeepalive_timeout_sec = 1\nmax_connections = 7\n[logging]\naccess_log = true\n")
        server.signal(signal.SIGHUP)
        wire.wait_for(lambda: b"settings reloaded" in server.stderr(), server.stderr)
        assert b"setting changed\" key=http.keepalive_timeout_sec" in server.stderr()
        assert b"setting needs a restart\" key=http.max_connections" in server.stderr()
        with server.connect() as connection:
            assert connection.get("/livez").status == 200
            assert connection.ended() == b"", "the new idle time holds"
        wire.wait_for(lambda: b"target=/livez" in server.stderr(), server.stderr)
        # What needs a restart has not been taken over: setting it back is no change.
        path.write_text(original)
        server.signal(signal.SIGHUP)
        wire.wait_for(lambda: server.stderr().count(b"settings reloaded") == 2, server.stderr)
        assert server.stderr().count(b"setting needs a restart\" key=http.max_connections") == 1
        path.write_text("[http]\nkeepalive_timeout_sec = 0\n")
        server.signal(signal.SIGHUP)
        wire.wait_for(lambda: b"not reloaded" in server.stderr(), server.stderr)
        assert server.get("/").status == 200


def test_log_lines_can_be_json(tmp_path):
    import json

    with wire.weaseldb("logging.access_log=true") as plain:
        plain.get("/livez?x=%22", headers="X-Request-Id: q1\r\n")
        wire.wait_for(lambda: b"request_id=q1" in plain.stderr(), plain.stderr)
    path = tmp_path / "log"
    process = subprocess.Popen(
        [wire.BUILD / "weaseldb", "--set", "http.port=0", "--set", "logging.format=json"],
        stderr=path.open("wb"),
        cwd=tmp_path,
    )
    wire.wait_for(lambda: b"listening" in path.read_bytes())
    process.send_signal(signal.SIGINT)
    assert process.wait(wire.PATIENCE) == 0
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["msg"] for line in lines[:2]] == ["recovered", "listening"]
    assert all(line["level"] == "info" for line in lines)


# ---- sockets ----


def test_ipv6():
    with wire.weaseldb("http.bind_address=::1") as server:
        assert server.addresses[0][0] == "::1"
        assert server.get("/").status == 200


def test_a_unix_socket_and_its_stale_file(tmp_path):
    path = tmp_path / "w.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()  # the file stays, nobody listens
    with wire.weaseldb(f"http.unix_socket={path}") as server:
        assert str(path) in server.addresses
        with wire.Connection(str(path)) as connection:
            assert connection.get("/").status == 200
        second = subprocess.run(
            [wire.BUILD / "weaseldb", "--set", "http.port=0", "--set", f"http.unix_socket={path}"],
            capture_output=True,
            timeout=wire.PATIENCE,
            cwd=tmp_path,
        )
        assert second.returncode == 1
        assert b"Address already in use" in second.stderr
        with wire.Connection(str(path)) as connection:
            assert connection.get("/").status == 200
    assert not path.exists()


def test_a_file_in_place_of_the_unix_socket_is_left_alone(tmp_path):
    path = tmp_path / "file"
    path.write_text("precious")
    result = subprocess.run(
        [wire.BUILD / "weaseldb", "--set", "http.port=0", "--set", f"http.unix_socket={path}"],
        capture_output=True,
        timeout=wire.PATIENCE,
        cwd=tmp_path,
    )
    assert result.returncode == 1
    assert path.read_text() == "precious"


def test_sockets_passed_by_systemd_and_readiness(tmp_path):
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.settimeout(wire.PATIENCE)
    os.dup2(listening.fileno(), 3, inheritable=True) if listening.fileno() != 3 else os.set_inheritable(3, True)
    # LISTEN_PID must be the server's own pid, which only a shell that becomes it can know.
    process = subprocess.Popen(
        ["sh", "-c", f'LISTEN_PID=$$ LISTEN_FDS=1 exec "{wire.BUILD}/weaseldb"'],
        pass_fds=(3,),
        env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    try:
        assert notify.recv(1000).startswith(b"READY=1")
        with wire.Connection(listening.getsockname()) as connection:
            assert connection.get("/").status == 200
        process.send_signal(signal.SIGHUP)
        assert notify.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert notify.recv(1000) == b"READY=1"
        process.send_signal(signal.SIGTERM)
        assert notify.recv(1000) == b"STOPPING=1\nEXTEND_TIMEOUT_USEC=60000000"
        assert process.wait(wire.PATIENCE) == 0, process.stderr.read()
        # The socket lives on: what connects now waits for the next process.
        waiting = socket.create_connection(listening.getsockname(), timeout=wire.PATIENCE)
        waiting.sendall(HELLO)
        accepted, _ = listening.accept()
        accepted.close()
        waiting.close()
    finally:
        process.kill()
        process.stderr.close()
        listening.close()
        notify.close()


@pytest.mark.parametrize("value", ["x", "99999"])
def test_nonsense_from_systemd(value, tmp_path):
    result = subprocess.run(
        ["sh", "-c", f'LISTEN_PID=$$ LISTEN_FDS={value} exec "{wire.BUILD}/weaseldb"'],
        capture_output=True,
        timeout=wire.PATIENCE,
        cwd=tmp_path,
    )
    assert result.returncode == 1
    assert b"LISTEN_FDS makes no sense" in result.stderr
