"""`weasel log`: dump, verify and repair, and that verify and a starting server agree about damage."""

import json
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import threading

import pytest

import log_reader
import logs
import wire
from logs import weasel
from test_commit import committed, key, status, version, write

JSON = ("log", "dump", "--format", "json")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A sound log; nobody changes it."""
    return logs.make(tmp_path_factory.mktemp("made"))


@pytest.fixture
def log(made, tmp_path):
    """A copy of it that may be changed."""
    return logs.copy(made[0], tmp_path)


def verify(directory):
    return weasel("log", "verify", directory)


def repair(directory, last, *arguments):
    return weasel("log", "repair", "--truncate-at", last, *arguments, directory)


def versions(result):
    return [entry["version"] for entry in map(json.loads, result.stdout.splitlines()) if entry["type"] == "commit"]


# ---- the command line ----


def test_help():
    assert "log " in weasel("--help").stdout
    for action, words in {
        (): ("dump", "verify", "repair", "DIRECTORY"),
        ("dump",): ("--from", "--to", "--format", "--keys-only", "Exit status"),
        ("verify",): ("DIRECTORY", "Exit status"),
        ("repair",): ("--truncate-at", "--yes", "removed-", "Exit status"),
    }.items():
        result = weasel("log", *action, "--help")
        assert result.returncode == 0 and result.stderr == ""
        for word in words:
            assert word in result.stdout, (action, word)


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "an action is missing"),
        (["explode"], "there is no action 'explode'"),
        (["dump"], "the directory of the log is missing"),
        (["dump", "a", "b"], "'b' is one word too many"),
        (["dump", "--frob", "json", "a"], "there is no option --frob"),
        (["dump", "--from", "-1", "a"], "'-1' is no version"),
        (["dump", "--from", "18446744073709551616", "a"], "is no version"),
        (["dump", "--to", "", "a"], "'' is no version"),
        (["dump", "--from", "6", "--to", "5", "a"], "--from 6 is behind --to 5"),
        (["dump", "--format", "xml", "a"], "--format xml: must be text or json"),
        (["dump", "--from"], "--from needs a value"),
        (["verify"], "the directory of the log is missing"),
        (["verify", "--quiet", "a"], "there is no option --quiet"),
        (["verify", "-q", "a"], "there is no option -q"),
        (["repair", "--yes", "a"], "--truncate-at V is missing"),
        (["repair", "--truncate-at", "x", "a"], "--truncate-at x: is no version"),
        (["repair", "--truncate-at", "1"], "the directory of the log is missing"),
    ],
)
def test_a_mistake_on_the_command_line_is_named(arguments, said):
    result = weasel("log", *arguments)
    assert result.returncode == 2
    assert said in result.stderr
    assert "--help" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("action", [["dump"], ["verify"], ["repair", "--truncate-at", "1"], ["repair", "--truncate-at", "1", "--yes"]])
def test_what_is_no_log(action, tmp_path):
    missing = tmp_path / "missing"
    result = weasel("log", *action, missing)
    assert result.returncode == 1
    assert f"{missing}: No such file or directory" in result.stderr
    assert not missing.exists()
    result = weasel("log", *action, tmp_path)
    assert result.returncode == 1
    assert f"{tmp_path} holds no commit log" in result.stderr
    assert list(tmp_path.iterdir()) == []
    other = tmp_path / "other.txt"
    other.write_text("hello")
    result = weasel("log", *action, other)
    assert result.returncode == 1
    assert "other.txt" in result.stderr


def test_a_path_that_leads_nowhere(log):
    result = verify(log / "state" / "x")
    assert result.returncode == 1
    assert f"{log}/state/x: Not a directory" in result.stderr
    (log / "loop").symlink_to("loop")
    result = verify(log / "loop")
    assert result.returncode == 1
    assert "Too many levels of symbolic links" in result.stderr


def test_a_full_disk_for_the_output_is_an_error(made):
    with open("/dev/full", "w") as full:
        result = subprocess.run([wire.BUILD / "weasel", *JSON, made[0]], stdout=full, stderr=subprocess.PIPE, timeout=wire.PATIENCE)
    assert result.returncode == 1
    assert b"No space left on device" in result.stderr


# ---- dump ----


@pytest.mark.parametrize("first, last", [(1, 1), (7, 13), (1000, 1300), (1999, 2000), (2000, 2000)])
def test_dump_from_and_to(made, first, last):
    result = weasel(*JSON, "--from", first, "--to", last, made[0])
    assert result.returncode == 0 and result.stderr == ""
    assert versions(result) == list(range(first, last + 1))


def test_dump_of_every_edge_of_a_segment(made):
    for path in logs.segments(made[0])[1:]:
        edge = int(path.name[7:27])
        for first in (edge - 1, edge, edge + 1):
            assert versions(weasel(*JSON, "--from", first, "--to", edge + 2, made[0])) == list(range(first, edge + 3))


def test_dump_beyond_the_end(made):
    directory, last = made
    result = weasel(*JSON, "--from", last, directory)
    assert versions(result) == [last]
    assert result.stderr == f"{directory} ends at version {last}\n"
    result = weasel(*JSON, "--from", last + 1, directory)
    assert result.returncode == 1
    assert f"ends at version {last}: there is none from {last + 1} on" in result.stderr


def test_dump_shows_fences_between_their_commits(made):
    entries = [json.loads(line) for line in weasel(*JSON, "--from", 50, "--to", 51, made[0]).stdout.splitlines()]
    assert [(entry["type"], entry["request_id"]) for entry in entries] == [("commit", "t-50"), ("fence", "nobody-51"), ("commit", "t-51")]


def test_dump_as_text(made):
    result = weasel("log", "dump", "--from", 21, "--to", 21, made[0])
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"segment commit-{1:020}.log: number 0 of log ")
    assert re.fullmatch(r"batch 4: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z, 5 records, \d+ bytes at offset \d+", lines[1])
    assert lines[2] == '  commit 21 "t-21"'
    text = "\\x15" * 200
    assert lines[3] == f'    write "key-21\\x00\\xff" = "{text}"... (777 bytes)'
    assert lines[4] == '    delete "del\\"\\\\key-21\\x00\\xff"'
    assert lines[5] == '    range_delete "key-21\\x00\\xff" to "key-21\\x00\\xff\\xff"'
    assert len(lines) == 6


def test_dump_of_keys_only(made):
    entry = json.loads(weasel(*JSON, "--from", 21, "--to", 21, "--keys-only", made[0]).stdout)
    assert entry["operations"][0] == {"type": "write", "key": logs.write(b"key-21\x00\xff", "")["key"], "value_bytes": 777}
    text = weasel("log", "dump", "--from", 21, "--to", 21, "--keys-only", made[0]).stdout
    assert '    write "key-21\\x00\\xff" (777 bytes)\n' in text


def test_one_segment_by_itself(made, tmp_path):
    second = logs.segments(made[0])[1]
    elsewhere = tmp_path / "copy of a segment"
    shutil.copy(second, elsewhere)
    first, following = (int(path.name[7:27]) for path in logs.segments(made[0])[1:3])
    for path in (second, elsewhere):
        assert versions(weasel(*JSON, path)) == list(range(first, following))
        result = verify(path)
        assert result.returncode == 0, result.stderr
        assert f"{path} is sound and ends at version {following - 1}" in result.stdout
    result = repair(second, 5, "--yes")
    assert result.returncode == 1
    assert "is a file: a log is repaired as a whole" in result.stderr


def test_dump_and_verify_while_a_server_writes(tmp_path):
    """What is read is a beginning of the log, and never called damaged."""
    directory = tmp_path / logs.NAME
    with logs.server(tmp_path) as server:
        stop = threading.Event()
        known = []

        def load():
            with server.connect() as connection:
                while not stop.is_set():
                    known.append(committed(connection, write(key(), "v" * 700)))

        writers = [threading.Thread(target=load) for _ in range(4)]
        for writer in writers:
            writer.start()
        wire.wait_for(lambda: len(known) > 50)
        try:
            for _ in range(8 if wire.SANITIZED else 25):
                at_least = max(known)
                result = weasel(*JSON, "--keys-only", directory)
                assert result.returncode == 0, result.stderr
                found = versions(result)
                assert found == list(range(1, len(found) + 1))
                assert len(found) >= at_least
                assert f"ends at version {len(found)}" in result.stderr
                result = verify(directory)
                assert result.returncode == 0, result.stderr
            assert repair(directory, 1, "--yes").stderr.count(f"is in use by the process with pid {server.pid}") == 1
        finally:
            stop.set()
            for writer in writers:
                writer.join()
        last = version(server)
    assert f"is sound and ends at version {last}" in verify(directory).stdout


def on_a_terminal(*arguments):
    """What the command writes to standard error when that is a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([wire.BUILD / "weasel", *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = b""
    while select.select([ours], [], [], wire.PATIENCE)[0]:
        try:
            piece = os.read(ours, 4096)
        except OSError:
            break  # the other side is closed
        shown += piece
    os.close(ours)
    assert process.wait(wire.PATIENCE) == 0
    return shown.decode()


@pytest.mark.parametrize("action", ["dump", "verify"])
def test_progress_on_a_terminal(made, action):
    shown = on_a_terminal("log", action, made[0])
    assert re.search(r"\r\x1b\[K +\d+ %  \d+ of \d+ MiB", shown)
    # It is wiped away at the end.
    assert "%" not in shown.rpartition("\r\x1b[K")[2]


# ---- verify ----


def test_verify_tells_totals(made):
    directory, last = made
    log = log_reader.Log(directory)
    result = verify(directory)
    assert result.returncode == 0 and result.stderr == ""
    lines = dict(re.split(r"  +", line, maxsplit=1) for line in result.stdout.splitlines()[1:])
    assert result.stdout.splitlines()[0] == f"{directory} is sound and ends at version {last}"
    assert lines["log"] == f"{log.state.log_id:016x}"
    assert lines["starts"] == "1"
    assert lines["segments"] == f"{len(log.segments)} (number 0 to {len(log.segments) - 1})"
    used = sum(segment.end - log_reader.HEADER for segment in log.segments)
    assert lines["bytes"] == f"{len(log.segments) << 20}, {used} of them in batches"
    assert lines["batches"] == str(sum(len(segment.batches) for segment in log.segments))
    assert lines["transactions"] == str(last)
    assert lines["fences"] == str(sum(record.type == "fence" for record in log.records))
    assert lines["versions"] == f"1 to {last}"
    assert lines["from"] <= lines["to"]


def refused(directory, *said):
    """Verify and a start both refuse, name the place, and change nothing."""
    before = logs.contents(directory)
    result = verify(directory)
    assert result.returncode == 1, result.stdout
    for words in said:
        assert words in result.stderr, (words, result.stderr)
    assert "is damaged in" in result.stdout
    assert logs.contents(directory) == before
    errors = logs.start_that_fails(directory)
    for words in said:
        assert words in errors, (words, errors)
    assert logs.contents(directory) == before
    with pytest.raises((log_reader.Damaged, FileNotFoundError)):
        log_reader.Log(directory)
    return errors


SEGMENT_FIELDS = {"magic": 0, "format": 8, "size": 12, "log id": 16, "number": 24, "version": 32, "batch": 40, "bytes": 48, "checksum": 56}


@pytest.mark.parametrize("field", SEGMENT_FIELDS)
@pytest.mark.parametrize("which", [0, 1, -1])
def test_a_flip_in_a_segment_header(log, field, which):
    path = logs.segments(log)[which]
    logs.flip(path, SEGMENT_FIELDS[field])
    refused(log, path.name, "offset 0")


BATCH_FIELDS = {"magic": 0, "count": 4, "bytes": 8, "number": 16, "first": 24, "last": 32, "time": 40, "payload hash": 48, "checksum": 56}
RECORD_FIELDS = {
    "bytes": 0,
    "type": 4,
    "id bytes": 5,
    "zero": 6,
    "version": 8,
    "hash": 16,
    "id": 24,
    "operation type": 30,
    "key bytes": 31,
    "value bytes": 35,
    "key": 39,
    "value": 60,
}
FIELDS = {**BATCH_FIELDS, **{f"record {name}": 64 + offset for name, offset in RECORD_FIELDS.items()}}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("which, batch", [(1, 3), (1, -1), (-1, 0), (-1, 7)])
def test_a_flip_in_a_batch(log, field, which, batch):
    segment = log_reader.Log(log).segments[which]
    place = segment.batches[batch]
    logs.flip(segment.path, place.offset + FIELDS[field])
    errors = refused(log, f"{segment.path.name}, offset {place.offset}", f"after version {place.first_version - 1}")
    assert f"weasel log repair --truncate-at {place.first_version - 1} --yes {log}" in errors


@pytest.mark.parametrize("offset", [0, 8, 12, 16, 24, 32, 40, 48, 52, 56, 64, 72, 5000, 8184])
def test_a_flip_in_state(log, offset):
    logs.flip(log / "state", offset)
    refused(log, "the file `state` is damaged")


def test_state_is_gone(log):
    (log / "state").unlink()
    refused(log, "file `state`")


def test_state_has_another_size(log):
    with open(log / "state", "ab") as file:
        file.write(b"\0")
    refused(log, "the file `state` is damaged")


def test_a_missing_segment(log):
    paths = logs.segments(log)
    paths[1].unlink()
    refused(log, f"a segment is missing before {paths[2].name}: it is number 2")


def test_the_first_segment_is_missing(log):
    paths = logs.segments(log)
    paths[0].unlink()
    refused(log, f"segment number 0 is missing: the first one here is {paths[1].name}, number 1")
    result = repair(log, 1000, "--yes")
    assert result.returncode == 1
    assert "there is no sound segment to begin with (segment number 0 is missing" in result.stderr


def change_state(log, offset, value):
    """Of `state`, with the right checksum."""
    with logs.patched(log / "state") as data:
        struct.pack_into("<Q", data, offset, value)
        struct.pack_into("<Q", data, 8184, log_reader.xxh3(bytes(data[:8184])))


def test_what_retention_has_left_behind_is_no_part_of_the_log(log, made, tmp_path):
    paths = logs.segments(log)
    change_state(log, 40, 1)
    first = int(paths[1].name[7:27])
    result = verify(log)
    assert result.returncode == 0, result.stderr
    assert f"versions      {first} to {made[1]}" in result.stdout
    assert "leftovers     1 segments" in result.stdout
    assert versions(weasel(*JSON, log)) == list(range(first, made[1] + 1))
    result = repair(log, first - 2)
    assert f"cannot be cut behind version {first - 2}, since it begins with version {first}" in result.stderr
    with logs.server(tmp_path) as server:
        assert version(server) == made[1]
    assert logs.segments(log) == paths[1:]


def test_verify_while_a_server_removes_segments(tmp_path):
    directory = tmp_path / logs.NAME
    retention = ("retention.max_bytes=4194304", "log.segment_bytes=1048576")
    with wire.weaseldb(*logs.SETTINGS, *retention, cwd=tmp_path) as server, server.connect() as connection:
        stop = threading.Event()
        last = committed(connection, write(key()))

        def load():
            while not stop.is_set():
                committed(connection, write(key(), "v" * 40000))

        writer = threading.Thread(target=load)
        writer.start()
        try:
            while server.get("/v1/version").json()["log_start_version"] < last + 500:
                result = verify(directory)
                assert result.returncode == 0, result.stderr
        finally:
            stop.set()
            writer.join()


def test_the_last_segment_is_missing(log):
    paths = logs.segments(log)
    paths[-1].unlink()
    refused(log, f"segment number {len(paths) - 1} is missing", paths[-2].name)


def test_all_segments_are_missing(log):
    for path in logs.segments(log):
        path.unlink()
    before = logs.contents(log)
    result = verify(log)
    assert result.returncode == 1
    assert "all segments are missing" in result.stderr
    assert "all segments are missing" in logs.start_that_fails(log)
    assert logs.contents(log) == before


def test_a_segment_of_another_log(log, tmp_path_factory):
    other, _ = logs.make(tmp_path_factory.mktemp("other"))
    path = logs.segments(log)[1]
    shutil.copy(logs.segments(other)[1], path)
    refused(log, f"{path.name}: it belongs to another log")


def test_a_segment_of_a_later_format(log):
    path = logs.segments(log)[1]
    with logs.patched(path) as data:
        struct.pack_into("<I", data, 8, 2)
    refused(log, f"{path.name}: it was written by a later version of this program")


def test_swapped_segments(log):
    first, second = logs.segments(log)[1:3]
    spare = log / "spare"
    first.rename(spare)
    second.rename(first)
    spare.rename(second)
    refused(log, f"{first.name} holds a segment that begins with version {int(second.name[7:27])}: it has been renamed")


def test_a_batch_in_another_place(log):
    """Whole, and with all its checksums right, but not where it was written."""
    segment = log_reader.Log(log).segments[1]
    here, there = segment.batches[3], segment.batches[9]
    with logs.patched(segment.path) as data:
        stolen = bytes(data[there.offset : there.end])
        data[here.offset : here.offset + len(stolen)] = stolen
    refused(log, f"{segment.path.name}, offset {here.offset}")


@pytest.mark.parametrize("which", [1, -1])
@pytest.mark.parametrize("keep", [0, 63, 64, 3000, 1 << 18])
def test_a_segment_that_was_cut_short(log, which, keep):
    path = logs.segments(log)[which]
    os.truncate(path, keep)
    refused(log, path.name)


def test_a_last_segment_that_has_lost_only_zeros(log):
    segment = log_reader.Log(log).segments[-1]
    os.truncate(segment.path, len(segment.data) - 8)
    refused(log, f"{segment.path.name}, offset {segment.end}", "has been cut short or grown")


def test_zeros_where_batches_were(log):
    segment = log_reader.Log(log).segments[1]
    gone = segment.batches[-2].offset
    with logs.patched(segment.path) as data:
        data[gone:] = bytes(len(data) - gone)
    refused(log, f"{segment.path.name}, offset {gone}")


def test_a_torn_end_is_no_damage(log, made, tmp_path):
    segment = log_reader.Log(log).segments[-1]
    last = made[1]
    with logs.patched(segment.path) as data:
        torn = segment.batches[-1]
        data[torn.end - 9] ^= 1
        data[torn.end : torn.end + 5] = b"BTCH."
    expected = torn.first_version - 1
    result = verify(log)
    assert result.returncode == 0, result.stderr
    assert f"ends at version {expected}" in result.stdout
    assert f"bytes behind offset {torn.offset} of {segment.path.name}" in result.stdout
    assert versions(weasel(*JSON, log)) == list(range(1, expected + 1))
    with logs.server(tmp_path) as server:
        assert version(server) == expected < last + 1
    assert not log_reader.Log(log).torn


def test_verify_goes_on_behind_damage(log, made):
    segments = log_reader.Log(log).segments
    one, two = segments[0].batches[5], segments[2].batches[2]
    logs.flip(segments[0].path, one.offset + 70)
    logs.flip(segments[2].path, two.offset + 70)
    result = verify(log)
    assert result.returncode == 1
    places = [line for line in result.stderr.splitlines() if "no valid batch" in line]
    assert len(places) == len(result.stderr.splitlines()) == 2
    assert f"{segments[0].path.name}, offset {one.offset}" in places[0]
    assert f"{segments[2].path.name}, offset {two.offset}" in places[1]
    lost = sum(batch.last_version - batch.first_version + 1 for batch in (one, two))
    assert re.search(rf"\ntransactions  {made[1] - lost}\n", result.stdout)


def test_dump_ends_at_damage(log):
    segment = log_reader.Log(log).segments[1]
    damaged = segment.batches[4]
    logs.flip(segment.path, damaged.offset + 70)
    result = weasel(*JSON, log)
    assert result.returncode == 1
    assert versions(result) == list(range(1, damaged.first_version))
    assert f"{segment.path.name}, offset {damaged.offset}" in result.stderr
    assert "weasel log verify" in result.stderr
    # What lies behind can be had, too.
    behind = int(logs.segments_by_name(log)[2].name[7:27])
    assert versions(weasel(*JSON, "--from", behind, "--to", behind + 3, log)) == list(range(behind, behind + 4))


# ---- repair ----


def holds(directory, last):
    """The log is sound, ends with `last`, and a server goes on from there."""
    log = log_reader.Log(directory)
    assert log.version == last
    commits = [record for record in log.records if record.type == "commit"]
    assert [record.request_id for record in commits] == [f"t-{number}" for number in range(1, last + 1)]
    assert f"is sound and ends at version {last}" in verify(directory).stdout
    with logs.server(directory.parent) as server:
        assert version(server) == last
        assert logs.fill(server, 2, last + 1) == last + 2 * logs.PER_BATCH
        if last > 0:
            assert status(server, f"t-{last}")["version"] == last
    assert log_reader.Log(directory).version == last + 2 * logs.PER_BATCH


def test_repair_without_yes_changes_nothing(log):
    segments = log_reader.Log(log).segments
    damaged = segments[1].batches[4]
    logs.flip(segments[1].path, damaged.offset + 70)
    before = logs.contents(log)
    names = set(os.listdir(log))
    result = repair(log, damaged.first_version - 1)
    assert result.returncode == 3
    assert "nothing was changed, because --yes was not given" in result.stderr
    assert f"Found: {segments[1].path.name}, offset {damaged.offset}" in result.stdout
    assert f"cuts {segments[1].path.name} at offset {damaged.offset}, behind version {damaged.first_version - 1}" in result.stdout
    for segment in segments[2:]:
        assert f"removes {segment.path.name}\n" in result.stdout
    lost = segments[-1].batches[-1].last_version - damaged.last_version
    assert f"gives up {lost} transactions that can still be read" in result.stdout
    assert logs.contents(log) == before and set(os.listdir(log)) == names


def test_repair_as_the_refusal_says(log):
    """What the server prints can be run as it stands."""
    segments = log_reader.Log(log).segments
    damaged = segments[1].batches[4]
    logs.flip(segments[1].path, damaged.offset + 70)
    before = logs.contents(log)
    command = re.search(r"weasel log repair (--truncate-at \d+ --yes \S+?)\"", logs.start_that_fails(log))[1]
    result = weasel("log", "repair", *command.split())
    assert result.returncode == 0, result.stderr
    (removed,) = log.glob("removed-*")
    assert f"are in {removed}" in result.stdout
    kept_aside = logs.contents(removed)
    assert kept_aside == {segment.path.name: before[segment.path.name] for segment in segments[1:]}
    assert not (log / "repair.tmp").exists()
    holds(log, damaged.first_version - 1)
    assert logs.contents(removed) == kept_aside


@pytest.mark.parametrize("into", range(logs.PER_BATCH + 1))
def test_repair_within_a_batch(log, into):
    segments = log_reader.Log(log).segments
    batch = segments[1].batches[4]
    last = batch.first_version - 1 + into
    result = repair(log, last, "--yes")
    assert result.returncode == 0, result.stderr
    assert (f"writes batch {batch.number} there anew, with the first {into} of its records" in result.stdout) == (0 < into < logs.PER_BATCH)
    holds(log, last)


def test_repair_at_each_end_of_segments(log, made):
    for segment in reversed(log_reader.Log(log).segments):  # the first one's is the beginning of all
        result = repair(log, segment.first_version - 1, "--yes")
        assert result.returncode == 0, result.stderr
        assert log_reader.Log(log).version == segment.first_version - 1
    holds(log, 0)


def test_repair_of_a_sound_log_has_nothing_to_do(log, made):
    before = logs.contents(log)
    for arguments in ((), ("--yes",)):
        result = repair(log, made[1], *arguments)
        assert result.returncode == 0
        assert "is sound and ends at version" in result.stdout
        assert logs.contents(log) == before
    assert not list(log.glob("removed-*"))


def test_repair_beyond_what_is_there(log, made):
    for arguments in ((), ("--yes",)):
        result = repair(log, made[1] + 1, *arguments)
        assert result.returncode == 1
        assert f"only behind one from 0 to {made[1]}" in result.stderr
    segment = log_reader.Log(log).segments[1]
    logs.flip(segment.path, segment.batches[0].offset)
    before = logs.contents(log)
    result = repair(log, segment.first_version, "--yes")
    assert result.returncode == 1
    assert f"only behind one from 0 to {segment.first_version - 1}" in result.stderr
    assert logs.contents(log) == before


def test_repair_of_a_first_segment_without_a_header(log):
    logs.flip(logs.segments(log)[0], 3)
    before = logs.contents(log)
    result = repair(log, 5, "--yes")
    assert result.returncode == 1
    assert "there is no sound segment to begin with" in result.stderr
    assert "restore a backup" in result.stderr
    assert logs.contents(log) == before


DAMAGES = {
    "a header": lambda paths: logs.flip(paths[2], 20),
    "a missing segment": lambda paths: paths[2].unlink(),
    "a missing last segment": lambda paths: paths[-1].unlink(),
    "swapped segments": lambda paths: (paths[1].rename(paths[0].parent / "x"), paths[2].rename(paths[1]), (paths[0].parent / "x").rename(paths[2])),
    "a short last segment": lambda paths: os.truncate(paths[-1], 100000),
    "state": lambda paths: logs.flip(paths[0].parent / "state", 20),
    "no state": lambda paths: (paths[0].parent / "state").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_repair_of_each_damage(log, made, damage):
    DAMAGES[damage](logs.segments(log))
    logs.start_that_fails(log)
    refusal = repair(log, made[1] + 1)
    assert refusal.returncode == 1
    last = int(re.search(r"only behind one from 0 to (\d+)", refusal.stderr)[1])
    assert 500 < last <= made[1]
    result = repair(log, last, "--yes")
    assert result.returncode == 0, result.stderr
    holds(log, last)


def test_repair_takes_policies_back(log, tmp_path):
    """What comes in place of what is cut off must not go because its forerunner was read."""
    with logs.server(tmp_path) as server:
        for name, number in (("old", 100), ("new", 1500)):
            body = json.dumps({"version": number}).encode()
            answer = server.get(f"/v1/retention/{name}", "PUT", "Content-Type: application/json\r\n", body)
            assert answer.status in (200, 201), answer.body
    assert repair(log, 1000, "--yes").returncode == 0
    assert log_reader.Log(log).state.policies == {"new": 1000, "old": 100}
    holds(log, 1000)


def test_a_state_made_anew_repeats_no_epoch(log, made):
    epoch = log_reader.Log(log).state.epoch
    (log / "state").unlink()
    result = repair(log, made[1], "--yes")
    assert result.returncode == 0, result.stderr
    assert "makes the file `state` anew" in result.stdout
    assert log_reader.Log(log).state.epoch > epoch + 1000000


@pytest.mark.skipif(wire.SANITIZED, reason="sanitizers want to be the first library")
def test_repair_on_a_failing_disk_can_be_repeated(log, tmp_path):
    trigger = tmp_path / "trigger"
    faulty = {**os.environ, "LD_PRELOAD": str(wire.BUILD / "tests/libbad_disk.so"), "BAD_DISK": str(trigger)}
    before = logs.contents(log)
    trigger.write_text("sync")
    result = weasel("log", "repair", "--truncate-at", 7, "--yes", log, env=faulty)
    assert result.returncode == 1
    assert "Input/output error. The log is as it was" in result.stderr
    assert logs.contents(log) == before
    assert not list(log.glob("removed-*"))
    trigger.unlink()
    assert repair(log, 7, "--yes").returncode == 0
    holds(log, 7)


def test_a_repair_that_was_cut_off_is_told_of(log):
    change_state(log, 32, 2**64 - 1)
    for text in (verify(log).stderr, logs.start_that_fails(log)):
        assert "a repair of this log was cut off; repeat the `weasel log repair`" in text
    assert repair(log, 9, "--yes").returncode == 0
    holds(log, 9)
