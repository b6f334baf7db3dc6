"""A reader of the commit log, written from docs/log-format.md alone; it shares nothing with the server."""

import dataclasses
import pathlib
import re
import struct

import xxhash

HEADER = 64
SEGMENT_NAME = re.compile(r"commit-(\d{20})(?:-([1-9]\d*))?\.log")


class Damaged(Exception):
    """The log breaks a rule of the page."""


def need(condition, *what):
    if not condition:
        raise Damaged(" ".join(map(str, what)))


def xxh3(data, seed=0):
    return xxhash.xxh3_64_intdigest(data, seed)


@dataclasses.dataclass
class Operation:
    type: str
    key: bytes
    value: bytes


@dataclasses.dataclass
class Record:
    type: str
    version: int  # of a fence: that of the commit before it
    request_id: str
    hash: int
    operations: list
    batch: int
    time_us: int


@dataclasses.dataclass
class Batch:
    offset: int
    count: int
    payload_bytes: int
    number: int
    first_version: int
    last_version: int
    time_us: int
    payload: bytes

    @property
    def end(self):
        return (self.offset + HEADER + self.payload_bytes + 7) // 8 * 8


@dataclasses.dataclass
class Segment:
    path: pathlib.Path
    data: bytes
    log_id: int
    number: int
    first_version: int
    first_batch: int
    file_bytes: int
    batches: list = dataclasses.field(default_factory=list)

    @property
    def end(self):
        return self.batches[-1].end if self.batches else HEADER

    def batch_at(self, offset):
        """Rules 3 to 6; None: no valid one stands there."""
        data = self.data
        if offset + HEADER > len(data) or data[offset : offset + 4] != b"BTCH":
            return None
        place = xxh3(struct.pack("<QQQ", self.log_id, self.number, offset))
        count, size, number, first, last, time_us, payload_hash, checksum = struct.unpack_from("<IQQQQQQQ", data, offset + 4)
        if xxh3(data[offset : offset + 56], place) != checksum:
            return None
        payload = data[offset + HEADER : offset + HEADER + size]
        batch = Batch(offset, count, size, number, first, last, time_us, payload)
        if batch.end > len(data) or xxh3(payload) != payload_hash:
            return None
        return batch


def read_segment_header(path):
    data = path.read_bytes()
    need(len(data) >= HEADER and data[:8] == b"WEASELOG", path.name, "is no segment")
    form, size, log_id, number, first_version, first_batch, file_bytes, checksum = struct.unpack_from("<IIQQQQQQ", data, 8)
    need(form <= 1, path.name, "is of a later format")
    need(form == 1 and size == HEADER and xxh3(data[:56]) == checksum, path.name, "has a damaged header")
    return Segment(path, data, log_id, number, first_version, first_batch, file_bytes)


def read_operations(data):
    names = {1: "write", 2: "delete", 3: "range_delete"}
    while data:
        need(len(data) >= 9, "an operation is cut off")
        kind, key_bytes, value_bytes = struct.unpack_from("<BII", data)
        need(kind in names and (kind != 2 or value_bytes == 0), "an operation is malformed")
        need(9 + key_bytes + value_bytes <= len(data), "an operation is cut off")
        yield Operation(names[kind], data[9 : 9 + key_bytes], data[9 + key_bytes : 9 + key_bytes + value_bytes])
        data = data[9 + key_bytes + value_bytes :]


def read_records(batch):
    """Rule 12."""
    data, records, version = batch.payload, [], batch.first_version - 1
    while data:
        need(len(data) >= 24, "a record is cut off")
        size, kind, id_bytes, zero, own_version, own_hash = struct.unpack_from("<IBBHQQ", data)
        need(24 + id_bytes <= size <= len(data), "a record's size is wrong")
        need(kind in (1, 2) and 1 <= id_bytes <= 128 and zero == 0, "a record is malformed")
        operations = list(read_operations(data[24 + id_bytes : size]))
        need((kind == 1) == bool(operations), "a record has operations that it may not, or none")
        if kind == 1:
            version += 1
            need(own_version == version, "a version is out of order")
        request_id = data[24 : 24 + id_bytes].decode("ascii")
        records.append(Record("commit" if kind == 1 else "fence", version, request_id, own_hash, operations, batch.number, batch.time_us))
        data = data[size:]
    need(len(records) == batch.count and version == batch.last_version, "a batch holds other records than it says")
    return records


@dataclasses.dataclass
class State:
    log_id: int
    epoch: int
    newest: int
    oldest: int
    has_segments: bool
    policies: dict


STATE_BYTES = 8192
POLICY_ID = re.compile(rb"([A-Za-z0-9][A-Za-z0-9._-]*)\0*")


def read_state(data):
    """Rule 7."""
    need(len(data) == STATE_BYTES and data[:8] == b"WEASELST", "state is damaged")
    form, size, log_id, epoch, newest, oldest, some, count, zero = struct.unpack_from("<IIQQQQIIQ", data, 8)
    need(xxh3(data[:-8]) == struct.unpack("<Q", data[-8:])[0], "state is damaged")
    need((form, size, zero) == (2, STATE_BYTES, 0) and some in (0, 1) and count <= 64 and oldest <= newest, "state is malformed")
    need(not any(data[64 + 72 * count : -8]), "state is malformed")
    policies = {}
    for at in range(64, 64 + 72 * count, 72):
        policy_id = POLICY_ID.fullmatch(data[at + 8 : at + 72])
        need(policy_id, "a policy is malformed")
        policies[policy_id[1].decode()] = struct.unpack_from("<Q", data, at)[0]
    need(len(policies) == count and list(policies) == sorted(policies) and all(v < 2**53 for v in policies.values()), "policies are malformed")
    return State(log_id, epoch, newest, oldest, some == 1, policies)


class Log:
    """All of a directory; Damaged unless it is sound."""

    def __init__(self, directory):
        directory = pathlib.Path(directory)
        self.state = read_state((directory / "state").read_bytes())
        names = [found for path in directory.iterdir() if (found := SEGMENT_NAME.fullmatch(path.name))]
        names.sort(key=lambda found: (int(found[1]), int(found[2] or 0)))
        self.segments, self.records = [], []
        for found in names:
            segment = read_segment_header(directory / found[0])
            need(segment.log_id == self.state.log_id, found[0], "is of another log")
            need(segment.first_version == int(found[1]), found[0], "is misnamed")
            if segment.number < self.state.oldest:
                continue
            if self.segments:
                need(segment.number == self.segments[-1].number + 1, "a segment is missing before", found[0])
                need((segment.first_batch, segment.first_version) == (self.batch + 1, self.version + 1), "damage before", found[0])
            else:
                need(segment.number == self.state.oldest, "the oldest segment is missing")
                self.batch, self.version, self.time_us = segment.first_batch - 1, segment.first_version - 1, 0
            self._read_batches(segment)
            self.segments.append(segment)
        last = self.segments[-1]
        need(last.file_bytes == len(last.data), last.path.name, "is cut short")
        need(last.number >= self.state.newest, "the newest segment is missing")
        self.torn = last.data[last.end :].rstrip(b"\0")
        if self.torn:
            need(not any(last.batch_at(at) for at in range(last.end + 8, len(last.data), 8)), "damage at", last.end)

    def _read_batches(self, segment):
        """Rule 11."""
        while batch := segment.batch_at(segment.end):
            need((batch.number, batch.first_version) == (self.batch + 1, self.version + 1), "a batch is out of order")
            need(batch.time_us >= self.time_us, "time goes back")
            self.batch, self.version, self.time_us = batch.number, batch.last_version, batch.time_us
            self.records += read_records(batch)
            segment.batches.append(batch)


def chain(items):
    """The hash of a transaction: items are (type, version, string...)."""
    result = 0
    for kind, version, *strings in items:
        result = ((result ^ (version << 4 | kind)) + 0x9E3779B97F4A7C15) * 0xD6E8FEB86659FD93 % 2**64
        for string in strings:
            result = xxh3(string, result)
    return result
