"""Disks that are full, for real, and disks that fail."""

import os
import signal
import subprocess

import pytest

import wire
from test_commit import commit, committed, key, status, version, write

MEGABYTE = 1 << 20
SMALL = ("log.segment_bytes=1048576", "http.max_body_bytes=65536", "commit.max_operations=1000")


@pytest.fixture
def small_disk(tmp_path):
    """8 MiB, of which a file `filler` takes 4."""
    if os.getuid() != 0:
        pytest.skip("only root may mount a file system")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={8 * MEGABYTE}", "none", str(tmp_path)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"this machine does not let root mount: {mounted.stderr!r}")
    (tmp_path / "filler").write_bytes(b"x" * 4 * MEGABYTE)
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def fill(server):
    """Commits until there is no space; the answers that were committed."""
    known = []
    with server.connect() as connection:
        while True:
            response = commit(connection, write(key(), "v" * 40000), request_id=f"fill-{len(known)}")
            if response.status != 200:
                assert response.status == 503, response.body
                assert response.json()["outcome"] == "not_committed"
                assert response.header("Retry-After") == "1"
                return known
            known.append(response.json())
            assert len(known) < 1000


def test_commits_stop_and_go_on_with_the_space(small_disk):
    with wire.weaseldb(*SMALL, cwd=small_disk) as server:
        known = fill(server)
        assert len(known) > 20
        # All else goes on: versions, questions, fences, metrics; and it says why it takes nothing.
        assert version(server) == known[-1]["version"]
        assert status(server, "fill-3")["version"] == known[3]["version"]
        assert status(server, "nobody") == {"request_id": "nobody", "status": "not_committed"}
        ready = server.get("/readyz?verbose")
        assert ready.status == 503
        assert {"name": "writable", "ok": False, "error": "No space left on device"} in ready.json()["checks"]
        assert "No space left on device" in server.get("/readyz").json()["detail"]
        assert b"the next segment of the commit log cannot be made" in server.stderr()
        assert b"No space left on device" in server.stderr()
        assert server.metric("weaseldb_log_writable") == 0
        assert server.metric('weaseldb_outcomes_total{outcome="no_space"}') >= 1
        assert server.get("/livez").status == 200
        # The refused one never was.
        refused = f"fill-{len(known)}"
        assert status(server, refused)["status"] == "not_committed"
        # A repeat of what was committed still gets its answer.
        again = commit(server, write(key(), "other"), request_id="fill-3")
        assert again.status == 422

        os.unlink(small_disk / "filler")
        wire.wait_for(lambda: server.get("/readyz").status == 200)
        wire.wait_for(lambda: b"could be made again" in server.stderr())
        assert committed(server, write(key())) == known[-1]["version"] + 1
        assert commit(server, write(key()), request_id="nobody").json()["reason"] == "fenced"
    with wire.weaseldb(*SMALL, cwd=small_disk) as server:
        assert version(server) == known[-1]["version"] + 1
        assert status(server, "fill-0")["version"] == known[0]["version"]
        assert commit(server, write(key()), request_id="nobody").json()["reason"] == "fenced"


def test_a_start_without_space_says_so(small_disk):
    (small_disk / "more").write_bytes(b"x" * (4 * MEGABYTE - 65536))
    result = subprocess.run(
        [wire.BUILD / "weaseldb", "--set", "http.port=0", *(word for item in SMALL for word in ("--set", item))],
        cwd=small_disk,
        capture_output=True,
        text=True,
        timeout=wire.PATIENCE,
    )
    assert result.returncode == 1
    assert "No space left on device" in result.stderr


@pytest.mark.skipif(wire.SANITIZED, reason="sanitizers want to be the first library")
@pytest.mark.parametrize("call", ["sync", "write"])
def test_a_failing_disk_stops_the_server(tmp_path, call):
    """What was under way is answered unknown, once; the process ends; a restart tells what became of it."""
    trigger = tmp_path / "trigger"
    faulty = {"LD_PRELOAD": str(wire.BUILD / "tests/libbad_disk.so"), "BAD_DISK": str(trigger)}
    with wire.weaseldb(cwd=tmp_path, env=faulty) as server:
        known = commit(server, write(key()), request_id="good").json()
        with server.connect() as first, server.connect() as later:
            later.send(b"POST /v1/commit HTTP/1.1\r\nHost: a\r\n")
            trigger.write_text(call)
            response = commit(first, write(key()), request_id="doubtful")
            assert response.status == 500
            assert response.json()["outcome"] == "unknown"
            body = b'{"operations":[{"type":"write","key":"","value":""}]}'
            later.send(b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            try:
                response = later.read()
                assert response.status == 503
                assert response.json()["outcome"] == "not_committed"
            except (wire.Closed, ConnectionResetError):
                pass  # it is gone already
        assert server.wait() == 1
        assert b"the commit log has failed" in server.stderr()
        server.expect_exit = 1
    trigger.unlink()
    with wire.weaseldb(cwd=tmp_path) as server:
        assert status(server, "good")["version"] == known["version"]
        became = status(server, "doubtful")
        assert became["status"] in ("committed", "not_committed")
        if became["status"] == "committed":
            assert became["version"] == known["version"] + 1
        assert committed(server, write(key())) > known["version"]


@pytest.mark.skipif(wire.SANITIZED, reason="sanitizers want to be the first library")
def test_short_writes_are_gone_on_with(tmp_path):
    trigger = tmp_path / "trigger"
    trigger.write_text("short")
    faulty = {"LD_PRELOAD": str(wire.BUILD / "tests/libbad_disk.so"), "BAD_DISK": str(trigger)}
    with wire.weaseldb(cwd=tmp_path, env=faulty) as server:
        answers = [commit(server, write(key(), "v" * 5000), request_id=f"s{number}").json() for number in range(20)]
    with wire.weaseldb(cwd=tmp_path) as server:
        for answer in answers:
            assert status(server, answer["request_id"])["version"] == answer["version"]


def on_a_disk_that_gets_stuck(trigger):
    return {"LD_PRELOAD": str(wire.BUILD / "tests/libbad_disk.so"), "BAD_DISK": str(trigger)}


@pytest.mark.skipif(wire.SANITIZED, reason="sanitizers want to be the first library")
def test_a_disk_that_is_stuck_does_not_hold_a_stop_up(tmp_path):
    trigger = tmp_path / "trigger"
    with wire.weaseldb("http.drain_timeout_sec=1", cwd=tmp_path, env=on_a_disk_that_gets_stuck(trigger)) as server:
        server.expect_exit = 1
        with server.connect() as connection:
            committed(connection, write(key()))
            trigger.write_text("hang")
            connection.send(wire.request("/v1/commit", "POST", "Content-Type: application/json\r\n",
                                         b'{"operations":[{"type":"write","key":"YQ==","value":""}]}'))  # fmt: skip
            wire.wait_for(lambda: server.metric('http_pipeline_ring_occupancy{pipeline="commit_status"}') == 1)
            server.signal()
            assert server.wait() == 1
            assert b"connections were cut" in server.stderr()


@pytest.mark.skipif(wire.SANITIZED, reason="sanitizers want to be the first library")
def test_a_start_from_a_disk_that_is_stuck_can_be_ended(tmp_path):
    trigger = tmp_path / "trigger"
    with wire.weaseldb(cwd=tmp_path) as server:
        committed(server, write(key()))
    trigger.write_text("hang read")

    def is_reading(server):
        wire.wait_for(lambda: any("libbad_disk" in line for line in open(f"/proc/{server.pid}/maps")))
        wire.wait_for(lambda: "weaseldb-data" in str([os.readlink(f) for f in descriptors(server)]))

    def descriptors(server):
        return [f"/proc/{server.pid}/fd/{name}" for name in os.listdir(f"/proc/{server.pid}/fd")]

    with wire.Server("weaseldb", "--set", "http.port=0", "--set", f"log.segment_bytes={16 << 20}", cwd=tmp_path,
                     env=on_a_disk_that_gets_stuck(trigger), ready=is_reading) as server:  # fmt: skip
        server.expect_exit = -signal.SIGTERM
        server.signal()
        assert server.wait() == -signal.SIGTERM
    trigger.unlink()
    with wire.weaseldb(cwd=tmp_path) as server:
        assert version(server) == 1


@pytest.mark.skipif(wire.SANITIZED, reason="sanitizers want to be the first library")
def test_a_disk_that_fails_during_the_drain_is_no_good_end(tmp_path):
    trigger, then = tmp_path / "trigger", tmp_path / "then"
    with wire.weaseldb(cwd=tmp_path, env=on_a_disk_that_gets_stuck(trigger)) as server:
        with server.connect() as connection:
            committed(connection, write(key()))
            trigger.write_text("hang")
            connection.send(wire.request("/v1/commit", "POST", "Content-Type: application/json\r\n",
                                         b'{"operations":[{"type":"write","key":"YQ==","value":""}]}'))  # fmt: skip
            wire.wait_for(lambda: server.metric('http_pipeline_ring_occupancy{pipeline="commit_status"}') == 1)
            server.signal()
            wire.wait_for(lambda: b"shutting down" in server.stderr())
            then.write_text("sync")
            then.replace(trigger)
            assert connection.read().json()["outcome"] == "unknown"
        server.expect_exit = 1
        assert server.wait() == 1
