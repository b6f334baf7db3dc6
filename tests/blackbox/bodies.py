"""The three formats of the wire contract, written and read by hand: also as no library would write them.

A document is what JSON has, with `bytes` where a byte string stands:

    {"operations": [{"type": "write", "key": b"a", "value": b"1"}]}
"""

import base64
import json
import struct

# ---- JSON ----


def _texts(value):
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: _texts(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_texts(inner) for inner in value]
    return value


class Json:
    name = "json"
    media_types = ("application/json",)
    cut = b'{"operations":['

    def commit(self, document):
        return json.dumps(_texts(document)).encode()

    batch = commit

    def result(self, data):
        return json.loads(data)

    results = version = result


# ---- MessagePack ----


def msgpack(value):
    if isinstance(value, bool) or value is None:
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        if value < 0:
            return b"\xd3" + struct.pack(">q", value)
        if value < 0x80:
            return bytes([value])
        return b"\xcf" + struct.pack(">Q", value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, bytes):
        return b"\xc6" + struct.pack(">I", len(value)) + value
    if isinstance(value, str):
        text = value.encode()
        return (bytes([0xA0 | len(text)]) if len(text) < 32 else b"\xdb" + struct.pack(">I", len(text))) + text
    if isinstance(value, dict):
        return b"\xdf" + struct.pack(">I", len(value)) + b"".join(msgpack(name) + msgpack(inner) for name, inner in value.items())
    return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(msgpack, value))


class _MsgpackReader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        assert self.at + size <= len(self.data), "cut off"
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, format):
        return struct.unpack(format, self.take(struct.calcsize(format)))[0]

    def value(self):
        head = self.take(1)[0]
        if head < 0x80:
            return head
        if head < 0x90:
            return self.map(head & 15)
        if head < 0xA0:
            return self.array(head & 15)
        if head < 0xC0:
            return self.take(head & 31).decode()
        numbers = {0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"}
        if head in numbers:
            return self.number(numbers[head])
        texts = {0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}
        if head in texts:
            return self.take(self.number(texts[head])).decode()
        containers = {0xDC: (self.array, ">H"), 0xDD: (self.array, ">I"), 0xDE: (self.map, ">H"), 0xDF: (self.map, ">I")}
        assert head in containers, f"no answer holds a value that begins with {head:#x}"
        make, format = containers[head]
        return make(self.number(format))

    def array(self, count):
        return [self.value() for _ in range(count)]

    def map(self, count):
        found = {}
        for _ in range(count):
            name = self.value()
            assert isinstance(name, str) and name not in found
            found[name] = self.value()
        return found


class Msgpack:
    name = "msgpack"
    media_types = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")
    cut = b"\x81\xaaoperations\x91"

    def commit(self, document):
        return msgpack(document)

    batch = commit

    def result(self, data):
        reader = _MsgpackReader(data)
        value = reader.value()
        assert reader.at == len(data), "something follows the answer"
        return value

    results = version = result


# ---- Protobuf ----


def varint(number):
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number, value):
    """A field as its value wants: an integer, or bytes (also of a message) or text with a length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


_NAMES = {
    "precondition": {"point_read": (1, ("key",)), "range_read": (2, ("begin", "end"))},
    "operation": {"write": (1, ("key", "value")), "delete": (2, ("key",)), "range_delete": (3, ("begin", "end"))},
}


def _item(kind, item):
    number, names = _NAMES[kind][item["type"]]
    inside = b"".join(field(place, item[name]) for place, name in enumerate(names, 1) if name in item)
    return field(number, inside) + (field(3, item["version"]) if "version" in item else b"")


_RESULT = {1: "http_status", 2: "request_id", 3: "status", 4: "version", 5: "leader", 6: "reason", 7: "conflicts", 8: "detail"}
_VERSION = {1: "version", 2: "leader", 3: "oldest_read_version", 4: "log_start_version", 5: "request_id_window"}
_WINDOW = {1: "min_version", 2: "seconds", 3: "count"}


def _fields(data):
    """Numbers and values of a message's fields."""
    at = 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = number()
        assert tag & 7 in (0, 2), tag
        value = number()
        if tag & 7 == 2:
            assert at + value <= len(data), "cut off"
            at += value
            value = data[at - value : at]
        yield tag >> 3, value


def _named(data, names):
    found = {}
    for number, value in _fields(data):
        assert names[number] not in found
        found[names[number]] = value if isinstance(value, int) else bytes(value)
    return found


class Protobuf:
    name = "protobuf"
    media_types = ("application/protobuf", "application/x-protobuf")
    cut = b"\x2a\x08\x12"

    def commit(self, document):
        out = b""
        for number, name in enumerate(("request_id", "leader", "read_version"), 1):
            if name in document:
                out += field(number, document[name])
        for item in document.get("preconditions", ()):
            out += field(4, _item("precondition", item))
        for item in document.get("operations", ()):
            out += field(5, _item("operation", item))
        return out

    def batch(self, document):
        return b"".join(field(1, self.commit(transaction)) for transaction in document["transactions"])

    def result(self, data):
        found = _named(data, _RESULT)
        if "conflicts" in found:
            packed, found["conflicts"] = found["conflicts"], []
            while packed:
                end = next(i for i, byte in enumerate(packed) if byte < 0x80) + 1
                found["conflicts"].append(sum((byte & 0x7F) << 7 * i for i, byte in enumerate(packed[:end])))
                packed = packed[end:]
        return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}

    def results(self, data):
        fields = list(_fields(data))
        assert all(number == 1 for number, _ in fields)
        return {"results": [self.result(value) for _, value in fields]}

    def version(self, data):
        found = _named(data, _VERSION)
        found["leader"] = found["leader"].decode()
        found["request_id_window"] = _named(found["request_id_window"], _WINDOW)
        return found


FORMATS = (Json(), Msgpack(), Protobuf())


def of_answer(response):
    """The format that an answer says it is in."""
    (found,) = [one for one in FORMATS if one.media_types[0] == response.header("Content-Type")]
    return found
