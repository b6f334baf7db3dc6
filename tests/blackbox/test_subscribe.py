"""The feed: every durable transaction, whole, in order, once, whatever happens in between."""

import json
import pathlib
import random
import signal
import subprocess
import threading

import pytest

import wire
from feed import FORMATS, NDJSON, PROTOBUF, SSE, Feed, b64url, ranges
from test_commit import b64, commit, committed, delete, post, range_delete, status, version, write

MEGABYTE = 1 << 20
all_formats = pytest.mark.parametrize("accept", FORMATS)


@pytest.fixture(scope="module")
def database():
    with wire.weaseldb("http.network_threads=2", "subscribe.progress_interval_sec=1") as running:
        yield running


def write_batch(server, count, name="batch"):
    """One request, so nearly always one batch of the log. Returns the last version."""
    transactions = [{"operations": [write(f"{name}-{i}", str(i))]} for i in range(count)]
    response = post(server, "/v1/commits", {"transactions": transactions})
    assert response.status == 200
    return response.json()["results"][-1]["version"]


instances = iter(range(10**9))


class Writers:
    """Clients that commit until told to stop; what each commit holds is told by its version."""

    def __init__(self, server, count=3):
        self.server, self.stopping, self.acknowledged, self.lock = server, False, {}, threading.Lock()
        self.instance = next(instances)
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(count)]

    def run(self, index):
        with self.server.connect() as connection:
            number = 0
            while not self.stopping:
                key = f"writer-{index}-{self.instance}-{number}"
                try:
                    answer = commit(connection, write(key, "x" * random.randrange(2000)), request_id=key)
                except (wire.Closed, ConnectionError):
                    return
                if answer.status == 200:
                    with self.lock:
                        self.acknowledged[answer.json()["version"]] = key
                number += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        for thread in self.threads:
            thread.join()

    def count(self):
        with self.lock:
            return len(self.acknowledged)


# ---- what is in it ----


@all_formats
def test_a_transaction_comes_whole(database, accept):
    odd = bytes(range(256))
    before = version(database)
    operations = [write(odd, ""), delete(""), range_delete("", "b"), write("k", odd * 3), delete("kk")]
    committed(database, *operations, request_id=f'id-"\\-{accept}')
    with Feed(database, before, accept) as feed:
        event = feed.transaction()
        assert event.version == before + 1
        assert event.prev_version == before
        assert event.request_id == f'id-"\\-{accept}'
        assert event.operations == [
            ("write", odd, b""),
            ("delete", b""),
            ("range_delete", b"", b"b"),
            ("write", b"k", odd * 3),
            ("delete", b"kk"),
        ]
        assert feed.next().kind == "progress"


@pytest.mark.parametrize("size", range(0, 12))
def test_every_length_of_base64(database, size):
    before = version(database)
    committed(database, write("k" * size, "v" * size))
    with Feed(database, before) as feed:
        assert feed.transaction().operations == [("write", b"k" * size, b"v" * size)]


def test_all_formats_say_the_same(database):
    before = version(database)
    for i in range(5):
        write_batch(database, 7)
    last = committed(database, range_delete("a", "b"), request_id="last")
    seen = []
    for accept in FORMATS:
        with Feed(database, before, accept) as feed:
            seen.append([(e.version, e.prev_version, e.request_id, e.operations) for e in feed.until(last)])
    assert len(seen[0]) == 36
    assert seen[0] == seen[1] == seen[2]


@all_formats
def test_it_goes_on_from_every_version(database, accept):
    first = version(database)
    for count in (1, 5, 3):
        last = write_batch(database, count)
    for after in range(first, last + 1):
        with Feed(database, after, accept) as feed:
            assert [event.version for event in feed.until(last)] == list(range(after + 1, last + 1))
            if after == last:
                assert feed.progress().version == last


def test_now_is_the_default(database):
    last = write_batch(database, 3)
    with Feed(database) as feed:
        assert feed.next().fields == {"version": last}
        assert committed(database, write("a")) == last + 1
        assert feed.transaction().version == last + 1


def test_fences_are_not_in_it(database):
    before = version(database)
    status(database, "fenced-for-good")
    committed(database, write("a"))
    status(database, "fenced-for-good-too")
    committed(database, write("b"))
    with Feed(database, before) as feed:
        assert [len(event.operations) for event in feed.until(before + 2)] == [1, 1]


def test_last_event_id_wins(database):
    last = write_batch(database, 5)
    with Feed(database, last - 5, headers=f"Last-Event-ID: {last - 1}\r\n", checked=False) as feed:
        assert feed.transaction().version == last
    with Feed(database, headers=f"Last-Event-ID: {last - 2}\r\n") as feed:
        assert feed.transaction().version == last - 1
    # An empty one is what a client has that has seen no id.
    with Feed(database, last - 3, headers="Last-Event-ID: \r\n") as feed:
        assert feed.transaction().version == last - 2


@pytest.mark.parametrize(
    "accept, given",
    [
        ("", SSE),
        ("*/*", SSE),
        ("text/*", SSE),
        ("application/json", SSE),
        ("application/x-ndjson, */*", NDJSON),
        ("text/event-stream;q=0.5, application/protobuf", PROTOBUF),
        ("application/protobuf;q=0, application/*", NDJSON),
        ("text/event-stream, application/x-ndjson", SSE),
    ],
)
def test_the_format_is_what_is_wanted_most(database, accept, given):
    response = database.get("/v1/subscribe", "HEAD", headers=f"Accept: {accept}\r\n")
    assert response.header("Content-Type") == given


def test_http_1_0(database):
    last = write_batch(database, 3)
    with Feed(database, last - 3, version=0) as feed:
        assert feed.response.header("Connection") == "close"
        assert len(feed.until(last)) == 3
        assert committed(database, write("a")) == last + 1
        assert feed.transaction().version == last + 1


def test_head_subscribes_to_nothing(database):
    before = database.metric("weaseldb_subscribers")
    response = database.get("/v1/subscribe", "HEAD")
    assert response.status == 200
    assert response.header("Content-Type") == SSE
    assert response.header("Cache-Control") == "no-cache, no-transform"
    assert database.get("/v1/subscribe?after=9007199254740991", "HEAD").status == 400
    assert database.metric("weaseldb_subscribers") == before
    assert database.get("/v1/subscribe", "POST").status == 405


def test_curl_follows(database):
    last = write_batch(database, 2)
    url = f"http://127.0.0.1:{database.address[1]}/v1/subscribe?after={last - 2}"
    with subprocess.Popen(["curl", "-sN", "-H", f"Accept: {NDJSON}", url], stdout=subprocess.PIPE) as curl:
        try:
            assert json.loads(curl.stdout.readline())["version"] == last - 1
            assert json.loads(curl.stdout.readline())["version"] == last
            assert json.loads(curl.stdout.readline()) == {"progress": {"version": last}}
            committed(database, write("a"))
            line = json.loads(curl.stdout.readline())
            while "progress" in line:
                line = json.loads(curl.stdout.readline())
            assert line["version"] == last + 1
        finally:
            curl.kill()


# ---- what is refused ----


@pytest.mark.parametrize(
    "query, text",
    [
        ("after=x", "after must be an integer"),
        ("after=-1", "after must be an integer"),
        ("after=", "after must be an integer"),
        ("after=9007199254740992", "after must be an integer"),
        ("after=1&after=2", "more than once"),
        ("since=1", "takes no query parameter since"),
        ("begin=YQ", "equally often"),
        ("end=YQ", "equally often"),
        ("begin=YQ&end=Yg&begin=Yw", "equally often"),
        ("begin=Yg&end=YQ", "less than its end"),
        ("begin=YQ&end=YQ", "less than its end"),
        ("begin=Y&end=Yg", "base64url"),
        ("begin=YR&end=Yg", "base64url"),
        ("begin=Y%2B==&end=Yg", "base64url"),
        ("begin=YQ&end=Yg===", "base64url"),
        ("begin=YQ&end=%20", "base64url"),
    ],
)
def test_bad_parameters(database, query, text):
    response = database.get(f"/v1/subscribe?{query}")
    assert response.status == 400
    assert response.header("Content-Type") == "application/problem+json"
    assert text in response.json()["detail"]


def test_bad_last_event_id(database):
    for value in ("x", "-1", "9007199254740992", "1 2"):
        response = database.get("/v1/subscribe?after=0", headers=f"Last-Event-ID: {value}\r\n")
        assert response.status == 400
        assert "Last-Event-ID" in response.json()["detail"]
    for values in (("1", "0"), ("0", "0"), ("", "0"), ("0", "x")):
        headers = "".join(f"{name}: {value}\r\n" for name, value in zip(("Last-Event-ID", "last-event-id"), values, strict=True))
        response = database.get("/v1/subscribe", headers=headers)
        assert response.status == 400
        assert response.json()["detail"] == "The header Last-Event-ID was sent more than once."


def test_an_after_that_does_not_count_must_be_a_number(database):
    last = write_batch(database, 2)
    for after in ("x", "-1", "", "9007199254740992"):
        response = database.get(f"/v1/subscribe?after={after}", headers=f"Last-Event-ID: {last}\r\n")
        assert response.status == 400
        assert "after" in response.json()["detail"]
    with Feed(database, 9007199254740991, headers=f"Last-Event-ID: {last - 1}\r\n", checked=False) as feed:
        assert feed.transaction().version == last


def test_the_number_of_ranges_is_limited(database):
    def query(count):
        return "/v1/subscribe?" + ranges(*((f"{i:04}", f"{i:04}a") for i in range(count)))[1:]

    assert database.get(query(64), "HEAD").status == 200
    response = database.get(query(65))
    assert response.status == 400
    assert "more than 64 times" in response.json()["detail"]


def test_the_future_is_refused(database):
    last = version(database)
    with Feed(database, last) as feed:
        assert feed.progress().version == last
    response = database.get(f"/v1/subscribe?after={last + 1}")
    assert response.status == 400
    assert response.json()["type"] == "urn:weaseldb:problem:future-version"
    assert response.json()["version"] == last


# ---- filters ----


@all_formats
def test_a_filter_leaves_out_and_clips(database, accept):
    before = version(database)
    committed(database, write("a1"), write("b1"), delete("c1"), write("d1"))
    committed(database, write("a"), write("d"))
    committed(database, range_delete("a", "z"))
    committed(database, range_delete("a", "b"), range_delete("d", "e"), range_delete("b5", "b6"))
    committed(database, range_delete("bb", "cc"), write("c", "end"), write("b", "begin"))
    last = committed(database, write("zz"))
    with Feed(database, before, accept, ranges(("b", "c"), ("c0", "d"))) as feed:
        events = feed.until(last)
    assert [(event.version - before, event.operations) for event in events] == [
        (1, [("write", b"b1", b"v"), ("delete", b"c1")]),
        (3, [("range_delete", b"b", b"c"), ("range_delete", b"c0", b"d")]),
        (4, [("range_delete", b"b5", b"b6")]),
        (5, [("range_delete", b"bb", b"c"), ("range_delete", b"c0", b"cc"), ("write", b"b", b"begin")]),
    ]


@pytest.mark.parametrize(
    "wanted, whole, clipped",
    [
        (("b", "d"), ("a", "b"), None),
        (("b", "d"), ("a", "b\0"), ("b", "b\0")),
        (("b", "d"), ("b", "d"), ("b", "d")),
        (("b", "d"), ("a", "e"), ("b", "d")),
        (("b", "d"), ("c", "e"), ("c", "d")),
        (("b", "d"), ("c\xff", "c\xff\0"), ("c\xff", "c\xff\0")),
        (("b", "d"), ("d", "e"), None),
        (("", "b"), ("", "a"), ("", "a")),
        (("c", ""), ("b", "\x7f"), ("c", "\x7f")),
        (("", ""), ("a", "b"), ("a", "b")),
    ],
)
def test_edges_of_clipping(database, wanted, whole, clipped):
    before = version(database)
    committed(database, range_delete(*(side.encode("latin-1") for side in whole)))
    last = committed(database, write("b"), write("\x7e"), write(""))
    wanted = tuple(side.encode("latin-1") for side in wanted)
    with Feed(database, before, query=ranges(wanted)) as feed:
        events = feed.until(last)
    assert events.pop().version == last
    found = [event.operations for event in events]
    assert found == ([] if clipped is None else [[("range_delete", *(side.encode("latin-1") for side in clipped))]])


def test_ranges_that_overlap_give_each_key_once(database):
    before = version(database)
    last = committed(database, range_delete("a", "k"), write("c"), write("e"))
    with Feed(database, before, query=ranges(("b", "d"), ("c", "e"), ("e", "f"), ("i", "z"))) as feed:
        (event,) = feed.until(last)
    assert event.operations == [
        ("range_delete", b"b", b"f"),
        ("range_delete", b"i", b"k"),
        ("write", b"c", b"v"),
        ("write", b"e", b"v"),
    ]


def test_a_filter_that_matches_nothing_still_tells_the_position(database):
    with Feed(database, query=ranges(("nothing", "nothing!"))) as feed:
        before = feed.progress().version
        last = write_batch(database, 50)
        while True:
            event = feed.next()
            assert event.kind == "progress"
            if event.version == last:
                break
            assert before <= event.version < last
    # What was told is a good place to go on from, and what comes next names it.
    with Feed(database, last, query=ranges(("nothing", "nothing!"))) as feed:
        assert feed.progress().version == last
        write_batch(database, 3)
        wanted = committed(database, write("nothing"))
        assert feed.transaction().version == wanted


def test_padding_is_optional_in_filters(database):
    before = version(database)
    committed(database, write(b"\xff\xfe"))
    for begin in ("__4", "__4="):
        with Feed(database, before, query=f"&begin={begin}&end=") as feed:
            assert feed.transaction().operations == [("write", b"\xff\xfe", b"v")]


# ---- live ----


@all_formats
def test_catching_up_and_following_join_without_a_seam(database, accept):
    start = version(database)
    with Writers(database) as writers:
        feeds = []
        for i in range(8):
            wire.wait_for(lambda: writers.count() > 25 * i)
            feeds.append(Feed(database, start + random.randrange(20 * i + 1), accept))
        first = [feed.last for feed in feeds]
        wire.wait_for(lambda: writers.count() > 400)
    last = version(database)
    for feed, after in zip(feeds, first):
        events = feed.until(last)
        feed.close()
        assert [event.version for event in events] == list(range(after + 1, last + 1))
        for event in events:
            if event.version in writers.acknowledged:
                assert event.request_id == writers.acknowledged[event.version]


def test_a_filtered_feed_names_the_event_before(database):
    start = version(database)
    with Feed(database, start, query=ranges(("writer-0", "writer-1"))) as feed:
        with Writers(database) as writers:
            wire.wait_for(lambda: writers.count() > 300)
        events = feed.until(version(database))  # Feed checks the chain
    mine = {v for v, key in writers.acknowledged.items() if key.startswith("writer-0")}
    assert mine <= {event.version for event in events}
    assert all(event.request_id.startswith("writer-0") for event in events)


def test_many_follow_and_each_batch_is_encoded_once():
    count = 300
    with wire.weaseldb("http.network_threads=2") as server:
        feeds = [Feed(server, 0) for _ in range(count)]
        assert server.metric("weaseldb_subscribers") == count
        for feed in feeds:
            feed.progress()
        made = server.metric("weaseldb_subscriber_blocks_total")
        for _ in range(20):
            last = committed(server, write("k", "v" * 100))
        for feed in feeds:
            assert len(feed.until(last)) == 20
        assert server.metric("weaseldb_subscriber_blocks_total") == made + 20
        assert server.metric("weaseldb_subscriber_lag_max_versions") == 0
        with Writers(server) as writers:
            wire.wait_for(lambda: writers.count() > 200)
        last = version(server)
        for feed in feeds:
            feed.until(last)
            feed.close()
        wire.wait_for(lambda: server.metric("weaseldb_subscribers") == 0 or committed(server, write("x")) == 0)
        assert server.metric('weaseldb_subscriptions_ended_total{reason="client"}') == count


def test_those_who_lag_together_share_what_is_encoded():
    """More than the sockets take: the rest is encoded when it is read, for the first reader, far from the log's end."""
    batches = 200
    with wire.weaseldb("http.network_threads=1", "subscribe.shared_bytes=67108864") as server:
        feeds = [Feed(server, 0, PROTOBUF) for _ in range(4)]
        for feed in feeds:
            feed.progress()
        made = server.metric("weaseldb_subscriber_blocks_total")
        for _ in range(batches):
            last = committed(server, write("k", "v" * 100_000))
        read = []
        for feed in feeds:
            assert len(feed.until(last)) == batches
            read.append(server.metric("weaseldb_subscriber_blocks_total") - made)
            feed.close()
        assert read[0] >= 4 * batches, "all of it in blocks of 32 KiB"
        assert read == [read[0]] * 4, "and once"


def test_no_more_subscribers_than_allowed():
    with wire.weaseldb("subscribe.max_subscribers=3") as server:
        feeds = [Feed(server) for _ in range(3)]
        response = server.get("/v1/subscribe")
        assert response.status == 503
        assert response.header("Retry-After") == "1"
        assert (response.json()["limit"], response.json()["actual"]) == (3, 4)
        assert response.json()["limit_key"] == "subscribe.max_subscribers"
        assert server.metric("weaseldb_subscriptions_refused_total") == 1
        feeds.pop().connection.reset()
        wire.wait_for(lambda: server.metric("weaseldb_subscribers") == 2)
        with Feed(server) as feed:
            assert feed.progress().version == 0


def test_one_that_does_not_read_is_cut_and_can_resume():
    with wire.weaseldb("http.write_timeout_sec=1", "http.network_threads=1") as server:
        good, stalled = Feed(server, 0), Feed(server, 0)
        stalled.connection.socket.settimeout(wire.PATIENCE)
        value = "v" * 500_000
        commits = 0
        while server.metric('http_timeouts_total{kind="write"}') == 0:
            last = committed(server, write("k", value))
            assert good.transaction().version == last
            commits += 1
            assert commits < 2000
        assert server.metric("weaseldb_subscribers") == 1
        last = committed(server, write("k", "last"))
        assert good.transaction().version == last
        seen = stalled.last
        with pytest.raises((wire.Closed, ConnectionError)):
            while True:
                stalled.next()
                seen = stalled.last
        assert seen < last
        with Feed(server, seen) as again:
            assert [event.version for event in again.until(last)] == list(range(seen + 1, last + 1))
        good.close()


def test_nothing_that_is_not_durable(tmp_path):
    trigger = tmp_path / "trigger"
    slow = {"LD_PRELOAD": str(wire.BUILD / "tests/libbad_disk.so"), "BAD_DISK": str(trigger)}
    if wire.SANITIZED:
        pytest.skip("a sanitizer's runtime must come first")
    with wire.weaseldb("subscribe.progress_interval_sec=1", env=slow) as server, Feed(server) as feed:
        committed(server, write("a"))
        assert feed.transaction().version == 1
        trigger.write_text("hang")
        thread = threading.Thread(target=committed, args=(server, write("b")))
        thread.start()
        # The write reaches the file, and the sync does not end: two rounds of progress tell of 1.
        for _ in range(2):
            assert feed.next().fields == {"version": 1}
        assert server.get("/v1/subscribe?after=2").status == 400
        with Feed(server, 0) as other:
            assert other.transaction().version == 1
            assert other.next().fields == {"version": 1}
        trigger.unlink()
        thread.join()
        assert feed.transaction().version == 2


@all_formats
@pytest.mark.parametrize("filtered", [False, True])
def test_huge_transactions(accept, filtered):
    """Larger than every buffer on the way, followed live and caught up with."""
    sizes = [700_001, 5_000_000, 3, 12_000_000]
    query = ranges(("big", "bih")) if filtered else ""
    with wire.weaseldb(
        "commit.max_value_bytes=20000000", "http.max_body_bytes=30000000", "log.segment_bytes=67108864",
        "http.memory_limit_bytes=268435456", "http.stream_buffer_bytes=4096",
    ) as server:
        with Feed(server, 0, accept, query) as live:
            for i, size in enumerate(sizes):
                value = random.randbytes(size)
                committed(server, write(f"big-{i}", value), write("aside", "x"), delete(f"big-{i}-gone"))
                expected = [("write", b"big-%d" % i, value), ("write", b"aside", b"x"), ("delete", b"big-%d-gone" % i)]
                if filtered:
                    del expected[1]
                assert live.transaction().operations == expected
                with Feed(server, i, accept, query) as late:
                    assert late.transaction().operations == expected


def test_feeds_at_different_huge_transactions_do_not_hold_each_other_up():
    """On one thread, so that their steps take turns."""
    values = [random.randbytes(30_000_000) for _ in range(2)]
    with wire.weaseldb(
        "commit.max_value_bytes=30000000", "http.max_body_bytes=50000000", "log.segment_bytes=67108864",
        "http.memory_limit_bytes=536870912", "http.network_threads=1",
    ) as server:
        for value in values:
            committed(server, write("big", value))
        feeds = [Feed(server, after) for after in range(len(values))]
        for feed, value in zip(feeds, values):
            assert feed.transaction().operations == [("write", b"big", value)]
            feed.close()


def test_a_wide_transaction(database):
    """Many operations, of which a filter wants few."""
    before = version(database)
    committed(database, *(write(f"wide-{i:05}", "v" * 50) for i in range(9999)))
    with Feed(database, before, PROTOBUF) as feed:
        assert len(feed.transaction().operations) == 9999
    with Feed(database, before, PROTOBUF, ranges(("wide-05000", "wide-05003"), ("wide-09998", "wide-1"))) as feed:
        assert [key for _, key, _ in feed.transaction().operations] == [b"wide-05000", b"wide-05001", b"wide-05002", b"wide-09998"]


# ---- ends and beginnings ----


@all_formats
def test_a_drain_says_when_to_come_back(accept):
    with wire.weaseldb("http.network_threads=2") as server:
        last = write_batch(server, 3)
        feeds = [Feed(server, 0, accept) for _ in range(20)]
        for feed in feeds:
            assert feed.progress().version == last
        server.signal()
        waits = []
        for feed in feeds:
            event = feed.end()
            assert event.reason == "draining"
            assert 1000 <= event.retry_ms < 5000
            if accept == SSE:
                assert event.retry == str(event.retry_ms)
            waits.append(event.retry_ms)
        assert len(set(waits)) > 1
        assert server.wait() == 0


def test_a_subscription_during_a_drain_is_told_to_come_back():
    with wire.weaseldb() as server, server.connect() as connection:
        connection.get("/v1/version")
        connection.send(b"GET /v1/subscribe HTTP/1.1\r\nHost: t\r\n")  # not complete
        wire.wait_for(lambda: server.metric('http_connections{state="head"}') == 1)
        server.signal()
        wire.wait_for(lambda: b"shutting down" in server.stderr())
        connection.send(b"X: y\r\n\r\n")
        response = connection.read()
        assert response.status == 200
        assert response.body.startswith(b"retry: ")
        assert server.wait() == 0


@pytest.mark.parametrize("hard", [False, True])
def test_a_restart_goes_on_where_it_was(tmp_path, hard):
    seen = 0
    chain = []
    for _ in range(3):
        with wire.weaseldb("http.network_threads=2", cwd=tmp_path) as server:
            last = version(server)
            assert last >= seen
            with Feed(server, seen) as feed, Writers(server) as writers:
                chain += [(event.version, event.request_id) for event in feed.until(last + 150)]
                server.signal(signal.SIGKILL if hard else signal.SIGTERM)
                server.expect_exit = -signal.SIGKILL if hard else 0
                with pytest.raises((wire.Closed, ConnectionError)):
                    while True:
                        event = feed.next()
                        if event.kind == "transaction":
                            chain.append((event.version, event.request_id))
                server.wait()
            seen = chain[-1][0]
    with wire.weaseldb(cwd=tmp_path) as server:
        last = version(server)
        with Feed(server, seen) as feed:
            chain += [(event.version, event.request_id) for event in feed.until(last)]
        with Feed(server, 0) as feed:
            assert chain == [(event.version, event.request_id) for event in feed.until(last)]
    assert [number for number, _ in chain] == list(range(1, last + 1))
    assert all(dict(chain)[number] == key for number, key in writers.acknowledged.items())


def segments(directory):
    return sorted(pathlib.Path(directory, "weaseldb-data").glob("commit-*.log"))


SMALL = ("log.segment_bytes=1048576", "http.max_body_bytes=65536", "commit.max_operations=1000")


def fill_segments(server, count):
    directory = server.cwd
    while len(segments(directory)) < count:
        last = committed(server, write("k", "v" * 30000))
    return last


def test_a_long_log_is_read_over_its_segments():
    with wire.weaseldb(*SMALL) as server:
        for i in range(3):
            status(server, f"fence-{i}")  # batches without a version
        last = fill_segments(server, 5)
        for after in (0, 1, last // 2, last - 1):
            with Feed(server, after) as feed:
                assert [event.version for event in feed.until(last)] == list(range(after + 1, last + 1))


def test_a_segment_that_is_removed_ends_the_feed():
    with wire.weaseldb(*SMALL) as server:
        last = fill_segments(server, 4)
        segments(server.cwd)[0].unlink()
        segments(server.cwd)[1].unlink()
        with Feed(server, 0) as feed:
            event = feed.end()
            assert event.reason == "gone"
            assert event.log_start_version >= 1
        assert server.metric('weaseldb_subscriptions_ended_total{reason="gone"}') == 1
        with Feed(server, last - 1) as feed:
            assert feed.transaction().version == last


CAPPED = (*SMALL, f"retention.max_bytes={4 * MEGABYTE}")


def start_version(server):
    return server.get("/v1/version").json()["log_start_version"]


def test_what_the_log_no_longer_has_is_410():
    with wire.weaseldb(*CAPPED) as server:
        while start_version(server) < 100:
            last = committed(server, write("k", "v" * 30000))
        # Removal is over when the files are as many as the cap allows.
        wire.wait_for(lambda: len(segments(server.cwd)) <= 3)
        start = start_version(server)
        for headers, after in (("", 0), ("", start - 2), (f"Last-Event-ID: {start - 2}\r\n", start)):
            response = server.get(f"/v1/subscribe?after={after}", headers=headers)
            assert response.status == 410
            assert response.header("Content-Type") == "application/problem+json"
            assert response.json()["type"] == "urn:weaseldb:problem:gone"
            assert response.json()["log_start_version"] == start
        with Feed(server, start - 1) as feed:
            assert [event.version for event in feed.until(last)] == list(range(start, last + 1))


def test_a_feed_that_retention_overtakes_ends():
    with wire.weaseldb(*CAPPED, "http.network_threads=1") as server:
        with Feed(server, 0) as slow, Feed(server, 0) as good:
            slow.progress()
            while start_version(server) < 1000:
                last = committed(server, write("k", "v" * 45000))
                assert good.transaction().version == last
            # What fills the buffers still comes, whole; then it ends, or is cut inside a transaction.
            try:
                assert slow.end().reason == "gone"
            except (wire.Closed, ConnectionError):
                pass
            assert slow.last < start_version(server) - 1
            assert server.get(f"/v1/subscribe?after={slow.last}").status == 410
        assert server.metric('weaseldb_subscriptions_ended_total{reason="gone"}') == 1


def test_damage_is_found_and_never_served():
    with wire.weaseldb() as server:
        for i in range(5):
            committed(server, write(f"k{i}", "value-%d" % i * 10000))
        (path, *_) = segments(server.cwd)
        data = path.read_bytes()
        with open(path, "r+b") as file:
            file.seek(data.index(b"value-2"))
            file.write(b"VALUE-2")
        with Feed(server, 0) as feed:
            assert [feed.transaction().version, feed.transaction().version] == [1, 2]
            assert feed.end().reason == "damaged"
        assert server.metric('weaseldb_subscriptions_ended_total{reason="damaged"}') == 1
        assert b"the commit log is damaged" in server.stderr()
        # What is not damaged is still served, and new commits too.
        with Feed(server, 3) as feed:
            assert feed.transaction().version == 4
            last = committed(server, write("new"))
            assert len(feed.until(last)) == 2
        with open(path, "r+b") as file:
            file.seek(data.index(b"value-2"))
            file.write(b"value-2")
