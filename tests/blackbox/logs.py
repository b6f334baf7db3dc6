"""Logs for tests: made by a real server, copied, damaged, and given back to it."""

import contextlib
import hashlib
import os
import pathlib
import shutil
import subprocess

import log_reader
import wire
from test_commit import commit, delete, post, range_delete, status, write  # noqa: F401, some are for tests

SETTINGS = ("log.segment_bytes=1048576", "http.max_body_bytes=65536", "commit.max_operations=1000")
NAME = "weaseldb-data"
PER_BATCH = 5


def weasel(*arguments, **options):
    options = {"capture_output": True, "text": True, "timeout": wire.PATIENCE * 3, **options}
    return subprocess.run([str(wire.BUILD / "weasel"), *map(str, arguments)], **options)


def server(cwd):
    return wire.weaseldb(*SETTINGS, cwd=cwd)


def start_that_fails(directory):
    """A server's words on its way out."""
    words = [word for item in ("http.port=0", *SETTINGS, f'log.directory="{directory}"') for word in ("--set", item)]
    result = subprocess.run([wire.BUILD / "weaseldb", *words], capture_output=True, text=True, timeout=wire.PATIENCE)
    assert result.returncode == 1, result.stderr
    return result.stderr


def contents(directory):
    """What may not change; `lock` is no part of the log."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in pathlib.Path(directory).rglob("*")
        if path.is_file() and path.name != "lock"
    }


def value(number):
    return bytes([number % 256]) * (number * 37 % 3000)


def operations_of(number):
    """Of the commit with this version."""
    key = b"key-%d\x00\xff" % (number % 100)
    made = [write(key, value(number))]
    if number % 3 == 0:
        made.append(delete(b'del"\\' + key))
    if number % 7 == 0:
        made.append(range_delete(key, key + b"\xff"))
    return made


def fill(where, count, first=1):
    """Commits `count` batches of PER_BATCH transactions, and a fence behind every tenth."""
    number = first
    for batch in range(count):
        transactions = [{"request_id": f"t-{number + i}", "operations": operations_of(number + i)} for i in range(PER_BATCH)]
        response = post(where, "/v1/commits", {"transactions": transactions})
        assert response.status == 200, response.body
        versions = [result["version"] for result in response.json()["results"]]
        assert versions == list(range(number, number + PER_BATCH))
        number += PER_BATCH
        if batch % 10 == 9:
            assert status(where, f"nobody-{number}")["status"] == "not_committed"
    return number - 1


def make(cwd, batches=400):
    """A log of several segments below `cwd`, with its last version."""
    with server(cwd) as running, running.connect() as connection:
        last = fill(connection, batches)
    return cwd / NAME, last


def copy(source, to):
    shutil.copytree(source, to / NAME)
    return to / NAME


def segments(directory):
    """Their paths, in order."""
    return [segment.path for segment in log_reader.Log(directory).segments]


def segments_by_name(directory):
    """Likewise, of a log that may be damaged."""
    return sorted(pathlib.Path(directory).glob("commit-*.log"))


@contextlib.contextmanager
def patched(path):
    """The file's bytes, to be changed."""
    data = bytearray(path.read_bytes())
    yield data
    with open(path, "r+b") as file:
        file.truncate(len(data))
        file.write(data)


def flip(path, offset, bit=0):
    descriptor = os.open(path, os.O_RDWR)
    byte = os.pread(descriptor, 1, offset)[0]
    os.pwrite(descriptor, bytes([byte ^ 1 << bit]), offset)
    os.close(descriptor)
