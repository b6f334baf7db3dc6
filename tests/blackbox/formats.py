"""The formats of bodies, as other programs read and write them: JSON, MessagePack, Protobuf. What a body says is the same value in
all of them, the one that JSON has; in it bytes are base64."""

import base64
import json
import pathlib
import subprocess
import tempfile

import msgpack
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

API = pathlib.Path(__file__).resolve().parents[2] / "api"
BYTE_FIELDS = {"key", "value", "begin", "end"}


def message_classes():
    """The messages of weaseldb.proto by their names."""
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(
            ["protoc", f"--proto_path={API}", f"--descriptor_set_out={out.name}", "weaseldb.proto"], check=True, timeout=60
        )
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    names = [message.name for file in files.file for message in file.message_type]
    find = lambda name: pool.FindMessageTypeByName(f"weaseldb.v1.{name}")  # noqa: E731
    if hasattr(message_factory, "GetMessageClass"):
        return {name: message_factory.GetMessageClass(find(name)) for name in names}
    factory = message_factory.MessageFactory(pool)
    return {name: factory.GetPrototype(find(name)) for name in names}


MESSAGES = message_classes()


def once(pairs):
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), f"a name is there twice: {names}"
    return dict(pairs)


def parse_json(data):
    return json.loads(data.decode("utf-8"), object_pairs_hook=once)


def as_json(value, name=""):
    """What came as MessagePack, as it would have come as JSON."""
    if isinstance(value, dict):
        return {key: as_json(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [as_json(item, name) for item in value]
    if name in BYTE_FIELDS and isinstance(value, (bytes, str)):
        return base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()
    assert not isinstance(value, bytes), f"{name} is binary"
    return value


def parse_msgpack(data):
    return as_json(msgpack.unpackb(data, raw=False, object_pairs_hook=once))


def parse_protobuf(data, name):
    message = MESSAGES[name].FromString(data)
    size = message.ByteSize()
    message.DiscardUnknownFields()
    assert message.ByteSize() == size, "it has unknown fields"
    return message_as_json(message)


def message_as_json(message):
    """The same names and values as JSON has."""
    # In Protobuf an empty list is there as soon as its message is.
    repeated = [field for field in message.DESCRIPTOR.fields if field.label == field.LABEL_REPEATED and field.message_type]
    value = {field.name: [] for field in repeated}
    for field, item in message.ListFields():
        if field.containing_oneof is not None:  # which one is set is a name in JSON
            value.update(message_as_json(item), type=field.name)
        elif field.message_type is not None:
            value[field.name] = message_as_json(item) if field.label != field.LABEL_REPEATED else [*map(message_as_json, item)]
        elif isinstance(item, bytes):
            value[field.name] = base64.b64encode(item).decode()
        else:
            value[field.name] = list(item) if field.label == field.LABEL_REPEATED else item
    return value


def as_msgpack(value, name=""):
    """What would be sent as JSON, as MessagePack has it."""
    if isinstance(value, dict):
        return {key: as_msgpack(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [as_msgpack(item, name) for item in value]
    return base64.b64decode(value) if name in BYTE_FIELDS else value


def fill(message, value):
    """Fills a message of weaseldb.proto with what would be sent as JSON."""
    for name, item in value.items():
        field = message.DESCRIPTOR.fields_by_name.get(name)
        if name == "type":
            kind = getattr(message, item)
            kind.SetInParent()
            fill(kind, {other: rest for other, rest in value.items() if other in kind.DESCRIPTOR.fields_by_name})
        elif field is None:
            assert "type" in value, f"{message.DESCRIPTOR.name} has no {name}"
        elif isinstance(item, list):
            for element in item:
                fill(getattr(message, name).add(), element)
        else:
            setattr(message, name, base64.b64decode(item) if name in BYTE_FIELDS else item)
    return message


def encode(value, media_type, content):
    """A body of that type from what would be sent as JSON."""
    if "json" in media_type:
        return json.dumps(value).encode()
    if "msgpack" in media_type:
        return msgpack.packb(as_msgpack(value))
    return fill(MESSAGES[content["x-protobuf-message"]](), value).SerializeToString()
