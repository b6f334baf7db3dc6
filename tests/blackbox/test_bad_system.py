"""Allocations, descriptors, threads and sockets that fail, one after the other: the server does without, refuses to
start with a word, or answers with an error. It never crashes, hangs or leaks."""

import contextlib
import errno
import itertools
import os
import pathlib
import random
import subprocess
import time

import pytest

import wire
from bad_system import CALLS, BadSystem, describe
from feed import Feed
from logs import SETTINGS
from test_disk import fill
from test_commit import JSON, commit, committed, point, post, status, version, write

pytestmark = pytest.mark.skipif(wire.SANITIZED, reason="sanitizers want to be the first library")
SAMPLES = max(2, round(6 * wire.SCALE))  # of each call


def sample(count, seed):
    """Which of so many calls shall fail: the first, the last, and some between."""
    if count <= SAMPLES:
        return list(range(count))
    return sorted({0, count - 1, *random.Random(seed).sample(range(count), SAMPLES - 2)})


def serves(server):
    """It is all there: connections of its own, commits, questions, numbers."""
    with server.connect() as connection:
        before = version(connection)
        assert committed(connection, write("k")) == before + 1
        assert connection.get("/readyz").status == 200
        assert connection.get("/metrics").status == 200


def start(tmp_path, env):
    return wire.weaseldb(*SETTINGS, "http.network_threads=2", cwd=tmp_path, env=env)


# ---- at the start ----

NEVER_AT_THE_START = ("accept4", "recv", "send", "writev")


@pytest.fixture(scope="module")
def calls_of_a_start(tmp_path_factory):
    """The second one, which has a log to recover."""
    directory = tmp_path_factory.mktemp("count")
    for _ in range(2):
        system = BadSystem(directory)
        with start(directory, system.env) as server:
            counts = {call: system[call].calls for call in CALLS}
            serves(server)
    return counts


@pytest.mark.parametrize("call", [call for call in CALLS if call not in NEVER_AT_THE_START])
def test_a_start_on_a_bad_system(tmp_path, calls_of_a_start, call):
    """It serves all the same, or says why not and exits with 1; what is on the disk is as good as before."""
    count = calls_of_a_start[call]
    assert count > 0, "a start does not call it: either the library is not loaded, or this test is not needed"
    with start(tmp_path, {}) as server:
        serves(server)
    refused = 0
    for number in sample(count, call):
        system = BadSystem(tmp_path)
        system.let_fail(call, number)
        try:
            outcome = start_or_refuse(tmp_path, system)
        except BaseException as failure:
            raise AssertionError(describe(call, number)) from failure
        refused += outcome == "refused"
        with start(tmp_path, {}) as server:
            serves(server)
    assert refused > 0 or call in ("malloc", "calloc", "realloc", "openat"), "all of the samples can be done without?"


class Refused(Exception):
    """The server has ended instead of serving."""


def start_or_refuse(tmp_path, system):
    def ready(server):
        wire.wait_for(lambda: b"msg=listening" in server.stderr() or server.process.poll() is not None, server.stderr)
        if server.process.poll() is not None:
            raise Refused(server.process.returncode, server.stderr().decode())
        server.wait_log(server)

    words = [word for item in ("http.port=0", "http.network_threads=2", *SETTINGS) for word in ("--set", item)]
    try:
        with wire.Server("weaseldb", *words, cwd=tmp_path, env=system.env, ready=ready) as server:
            serves(server)
        return "serves"
    except Refused as refusal:
        code, text = refusal.args
        assert code == 1 and ("level=error" in text or "out of memory" in text), (code, text)
        return "refused"


@pytest.mark.parametrize("word", ["file", "set"])
def test_settings_without_memory_are_no_mistake(tmp_path, word):
    """Status 1, which may be tried again, and not 2, for which somebody has to look at the settings."""
    (tmp_path / "weaseldb.toml").write_text("[http]\nport = 8080\n")
    words = ["--config", "weaseldb.toml"] if word == "file" else ["--set", "http.port=8080"]

    def check(system):
        command = [wire.BUILD / "weaseldb", *words, "--check-config"]
        return subprocess.run(command, cwd=tmp_path, env={**os.environ, **system.env}, capture_output=True, text=True)

    system = BadSystem(tmp_path)
    before = check(system)
    assert (before.returncode, before.stdout) == (0, "The settings are right.\n")
    refused = 0
    for number in sample(system["malloc"].calls, word):
        system.let_fail("malloc", number, count=1 << 30)
        result = check(system)
        if result.returncode:
            refused += 1
            assert result.returncode == 1, (describe("malloc", number), result)
            assert result.stderr.startswith("weaseldb: ") and "out of memory" in result.stderr
    assert refused > 0


# ---- while it serves ----

# Errors that the call can have besides the usual one.
OTHERS = {"accept4": (errno.ECONNABORTED, errno.ENOBUFS), "recv": (errno.ENOMEM,), "writev": (errno.EPIPE,), "epoll_ctl": (errno.ENOMEM,)}
CALLED = ("malloc", "openat", "accept4", "epoll_ctl", "recv", "send", "writev")
WHILE_IT_SERVES = [(call, error) for call in CALLED for error in (CALLS[call], *OTHERS.get(call, ()))]
GONE = (wire.Closed, ConnectionError)
numbers = itertools.count()


class Scene:
    """Requests of all kinds, each on a connection of its own; an error is an answer, and so is a cut connection."""

    def __init__(self, server):
        self.server, self.told, self.is_cut = server, {}, False

    def ask(self, *arguments, **options):
        try:
            with self.server.connect() as connection:
                return connection.get(*arguments, **options)
        except GONE:
            self.is_cut = True
            return None

    def commit(self, *operations, size=1, **fields):
        name = f"bad-{next(numbers)}"
        with contextlib.suppress(*GONE):
            response = commit(self.server, write(name, "v" * size), *operations, request_id=name, **fields)
            self.told[name] = (response.status, response.json())

    def play(self):
        self.commit()
        self.commit(size=20000)
        self.commit(preconditions=[point("k"), point("bad")], read_version=0)
        for target in ("/v1/version", "/v1/status?request_id=bad-0", "/metrics", "/readyz", "/", "/nothing", "/openapi.yaml"):
            self.ask(target)
        self.ask("/v1/commit", "POST", JSON, b"{")
        self.ask("/v1/retention/policy", "PUT", JSON, b'{"version":1}')
        self.ask("/v1/retention")
        self.ask("/v1/retention/policy", "DELETE")
        with contextlib.suppress(*GONE), self.server.connect() as connection:  # a subscriber
            connection.send(wire.request("/v1/subscribe?after=0"))
            if connection.read_head().status == 200:
                connection.read_chunk()
        with contextlib.suppress(*GONE), self.server.connect() as connection:  # a burst, and a body in chunks
            body = b'{"operations":[{"type":"write","key":"Yg==","value":""}]}'
            connection.send(wire.request("/v1/version") * 3 + b"POST /v1/commit HTTP/1.1\r\nHost: a\r\n" + JSON.encode())
            connection.send(b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
            for _ in range(4):
                connection.read()

    def check(self, server):
        """What was told is so."""
        for name, (code, answer) in self.told.items():
            became = status(server, name)
            if code == 200:
                assert (became["status"], became["version"]) == ("committed", answer["version"]), name
            elif code == 503:
                assert became["status"] == "not_committed", name
            else:
                assert code in (409, 500), (code, answer)


def descriptors(server):
    """Without segments of the log: of these one more or less is open, as they are prepared."""
    count = 0
    for path in pathlib.Path(f"/proc/{server.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += pathlib.Path(os.readlink(path)).suffix not in (".log", ".tmp")
    return count


def levels(server):
    """What must be as it was when everything is over."""
    with server.connect() as connection:
        values = {}
        for line in connection.get("/metrics").body.decode().splitlines():
            name, _, value = line.rpartition(" ")
            values[name] = value
    return {
        "descriptors": descriptors(server),
        **{name: value for name, value in values.items() if name.startswith(("http_connections{", "http_pipeline_ring_occupancy"))},
    }


def rested(server):
    """The levels, once nothing of earlier connections is left."""
    last = [None]

    def steady():
        time.sleep(0.05)  # for the end of the connection that the last look has made
        now = levels(server)
        last[0], before = now, last[0]
        return now == before and now

    return wire.wait_for(steady)


def no_more(now, quiet):
    """Nothing has leaked. A look at a busy machine may have found a connection that was still ending."""
    return all(int(now[name]) <= int(quiet[name]) for name in quiet)


@pytest.mark.parametrize("call, error", WHILE_IT_SERVES, ids=lambda value: errno.errorcode.get(value, value))
def test_serving_on_a_bad_system(tmp_path, call, error):
    system = BadSystem(tmp_path)
    server = start(tmp_path, system.env)
    try:
        serves(server)
        Scene(server).play()
        quiet = rested(server)
        before = system[call].calls
        Scene(server).play()
        count = system[call].calls - before
        assert count > 0, "nothing calls it: the library is not loaded, or this case is not needed"
        for number in sample(count, call):
            scene = Scene(server)
            system.let_fail(call, number, error)
            scene.play()
            system.mend(call)
            if server.process.poll() is not None or b"the commit log has failed" in server.stderr():
                assert server.wait() == 1, (describe(call, number, error), server.stderr())
                server.expect_exit = 1
                server.stop()
                server = start(tmp_path, system.env)
                serves(server)
                Scene(server).play()
                quiet = rested(server)
            serves(server)
            scene.check(server)
            wire.wait_for(lambda: no_more(rested(server), quiet), lambda: (describe(call, number, error), quiet, levels(server)))
    finally:
        server.stop()


def refused_segments(server, known, size, words, error):
    """The next segment cannot be made: answer, readiness and log say why, and nothing else has happened."""
    answer = commit(server, write("k", "v" * size))
    assert (answer.status, answer.json()["outcome"]) == (503, "not_committed")
    assert words in answer.json()["detail"]
    ready = server.get("/readyz")
    assert ready.status == 503 and error in ready.json()["detail"]
    checks = server.get("/readyz?verbose").json()["checks"]
    assert {"name": "writable", "ok": False, "error": error} in checks
    assert server.metric("weaseldb_log_writable") == 0
    warnings = [line for line in server.stderr().decode().splitlines() if "the next segment of the commit log cannot be made" in line]
    assert len(warnings) == 1 and error in warnings[0]
    assert version(server) == known[-1]["version"]


@pytest.mark.parametrize(
    "error, words", [(errno.EMFILE, "too many open files"), (errno.ENFILE, "too many open files"), (errno.ENOMEM, "no memory")]
)
def test_a_segment_that_cannot_be_made_is_named(tmp_path, error, words):
    """The one that is prepared is begun all the same: that takes no further descriptor."""
    system = BadSystem(tmp_path)
    with start(tmp_path, system.env) as server:
        assert committed(server, write("k", "v" * 40000)) == 1
        assert committed(server, write("k", "v" * 40000)) == 2
        wire.wait_for(lambda: server.metric("weaseldb_log_next_segment_prepared") == 1)
        system.let_fail("openat", 0, error, count=1 << 30)
        known = fill(server)
        assert len(known) > 30  # more than the rest of the first segment takes
        refused_segments(server, known, 40_000, words, os.strerror(error))
        system.mend("openat")
        wire.wait_for(lambda: server.get("/readyz").status == 200)
        wire.wait_for(lambda: b"could be made again" in server.stderr())
        serves(server)
    with start(tmp_path, {}) as server:
        assert status(server, "fill-7")["version"] == known[7]["version"]


def test_commits_need_no_more_memory_for_the_log(tmp_path):
    """However large they are; and the list of segments grows before anything is promised."""
    system = BadSystem(tmp_path)
    settings = ("log.segment_bytes=1048576", "http.max_body_bytes=524288", "commit.max_operations=1000")
    with wire.weaseldb(*settings, cwd=tmp_path, env=system.env) as server:
        system.let_fail("realloc", 0, count=1 << 30)
        known = []
        while True:
            answer = commit(server, write("k", "v" * 380_000), request_id=f"large-{len(known)}")
            if answer.status != 200:
                break
            known.append(answer.json())
            assert len(known) < 1000
        assert len(known) > 100  # two of them fill a segment, and there is room in the list for 64
        refused_segments(server, known, 380_000, "no memory", os.strerror(errno.ENOMEM))
        assert system.mend("realloc")
        wire.wait_for(lambda: server.get("/readyz").status == 200)
        serves(server)
        assert status(server, f"large-{len(known)}")["status"] == "not_committed"


def next_transaction(feed):
    event = feed.next()
    while event.kind == "progress":
        event = feed.next()
    return event


def test_a_feed_goes_on_without_memory_for_shared_blocks(tmp_path):
    """It encodes for itself."""
    system = BadSystem(tmp_path)
    with wire.weaseldb(cwd=tmp_path, env=system.env) as server:
        with Feed(server, after=0) as feed:
            assert committed(server, write("a")) == 1
            assert next_transaction(feed).version == 1
            system.let_fail("malloc", 0, count=1 << 30)
            assert committed(server, write("b")) == 2
            assert next_transaction(feed).version == 2
            assert committed(server, write("c", "v" * 100_000)) == 3
            assert next_transaction(feed).version == 3
            assert system.mend("malloc")


def test_a_feed_that_cannot_go_on_without_memory_is_told_to_come_back(tmp_path):
    """To check a large batch takes some."""
    system = BadSystem(tmp_path)
    with wire.weaseldb("http.network_threads=1", cwd=tmp_path, env=system.env) as server:
        assert committed(server, write("a", "v" * 400_000)) == 1
        with Feed(server, after=1) as feed:
            assert feed.next().kind == "progress"  # what a thread makes once is there
        for number in range(10):  # the first calls are for the request
            system.let_fail("aligned_alloc", number)
            with Feed(server, after=0) as feed:
                if feed.response.status == 200:
                    event = next_transaction(feed)
                    break
        assert system.mend("aligned_alloc")
        assert (event.kind, event.reason) == ("end", "failed")
        wire.wait_for(lambda: b"the commit log cannot be read; a feed was ended" in server.stderr())
        assert b"Cannot allocate memory" in server.stderr()
        with Feed(server, after=0) as feed:
            assert next_transaction(feed).version == 1


@pytest.mark.parametrize("call", ["malloc", "calloc", "realloc", "aligned_alloc"])
def test_first_requests_without_memory(tmp_path, call):
    """What is allocated when it is first needed."""

    def first_scene(fail_at):
        system = BadSystem(tmp_path)
        server = start(tmp_path, system.env)
        before = system[call].calls
        if fail_at is not None:
            system.let_fail(call, fail_at)
        try:
            scene = Scene(server)
            scene.play()
            system.mend(call)
            if server.process.poll() is not None or b"the commit log has failed" in server.stderr():
                assert server.wait() == 1, server.stderr()
                server.expect_exit = 1
            else:
                serves(server)
                scene.check(server)
            return system[call].calls - before
        finally:
            server.stop()

    count = first_scene(None)
    for number in sample(count, call):
        try:
            first_scene(number)
        except BaseException as failure:
            raise AssertionError(describe(call, number)) from failure
