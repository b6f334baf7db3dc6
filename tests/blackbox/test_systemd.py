"""What the service manager hears: recovery that takes its time, and the watchdog's food."""

import os
import select
import socket
import subprocess
import time

import pytest

import wire
from test_commit import commit, committed, key, write

FED = b"WATCHDOG=1"
PERIOD_SEC = 0.2  # what the tests' watchdog allows; it is fed twice in it


@pytest.fixture
def notified(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(wire.PATIENCE)
        yield listening


def environment(tmp_path, **more):
    return {"NOTIFY_SOCKET": str(tmp_path / "notify"), **more}


def watched(tmp_path, **more):
    return environment(tmp_path, WATCHDOG_USEC=str(int(PERIOD_SEC * 1000000)), **more)


def said(listening, message):
    """Reads until the message comes; what came before it."""
    before = []
    while (heard := listening.recv(1000)) != message:
        before.append(heard)
    return before


def silent(listening, seconds):
    """Whether nothing comes for so long, once what came already is read."""
    while select.select([listening], [], [], 0)[0]:
        listening.recv(1000)
    return not select.select([listening], [], [], seconds)[0]


def used_no_cpu(server, seconds):
    before = server.cpu_ns()
    time.sleep(seconds)
    return server.cpu_ns() == before


def test_the_watchdog_is_fed_until_the_end(tmp_path, notified):
    with wire.weaseldb(env=watched(tmp_path)) as server:
        assert notified.recv(1000).startswith(b"READY=1")
        for _ in range(3):
            assert notified.recv(1000) == FED
        # While the server drains, too.
        with server.connect() as connection:
            connection.send(b"GET / HT")
            wire.wait_for(lambda: server.metric('http_connections{state="head"}') == 1)
            server.signal()
            assert all(message == FED for message in said(notified, b"STOPPING=1\nEXTEND_TIMEOUT_USEC=60000000"))
            for _ in range(3):
                assert notified.recv(1000) == FED
            connection.send(b"TP/1.1\r\nHost: a\r\n\r\n")
            assert connection.read().status == 200
        assert server.wait() == 0


def test_a_busy_manager_still_hears_of_the_end(tmp_path, notified):
    with wire.weaseldb(env=environment(tmp_path)) as server, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        assert notified.recv(1000).startswith(b"READY=1")
        other.setblocking(False)
        with pytest.raises(BlockingIOError):  # until its queue is full
            while True:
                other.sendto(b"X=1", str(tmp_path / "notify"))
        server.signal()
        wire.wait_for(lambda: b"shutting down" in server.stderr())
        assert set(said(notified, b"STOPPING=1\nEXTEND_TIMEOUT_USEC=60000000")) == {b"X=1"}
        assert server.wait() == 0


def test_without_a_watchdog_the_server_sleeps(tmp_path, notified):
    """Nobody watches, or the variables are another process's: no message, and no CPU."""
    for more in ({}, {"WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "0"}):
        with wire.weaseldb(env=environment(tmp_path, **more)) as server:
            assert notified.recv(1000).startswith(b"READY=1")
            assert silent(notified, 0.2)
            if not wire.SANITIZED:  # a sanitizer has a thread of its own
                wire.wait_for(lambda: used_no_cpu(server, 0.3))
            server.signal()
            assert notified.recv(1000).startswith(b"STOPPING=1")
            assert server.wait() == 0


def test_the_watchdog_s_variables_name_this_process(tmp_path, notified):
    # WATCHDOG_PID must be the server's own pid, which only a shell that becomes it can know.
    process = subprocess.Popen(
        ["sh", "-c", f'WATCHDOG_PID=$$ WATCHDOG_USEC=20000 exec "{wire.BUILD}/weaseldb" --set http.port=0'],
        env={**os.environ, **environment(tmp_path)},
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    try:
        assert all(message != FED for message in said(notified, b"READY=1\nSTATUS=serving"))
        assert notified.recv(1000) == FED
    finally:
        process.terminate()
        assert process.wait(wire.PATIENCE) == 0


@pytest.mark.skipif(wire.SANITIZED, reason="sanitizers want to be the first library")
def test_a_stage_that_hangs_starves_the_watchdog(tmp_path, notified):
    trigger = tmp_path / "trigger"
    faulty = {"LD_PRELOAD": str(wire.BUILD / "tests/libbad_disk.so"), "BAD_DISK": str(trigger)}
    with wire.weaseldb(cwd=tmp_path, env=watched(tmp_path, **faulty)) as server:
        assert notified.recv(1000).startswith(b"READY=1")
        committed(server, write(key()))
        assert notified.recv(1000) == FED
        trigger.write_text("hang")
        with server.connect() as connection:
            body = b'{"operations":[{"type":"write","key":"","value":""}]}'
            connection.send(wire.request("/v1/commit", "POST", "Content-Type: application/json\r\n", body))
            wire.wait_for(lambda: b"the watchdog is not fed" in server.stderr(), server.stderr)
            assert b"stage=persist" in server.stderr()
            assert silent(notified, 3 * PERIOD_SEC), "it was fed while nothing moved"
            # The rest of the server does not hang, and says which stage does.
            assert server.get("/v1/version").status == 200
            trigger.write_text("no more")
            assert connection.read().status == 200
            assert notified.recv(1000) == FED
        assert server.stderr().count(b"the watchdog is not fed") == 1


@pytest.mark.skipif(wire.SANITIZED, reason="leaks cannot be looked for under strace")
def test_a_long_recovery_asks_for_patience(tmp_path, notified):
    """The clock of its progress ticks each second; a recovery slowed down to more than that says how far it is."""
    with wire.weaseldb("log.durability=none", cwd=tmp_path) as server:
        with server.connect() as connection:
            for i in range(60):
                assert commit(connection, write(key(), "v" * 90000), request_id=f"r{i}").status == 200
    # strace holds each read up, so that the machine's speed does not matter.
    slow = ["strace", "-f", "-o", "/dev/null", "-e", "trace=pread64", "-e", "inject=pread64:delay_enter=400000"]
    process = subprocess.Popen(
        [*slow, wire.BUILD / "weaseldb", "--set", "http.port=0", "--set", "log.segment_bytes=16777216"],
        env={**os.environ, **environment(tmp_path)},
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    try:
        before = said(notified, b"READY=1\nSTATUS=serving")
        assert before, "no word of the recovery"
        for message in before:
            assert message.startswith(b"STATUS=recovering, ")
            assert message.endswith(b" % done\nEXTEND_TIMEOUT_USEC=60000000")
    finally:
        subprocess.run(["pkill", "-TERM", "-P", str(process.pid)], check=True)
        process.wait(wire.PATIENCE)
        process.stderr.close()
