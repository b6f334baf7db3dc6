"""A client of the feed that takes nothing for granted: each format parsed by hand, each chain checked."""

import base64
import json
import re

import wire

SSE, NDJSON, PROTOBUF = "text/event-stream", "application/x-ndjson", "application/protobuf"
FORMATS = [SSE, NDJSON, PROTOBUF]


def b64url(key):
    return base64.urlsafe_b64encode(key if isinstance(key, bytes) else key.encode()).decode().rstrip("=")


def ranges(*pairs):
    return "".join(f"&begin={b64url(begin)}&end={b64url(end)}" for begin, end in pairs)


class Event:
    def __init__(self, kind, fields, retry=None):
        self.kind, self.fields, self.retry = kind, fields, retry

    def __getattr__(self, name):
        return self.fields[name]

    def __repr__(self):
        return f"{self.kind} {str(self.fields)[:300]}"


def read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        shift, at = shift + 7, at + 1
        if byte < 128:
            return value, at


def read_fields(data):
    """The fields of a Protobuf message, in order."""
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        value, at = read_varint(data, at)
        assert tag & 7 in (0, 2), tag
        if tag & 7 == 2:
            assert at + value <= len(data)
            data_end = at + value
            value, at = data[at:data_end], data_end
        yield tag >> 3, value


def protobuf_operation(data):
    ((number, change),) = read_fields(data)
    fields = dict(read_fields(change))
    if number == 1:
        return ("write", fields[1], fields[2])
    if number == 2:
        assert set(fields) == {1}
        return ("delete", fields[1])
    return ("range_delete", fields[1], fields[2])


def json_operation(operation):
    values = [base64.b64decode(operation[name], validate=True) for name in ("key", "value", "begin", "end") if name in operation]
    assert len(operation) == len(values) + 1, operation
    return (operation["type"], *values)


class Feed:
    """One subscription. Checks that each transaction names the event before it."""

    def __init__(self, server, after=None, accept=SSE, query="", headers="", version=1, connection=None, checked=True):
        self.accept, self.last, self.checked, self.data, self.over = accept, after, checked, bytearray(), False
        self.searched = 0  # so much of the data holds no end of an event
        self.connection = connection or server.connect()
        target = "/v1/subscribe?" + (f"after={after}" if after is not None else "") + query
        self.connection.send(
            f"GET {target} HTTP/1.{version}\r\nHost: test\r\nAccept: {accept}\r\n{headers}\r\n".encode()
        )
        self.response = self.connection.read_head()
        if self.response.status != 200:
            size = int(self.response.header("Content-Length"))
            self.problem = json.loads(self.connection._exactly(size))
            self.connection.close()
            return
        assert self.response.header("Content-Type") == accept
        assert self.response.header("Cache-Control") == "no-cache, no-transform"
        assert self.response.header("X-Accel-Buffering") == "no"
        self.chunked = self.response.header("Transfer-Encoding") == "chunked"
        assert self.chunked == (version == 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.connection.close()

    def more(self):
        """Waits for bytes; raises wire.Closed at the end."""
        if self.chunked:
            chunk = self.connection.read_chunk()
            self.over = not chunk
        else:
            if not self.connection.buffer:
                try:
                    self.connection._more()
                except wire.Closed:
                    self.over = True
            chunk, self.connection.buffer = self.connection.buffer, b""
        if self.over:
            raise wire.Closed("the stream has ended")
        self.data += chunk

    def next(self):
        while True:
            event = {SSE: self.take_sse, NDJSON: self.take_ndjson, PROTOBUF: self.take_protobuf}[self.accept]()
            if event:
                self.check(event)
                return event
            self.more()

    def check(self, event):
        if event.kind == "transaction":
            if self.checked and self.last is not None:
                assert event.prev_version == self.last, (event, self.last)
            assert event.version > event.prev_version
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event.timestamp) if self.accept != PROTOBUF else event.timestamp > 1 << 50
            self.last = event.version
        elif event.kind == "progress":
            assert self.last is None or event.version >= self.last
            self.last = event.version

    def take_until(self, mark):
        at = self.data.find(mark, max(0, self.searched - 1))
        if at < 0:
            self.searched = len(self.data)
            return None
        return self.take(at + len(mark))[: -len(mark)]

    def take(self, size):
        taken = bytes(self.data[:size])
        del self.data[:size]
        self.searched = 0
        return taken

    def take_sse(self):
        text = self.take_until(b"\n\n")
        if text is None:
            return None
        fields = {}
        for line in text.decode().split("\n"):
            name, mark, value = line.partition(": ")
            assert mark and name in ("event", "id", "data", "retry") and name not in fields, text
            fields[name] = value
        body = json.loads(fields["data"])
        if fields["event"] == "end":
            assert "id" not in fields
        else:
            assert fields["id"] == str(body["version"])
        if fields["event"] == "transaction":
            body["operations"] = [json_operation(operation) for operation in body["operations"]]
        return Event(fields["event"], body, fields.get("retry"))

    def take_ndjson(self):
        line = self.take_until(b"\n")
        if line is None:
            return None
        body = json.loads(line)
        if "version" in body:
            body["operations"] = [json_operation(operation) for operation in body["operations"]]
            return Event("transaction", body)
        ((kind, fields),) = body.items()
        assert kind in ("progress", "end")
        return Event(kind, fields)

    def take_protobuf(self):
        try:
            size, at = read_varint(self.data, 0)
        except IndexError:
            return None
        if len(self.data) < at + size:
            return None
        message = self.take(at + size)[at:]
        ((number, body),) = read_fields(message)
        fields = list(read_fields(body))
        if number == 1:
            names = {1: "version", 2: "prev_version", 3: "request_id", 4: "timestamp"}
            event = {names[n]: value for n, value in fields if n != 5}
            event["request_id"] = event["request_id"].decode()
            event["operations"] = [protobuf_operation(value) for n, value in fields if n == 5]
            return Event("transaction", event)
        if number == 2:
            return Event("progress", {"version": dict(fields)[1]})
        names = {1: "reason", 2: "retry_ms", 3: "log_start_version"}
        end = {names[n]: value for n, value in fields}
        end["reason"] = end["reason"].decode()
        return Event("end", end)

    def transaction(self):
        """The next one; progress before it is passed over."""
        while True:
            event = self.next()
            if event.kind == "transaction":
                return event
            assert event.kind == "progress", event

    def progress(self):
        while True:
            event = self.next()
            if event.kind == "progress":
                return event
            assert event.kind == "transaction", event

    def until(self, version):
        """All transactions until everything up to `version` was told."""
        found = []
        while self.last is None or self.last < version:
            event = self.next()
            assert event.kind != "end", event
            if event.kind == "transaction":
                found.append(event)
        return found

    def end(self):
        """The end event, behind which the stream must end well."""
        while True:
            event = self.next()
            if event.kind == "end":
                break
        try:
            while True:
                self.more()
                assert not self.data
        except wire.Closed:
            assert self.over
        return event
