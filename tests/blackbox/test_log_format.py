"""docs/log-format.md: a reader written from the page finds in real logs what was committed, and so does `weasel log dump`."""

import base64
import concurrent.futures
import datetime
import json
import re
import struct

import pytest

import log_reader
import logs
import wire
from test_commit import key, point, range_read, status

PAGE = (wire.ROOT / "docs/log-format.md").read_text()


def example(name):
    return bytes.fromhex("".join(re.search(rf"```{name}\n(.*?)```", PAGE, re.S)[1].split()))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return logs.make(tmp_path_factory.mktemp("made"))


def test_the_examples_of_the_page(tmp_path):
    header, batch = example("segment"), example("batch")
    checksum = bytes.fromhex(re.search(r"the last 8 are `(\w+)`", PAGE)[1])
    state = example("state").ljust(8184, b"\0") + checksum
    path = tmp_path / "commit-00000000000000000008.log"
    path.write_bytes((header + batch).ljust(1 << 20, b"\0"))
    segment = log_reader.read_segment_header(path)
    assert (segment.number, segment.first_version, segment.first_batch, segment.file_bytes) == (2, 8, 5, 1 << 20)
    found = segment.batch_at(64)
    assert (found.number, found.count, found.time_us) == (5, 2, 1766000000 * 10**6)
    commit, fence = log_reader.read_records(found)
    assert commit.request_id == "r1" and commit.hash == 0x1122334455667788
    assert commit.operations == [log_reader.Operation("write", b"k", b"vv")]
    assert (fence.type, fence.request_id) == ("fence", "r2")
    assert log_reader.read_state(state) == log_reader.State(segment.log_id, 3, 2, 0, True, {})
    # The other reader agrees, and finds them sound; segment 0 alone is missing.
    (tmp_path / "state").write_bytes(state)
    assert logs.weasel("log", "verify", path).returncode == 0
    result = logs.weasel("log", "verify", tmp_path)
    assert len(result.stderr.splitlines()) == 1
    assert "segment number 0 is missing" in result.stderr
    oldest = bytearray(state)
    oldest[40] = 2
    oldest[-8:] = struct.pack("<Q", log_reader.xxh3(bytes(oldest[:-8])))
    (tmp_path / "state").write_bytes(oldest)
    result = logs.weasel("log", "verify", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "ends at version 8" in result.stdout


def decoded(line):
    """A line of JSON as the page's reader gives it."""
    entry = json.loads(line)
    operations = [
        log_reader.Operation(
            item["type"],
            base64.b64decode(item["begin" if item["type"] == "range_delete" else "key"], validate=True),
            base64.b64decode(item.get("end", item.get("value", "")), validate=True),
        )
        for item in entry.get("operations", [])
    ]
    time = datetime.datetime.strptime(entry["timestamp"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=datetime.timezone.utc)
    is_commit = entry["type"] == "commit"
    assert not is_commit or entry["version"] == entry["prev_version"] + 1
    return log_reader.Record(
        entry["type"],
        entry["version"] if is_commit else entry["prev_version"],
        entry["request_id"],
        int(entry.get("payload_hash", "0"), 16),
        operations,
        entry["batch"],
        (time - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) // datetime.timedelta(microseconds=1),
    )


def test_both_readers_find_what_was_committed(made):
    directory, last = made
    log = log_reader.Log(directory)
    assert len(log.segments) >= 3
    assert log.version == last and not log.torn
    commits = [record for record in log.records if record.type == "commit"]
    for number, record in enumerate(commits, 1):
        assert (record.version, record.request_id) == (number, f"t-{number}")
        sent = [
            log_reader.Operation(
                item["type"],
                base64.b64decode(item["begin" if item["type"] == "range_delete" else "key"]),
                base64.b64decode(item.get("end", item.get("value", ""))),
            )
            for item in logs.operations_of(number)
        ]
        assert record.operations == sent
    fences = [record.request_id for record in log.records if record.type == "fence"]
    assert fences == [f"nobody-{number}" for number in range(51, last + 2, 50)]

    result = logs.weasel("log", "dump", "--format", "json", directory)
    assert result.returncode == 0
    assert result.stderr == f"{directory} ends at version {last}\n"
    assert [decoded(line) for line in result.stdout.splitlines()] == log.records


def test_the_hash_of_a_transaction(tmp_path):
    mine, begin, end = key(), key(), key() + "z"
    with logs.server(tmp_path) as server:
        logs.commit(server, logs.write(mine, "first"))
        sent = [logs.write(mine, "v"), logs.delete(mine), logs.range_delete(begin, end)]
        response = logs.commit(server, *sent, preconditions=[point(mine, version=1), range_read(begin, end)], read_version=1)
        assert response.status == 200, response.body
    mine, begin, end = mine.encode(), begin.encode(), end.encode()
    items = [(1, 1, mine), (2, 1, begin, end), (3, 0, mine, b"v"), (4, 0, mine), (5, 0, begin, end)]
    assert log_reader.Log(tmp_path / logs.NAME).records[-1].hash == log_reader.chain(items)


def test_segments_of_nothing_but_fences_have_an_ordinal(tmp_path):
    directory = tmp_path / logs.NAME
    with logs.server(tmp_path) as server:

        def ask(asker):
            with server.connect() as connection:
                for number in range(1000):
                    assert status(connection, f"{'f' * 120}-{asker}-{number}")["status"] == "not_committed"
                    if len(list(directory.glob("commit-*.log"))) == 2:
                        return

        with concurrent.futures.ThreadPoolExecutor(16) as askers:
            list(askers.map(ask, range(16)))
        logs.commit(server, logs.write(key()))
    names = [path.name for path in logs.segments(tmp_path / logs.NAME)]
    assert names == [f"commit-{1:020}.log", f"commit-{1:020}-1.log"]
    log = log_reader.Log(tmp_path / logs.NAME)
    assert log.version == 1
    result = logs.weasel("log", "dump", "--format", "json", tmp_path / logs.NAME)
    assert [decoded(line) for line in result.stdout.splitlines()] == log.records


def test_a_log_written_from_the_page_is_taken_by_a_server(tmp_path):
    """Segment, batch and state as the page tells, and a torn write behind them."""
    directory = tmp_path / logs.NAME
    directory.mkdir()
    size, log_id = 1 << 20, 77

    def sealed(data, seed=0):
        return data + struct.pack("<Q", log_reader.xxh3(data, seed))

    def record(kind, version, request_id, operations=b""):
        body = struct.pack("<BBHQQ", kind, len(request_id), 0, version, 0) + request_id + operations
        return struct.pack("<I", len(body) + 4) + body

    operation = struct.pack("<BII", 1, 1, 2) + b"k" + b"vv"
    payload = record(1, 1, b"first", operation) + record(2, 0, b"never") + record(1, 2, b"second", operation)
    place = log_reader.xxh3(struct.pack("<QQQ", log_id, 0, 64))
    batch = sealed(b"BTCH" + struct.pack("<IQQQQQQ", 3, len(payload), 0, 1, 2, 10**15, log_reader.xxh3(payload)), place) + payload
    header = sealed(b"WEASELOG" + struct.pack("<IIQQQQQ", 1, 64, log_id, 0, 1, 0, size))
    whole = (header + batch).ljust((64 + len(batch) + 7) // 8 * 8, b"\0")
    (directory / f"commit-{1:020}.log").write_bytes((whole + b"BTCH torn").ljust(size, b"\0"))
    state = b"WEASELST" + struct.pack("<IIQQQQIIQ", 2, 8192, log_id, 4, 0, 0, 1, 1, 0) + struct.pack("<Q64s", 1, b"backup-1")
    (directory / "state").write_bytes(sealed(state.ljust(8184, b"\0")))

    result = logs.weasel("log", "verify", directory)
    assert result.returncode == 0, result.stderr
    assert "torn end      9 bytes" in result.stdout
    with logs.server(tmp_path) as server:
        assert server.get("/v1/version").json()["version"] == 2
        assert server.get("/v1/retention/backup-1").json()["version"] == 1
        assert logs.commit(server, logs.write("k")).json()["version"] == 3
    log = log_reader.Log(directory)
    assert (log.version, log.state.epoch, log.torn) == (3, 5, b"")
    assert log.state.policies == {"backup-1": 1}
