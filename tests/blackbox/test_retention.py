"""Retention over HTTP: policies, caps, restarts and crashes, on segments of a few commits each."""

import json
import os
import pathlib
import random
import signal
import subprocess
import threading
import time

import pytest

import wire
from feed import Feed
from test_commit import JSON, commit, committed, key, point, status, write
from test_disk import small_disk  # noqa: F401: a fixture

SEGMENT = 1 << 20
SMALL = (f"log.segment_bytes={SEGMENT}", "http.max_body_bytes=65536", "commit.max_operations=1000")
# Policies alone remove nothing that is younger than these.
SHORT = ("commit.request_id_window_sec=1", "commit.conflict_window_sec=1")
VALUE = "v" * 40000  # 19 to a segment


def put(where, policy, version):
    return where.get(f"/v1/retention/{policy}", "PUT", JSON, json.dumps({"version": version}).encode())


def get(where, policy):
    response = where.get(f"/v1/retention/{policy}")
    assert response.status == 200, response.body
    return response.json()


def info(where):
    return where.get("/v1/version").json()


def start_version(where):
    return info(where)["log_start_version"]


def fill(where, segments):
    """Commits until so many more segments are begun; the latest version."""
    with where.connect() as connection:
        goal = begun(where) + segments
        latest = committed(connection, write(key(), VALUE))
        while begun(where) < goal:
            latest = committed(connection, write(key(), VALUE))
    return latest


def begun(where):
    metrics = where.metrics()
    return metrics["weaseldb_log_segments"] + metrics["weaseldb_retention_removed_segments_total"]


def segment_starts(directory):
    return sorted(int(path.name[7:27]) for path in (directory / "weaseldb-data").glob("commit-*.log"))


def test_a_policy_keeps_moves_and_ends(tmp_path):
    with wire.weaseldb(*SMALL, *SHORT, cwd=tmp_path) as server:
        assert server.get("/v1/retention").json() == {"policies": []}
        response = put(server, "feed", 0)
        assert response.status == 200
        assert response.header("Content-Type") == "application/json"
        assert response.json() == {"id": "feed", "version": 0, "lag_versions": 0, "missing_versions": 0}
        latest = fill(server, 3)
        starts = segment_starts(tmp_path)
        assert len(starts) == 4 and starts[0] == 1
        assert get(server, "feed")["lag_versions"] == latest
        metrics = server.metrics()
        assert metrics['weaseldb_retention_policy_lag_versions{policy="feed"}'] == latest
        assert metrics['weaseldb_retention_policy_missing_versions{policy="feed"}'] == 0
        assert metrics["weaseldb_log_segments"] == 4

        # One version before the end of the first segment, two behind the end of the second.
        assert put(server, "other", starts[1] - 2).status == 200
        assert put(server, "feed", starts[2] + 1).status == 200
        assert start_version(server) == 1
        assert put(server, "other", latest).json()["lag_versions"] == 0
        wire.wait_for(lambda: start_version(server) == starts[2])
        wire.wait_for(lambda: segment_starts(tmp_path) == starts[2:])
        wire.wait_for(lambda: server.metric("weaseldb_retention_removed_segments_total") == 2)
        metrics = server.metrics()
        assert metrics["weaseldb_retention_removed_bytes_total"] == 2 * SEGMENT
        assert metrics["weaseldb_log_start_version"] == starts[2]
        assert metrics["weaseldb_log_bytes"] == 2 * SEGMENT
        assert metrics["weaseldb_retention_overruled_segments_total"] == 0
        listed = server.get("/v1/retention").json()["policies"]
        assert [policy["id"] for policy in listed] == ["feed", "other"]
        assert listed[0] == get(server, "feed")

        # Too late, and it is told: what it would keep is gone in part.
        assert put(server, "late", 3).json()["missing_versions"] == starts[2] - 1 - 3
        # The one that keeps the most goes last: what the others let go must not go meanwhile.
        for policy in ("other", "late", "feed"):
            response = server.get(f"/v1/retention/{policy}", "DELETE")
            assert response.status == 204 and response.body == b""
            assert server.get(f"/v1/retention/{policy}", "DELETE").status == 404
        assert not any("policy=" in name for name in server.metrics())
        # With no policy and no cap, everything is kept from here on.
        fill(server, 2)
        assert start_version(server) == starts[2]
        assert b"old segments removed" in server.stderr()


def test_policies_alone_spare_the_windows(tmp_path):
    """A restart finds the ids that the window promises, wherever policies are."""
    with wire.weaseldb(*SMALL, cwd=tmp_path) as server:
        commit(server, write(key(), VALUE), request_id="early")
        latest = fill(server, 2)
        assert put(server, "p", latest).status == 200
        fill(server, 1)
        assert start_version(server) == 1
    with wire.weaseldb(*SMALL, cwd=tmp_path) as server:
        assert status(server, "early")["version"] == 1


def test_policies_outlive_crashes(tmp_path):
    known = {}
    for _ in range(5):
        with wire.weaseldb(*SMALL, cwd=tmp_path) as server:
            policies = server.get("/v1/retention").json()["policies"]
            assert {policy["id"]: policy["version"] for policy in policies} == known
            latest = committed(server, write(key()))
            name = random.choice("abc")
            if name in known and random.random() < 0.3:
                assert server.get(f"/v1/retention/{name}", "DELETE").status == 204
                del known[name]
            else:
                assert put(server, name, latest).status == 200
                known[name] = latest
            server.signal(signal.SIGKILL)
            server.expect_exit = -signal.SIGKILL


def test_a_cap_on_bytes_wins_and_is_counted(tmp_path):
    cap = ("retention.max_bytes=%d" % (4 * SEGMENT),)
    with wire.weaseldb(*SMALL, *cap, cwd=tmp_path) as server:
        commit(server, write("old", VALUE), request_id="early")
        assert put(server, "wants-all", 0).status == 200
        fill(server, 5)
        wire.wait_for(lambda: server.metric("weaseldb_log_segments") == 3)
        start = start_version(server)
        wire.wait_for(lambda: segment_starts(tmp_path)[0] == start)
        wire.wait_for(lambda: server.metric("weaseldb_retention_removed_segments_total") == 3)
        metrics = server.metrics()
        assert metrics["weaseldb_retention_overruled_segments_total"] == 3
        assert metrics['weaseldb_retention_policy_missing_versions{policy="wants-all"}'] == start - 1
        assert get(server, "wants-all")["missing_versions"] == start - 1
        wire.wait_for(lambda: b"a cap of [retention] has removed what a policy keeps" in server.stderr())
        wire.wait_for(lambda: b"younger than the windows" in server.stderr())
        # Memory still knows.
        assert status(server, "early")["version"] == 1
        assert info(server)["oldest_read_version"] < start - 1
        last = commit(server, write(key()), request_id="late").json()["version"]
    with wire.weaseldb(*SMALL, *cap, cwd=tmp_path) as server:
        now = info(server)
        assert now["version"] == last
        assert now["log_start_version"] == start
        # What is removed could have been anything: nothing is said of it.
        assert now["oldest_read_version"] == start - 1
        assert now["request_id_window"]["min_version"] == start - 1
        assert status(server, "early")["status"] == "expired"
        assert status(server, "never", min_version=start - 2)["status"] == "expired"
        assert status(server, "never", min_version=start - 1)["status"] == "not_committed"
        assert status(server, "late")["version"] == last
        response = commit(server, write(key()), preconditions=[point("old", version=start - 2)])
        assert response.json()["reason"] == "too_old"
        assert commit(server, write(key()), preconditions=[point("old", version=start - 1)]).status == 200


def test_the_disk_has_the_space_of_removed_segments_back(tmp_path):
    """Also while a feed is open that has read them, and has nothing more to read."""

    def deleted():
        links = [os.readlink(path) for path in pathlib.Path(f"/proc/{server.pid}/fd").iterdir() if path.is_symlink()]
        return [link for link in links if "commit-" in link and link.endswith(" (deleted)")]

    with wire.weaseldb(*SMALL, *SHORT, "http.network_threads=1", cwd=tmp_path) as server:
        latest = fill(server, 4)
        with Feed(server, 0) as feed:
            feed.until(latest)
            time.sleep(1.1)  # older than the windows
            assert put(server, "all", latest - 1).status == 200
            wire.wait_for(lambda: server.metric("weaseldb_retention_removed_segments_total") == 4)
            wire.wait_for(lambda: deleted() == [])


def test_warnings_of_a_cap_do_not_flood_the_log(tmp_path):
    """One a second of each kind, whatever is removed; it names the policy that is farthest behind."""
    kinds = (b"a cap of [retention] has removed what a policy keeps", b"younger than the windows")
    with wire.weaseldb(*SMALL, "retention.max_bytes=%d" % (4 * SEGMENT), cwd=tmp_path) as server:
        latest = committed(server, write(key()))
        for name, version in (("a-late", latest), ("b-all", 0), ("c-late", latest)):
            assert put(server, name, version).status == 200
        started = time.monotonic()
        fill(server, 30)
        wire.wait_for(lambda: server.metric("weaseldb_retention_removed_segments_total") >= 25)
        wire.wait_for(lambda: all(kind in server.stderr() for kind in kinds))
        seconds = time.monotonic() - started
        lines = server.stderr().splitlines()
    for kind in kinds:
        assert 1 <= sum(kind in line for line in lines) <= seconds + 1
    first = next(line for line in lines if kinds[0] in line)
    assert b"policies=3 farthest_behind=b-all policy_version=0" in first


def test_a_log_whose_segments_but_the_newest_are_gone_starts(tmp_path):
    """The floors hold, too, when what is left has no commit at all."""
    with wire.weaseldb(*SMALL, *SHORT, cwd=tmp_path) as server:
        latest = fill(server, 2)
        assert put(server, "p", latest).status == 200
        wire.wait_for(lambda: server.metric("weaseldb_log_segments") == 1)
        start = start_version(server)
    with wire.weaseldb(*SMALL, *SHORT, cwd=tmp_path) as server:
        now = info(server)
        assert (now["version"], now["log_start_version"]) == (latest, start)
        assert now["oldest_read_version"] >= start - 1
        assert committed(server, write(key())) == latest + 1


def test_a_missing_segment_is_no_removed_one(tmp_path):
    with wire.weaseldb(*SMALL, *SHORT, cwd=tmp_path) as server:
        latest = fill(server, 3)
        starts = segment_starts(tmp_path)
        assert put(server, "p", starts[1]).status == 200
        wire.wait_for(lambda: segment_starts(tmp_path) == starts[1:])
    oldest = tmp_path / "weaseldb-data" / ("commit-%020d.log" % starts[1])
    oldest.rename(tmp_path / "aside")
    result = subprocess.run(
        [wire.BUILD / "weaseldb", "--set", "http.port=0", *(word for item in SMALL for word in ("--set", item))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=wire.PATIENCE,
    )
    assert result.returncode == 1
    assert "segment number 1 is missing" in result.stderr
    (tmp_path / "aside").rename(oldest)
    with wire.weaseldb(*SMALL, cwd=tmp_path) as server:
        assert info(server)["version"] == latest


def test_kill_during_removal(tmp_path):
    """Rounds of commits with a policy close behind, each ended by kill -9."""
    rounds = max(3, int(8 * wire.SCALE))
    latest, policy, removed = 0, 0, 0
    for number in range(rounds):
        with wire.weaseldb(*SMALL, *SHORT, cwd=tmp_path) as server:
            now = info(server)
            assert now["version"] >= latest
            assert now["log_start_version"] <= policy + 1
            wire.wait_for(lambda: segment_starts(tmp_path)[0] == start_version(server))
            if policy:
                assert get(server, "p")["version"] in (policy, attempted)
            committed(server, write(key()), preconditions=[point("x", version=now["version"])])

            stop = threading.Event()

            def write_all():
                nonlocal latest
                try:
                    with server.connect() as connection:
                        while not stop.is_set():
                            latest = committed(connection, write(key(), VALUE))
                except (wire.Closed, OSError):
                    pass

            writer = threading.Thread(target=write_all)
            writer.start()
            try:
                goal = begun(server) + 1 + number % 3
                with server.connect() as connection:
                    while server.metric("weaseldb_retention_removed_segments_total") < 1 or begun(server) < goal:
                        attempted = latest
                        assert put(connection, "p", attempted).status == 200
                        policy = attempted
                    attempted = latest
                    connection.send(wire.request("/v1/retention/p", "PUT", JSON, b'{"version":%d}' % attempted))
                removed += server.metric("weaseldb_retention_removed_segments_total")
            finally:
                server.signal(signal.SIGKILL)
                server.expect_exit = -signal.SIGKILL
                stop.set()
                writer.join()
    assert removed >= rounds


def test_moving_a_policy_makes_room_on_a_full_disk(small_disk):  # noqa: F811
    with wire.weaseldb(*SMALL, *SHORT, cwd=small_disk) as server:
        assert put(server, "p", 0).status == 200
        latest = 0
        with server.connect() as connection:
            while (response := commit(connection, write(key(), VALUE))).status == 200:
                latest = response.json()["version"]
        assert response.status == 503
        # What is left of the disk is taken too.
        with pytest.raises(OSError):
            (small_disk / "more").write_bytes(b"x" * (8 << 20))
        wire.wait_for(lambda: put(server, "p", latest).status == 200)
        wire.wait_for(lambda: server.get("/readyz").status == 200)
        assert committed(server, write(key(), VALUE)) == latest + 1
        assert start_version(server) > 1


@pytest.mark.skipif(wire.SANITIZED, reason="sanitizers want to be the first library")
def test_a_disk_that_does_not_take_a_policy(tmp_path):
    """Before the old state is replaced nothing has happened; half way through, nobody knows, and the process ends."""
    trigger = tmp_path / "trigger"
    faulty = {"LD_PRELOAD": str(wire.BUILD / "tests/libbad_disk.so"), "BAD_DISK": str(trigger)}
    with wire.weaseldb(cwd=tmp_path, env=faulty) as server:
        latest = committed(server, write(key()))
        assert put(server, "p", 0).status == 200
        for call in ("write", "sync"):
            trigger.write_text(call)
            response = put(server, "p", latest)
            assert response.status == 503, response.body
            assert response.header("Retry-After")
            assert response.json()["type"] == "urn:weaseldb:problem:not-writable"
            response = server.get("/v1/retention/p", "DELETE")
            assert response.status == 503
            trigger.unlink()
            assert get(server, "p")["version"] == 0
            assert committed(server, write(key())) > latest
        assert put(server, "q", latest).status == 200
        trigger.write_text("directory")
        response = put(server, "p", latest)
        assert response.status == 500
        assert response.json()["outcome"] == "unknown"
        assert server.wait() == 1
        server.expect_exit = 1
    trigger.unlink()
    with wire.weaseldb(cwd=tmp_path) as server:
        assert get(server, "q")["version"] == latest
        assert get(server, "p")["version"] in (0, latest)


# ---- what is refused ----


@pytest.fixture(scope="module")
def server():
    with wire.weaseldb("retention.max_policies=2") as running:
        committed(running, write("a"))
        yield running


@pytest.mark.parametrize(
    "body,problem,words",
    [
        (b"", "malformed", "empty"),
        (b"{", "malformed", "at byte 1"),
        (b"[]", "malformed", "must be a JSON object"),
        (b"{}", "malformed", "version is missing"),
        (b'{"version":1,"version":1}', "malformed", "more than once"),
        (b'{"version":1,"x":1}', "malformed", "The field x is not known"),
        (b'{"version":"1"}', "malformed", "must be an integer"),
        (b'{"version":1.0}', "malformed", "must be an integer"),
        (b'{"version":-1}', "malformed", "must be an integer"),
        (b'{"version":null}', "malformed", "must be an integer"),
        (b'{"version":9007199254740992}', "malformed", "must be an integer"),
        (b'{"version":9007199254740991}', "future-version", "not reached"),
        (b'{"version":2}', "future-version", "not reached"),
        (b'{"version":1} x', "malformed", "not JSON"),
        (b'{"' + b"y" * 300 + b'":1}', "malformed", "The field y"),
        (b'{"\\u0000":1}', "malformed", "is not known"),
        (b"[" * 4000, "malformed", "never closed"),
        (b"[" * 2000 + b"]" * 2000, "malformed", "must be a JSON object"),
    ],
)
def test_bad_bodies_are_refused(server, body, problem, words):
    response = server.get("/v1/retention/bad", "PUT", JSON + ("Content-Length: 0\r\n" if not body else ""), body)
    assert response.status == 400, response.body
    assert response.header("Content-Type") == "application/problem+json"
    assert response.json()["type"] == f"urn:weaseldb:problem:{problem}"
    assert words in response.json()["detail"]
    assert server.get("/v1/retention/bad").status == 404


def test_ids_are_checked(server):
    for good in ("a", "Z9", "0._-", "x" * 64, "a%2Eb"):
        assert put(server, good, 1).status == 200
        assert server.get(f"/v1/retention/{good}", "DELETE").status == 204
    for bad in (".a", "%2ea", "-a", "_", "a%20b", "a%2Fb", "x" * 65, "%C3%A4"):
        for method, body in (("PUT", b'{"version":1}'), ("GET", b""), ("DELETE", b"")):
            response = server.get(f"/v1/retention/{bad}", method, JSON, body)
            assert response.status == 400, (bad, method, response.status)
            assert response.json()["type"] == "urn:weaseldb:problem:policy-id"
    assert server.get("/v1/retention/", "PUT", JSON, b'{"version":1}').status == 404


def test_as_many_policies_as_may_be(server):
    assert put(server, "one", 1).status == 200
    assert put(server, "two", 0).status == 200
    response = put(server, "three", 1)
    assert response.status == 409
    problem = response.json()
    assert problem["type"] == "urn:weaseldb:problem:too-many-policies"
    assert (problem["limit"], problem["actual"]) == (2, 3)
    assert "retention.max_policies" in json.dumps(problem)
    assert put(server, "two", 1).status == 200
    for name in ("one", "two"):
        assert server.get(f"/v1/retention/{name}", "DELETE").status == 204


def test_methods_types_and_queries(server):
    assert put(server, "a", 1).status == 200
    for target, allow in (("/v1/retention", "GET, HEAD, OPTIONS"), ("/v1/retention/a", "GET, HEAD, PUT, DELETE, OPTIONS")):
        assert server.get(target, "OPTIONS").header("Allow") == allow
        refused = server.get(target, "POST", JSON, b"{}")
        assert refused.status == 405 and refused.header("Allow") == allow
        whole = server.get(target)
        head = server.get(target, "HEAD")
        assert head.status == 200
        assert head.header("Content-Length") == str(len(whole.body))
        assert server.get(target + "?x=1").status == 400
    for method in ("PUT", "DELETE"):
        refused = server.get("/v1/retention/a?x=1", method, JSON, b'{"version":1}' if method == "PUT" else b"")
        assert refused.status == 400
        assert refused.json()["type"] == "urn:weaseldb:problem:unknown-parameter"
    typed = server.get("/v1/retention/a", "PUT", "Content-Type: application/msgpack\r\n", b"\x80")
    assert typed.status == 415
    assert server.get("/v1/retention/a", "PUT", "Content-Type: Application/JSON; charset=utf-8\r\n", b'{"version":1}').status == 200
    blanks = b'{"version":1%s}' % (b" " * (4096 - 13))
    assert server.get("/v1/retention/a", "PUT", JSON, blanks).status == 200
    refused = server.get("/v1/retention/a", "PUT", JSON, blanks + b" ")
    assert refused.status == 413
    assert (refused.json()["limit"], refused.json()["actual"], refused.json().get("limit_key")) == (4096, 4097, None)
    refused = server.get("/v1/retention/a", "DELETE", JSON, b"{}")
    assert refused.status == 413 and not refused.json().keys() & {"limit", "actual", "limit_key"}
    assert server.get("/v1/retention/a", "DELETE").status == 204


@pytest.mark.parametrize(
    "settings,good",
    [
        (["retention.max_age_hours=1"], True),
        (["retention.max_age_hours=1", "commit.request_id_window_sec=3601"], False),
        (["retention.max_age_hours=2", "commit.conflict_window_sec=7200"], True),
        (["retention.max_age_hours=2", "commit.conflict_window_sec=7201"], False),
        (["retention.max_age_hours=0", "commit.request_id_window_sec=604800"], True),
        (["retention.max_bytes=%d" % (3 * (64 << 20))], True),
        (["retention.max_bytes=%d" % (3 * (64 << 20) - 1)], False),
        (["retention.max_policies=0"], False),
        (["retention.max_policies=65"], False),
    ],
)
def test_settings_that_cannot_be_kept_are_refused(settings, good):
    words = [word for setting in settings for word in ("--set", setting)]
    result = subprocess.run([wire.BUILD / "weaseldb", "--check-config", *words], capture_output=True, text=True)
    assert (result.returncode == 0) == good, result.stderr
    if not good:
        assert settings[0].split("=")[0] in result.stderr
