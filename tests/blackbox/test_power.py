"""The power is cut under load, again and again: every acknowledged commit counts, none twice."""

import random
import signal
import threading

import pytest

import wire
from log_reader import Log
from logs import SETTINGS
from power import Disk
from test_commit import commit, status, version, write

pytestmark = pytest.mark.skipif(wire.SANITIZED, reason="sanitizers want to be the first library")
CLIENTS = 6


class Lost(Exception):
    """Something that was acknowledged is not so any more."""


class Known:
    """What the clients were told."""

    def __init__(self):
        self.committed = {}  # request id: version, value
        self.sent = {}  # request id: value; without an answer so far
        self.fenced = set()


def load(server, known, number, answers, before_the_cut=lambda: None):
    """Commits and questions, until the power is cut behind so many answers."""
    enough = threading.Event()
    failures = []
    got = [0]

    def client(which):
        chance = random.Random(f"{number}-{which}")
        try:
            with server.connect() as connection:
                for count in range(100000):
                    name, mine = f"p{number}-{which}-{count}", chance.randbytes(chance.choice((1, 100, 3000, 12000))).hex()
                    if count % 16 == 15:
                        if status(connection, f"{name}-nobody")["status"] == "not_committed":
                            known.fenced.add(f"{name}-nobody")
                        continue
                    known.sent[name] = mine
                    response = commit(connection, write(name, mine), request_id=name)
                    assert response.status == 200, response.body
                    known.committed[name] = (response.json()["version"], known.sent.pop(name))
                    got[0] += 1
                    if got[0] >= answers:
                        enough.set()
        except (OSError, wire.Closed):
            pass
        except BaseException as failure:  # told below
            failures.append(failure)
            enough.set()

    threads = [threading.Thread(target=client, args=(which,)) for which in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        assert enough.wait(wire.PATIENCE), "no answers come"
        before_the_cut()
    finally:
        server.process.kill()
        server.expect_exit = -signal.SIGKILL
        for thread in threads:
            thread.join()
    server.process.wait()
    assert not failures, failures


def check(server, known):
    """Everything that was acknowledged still is; what was in doubt is decided, once."""
    with server.connect() as connection:
        for name, (at, mine) in known.committed.items():
            told = status(connection, name)
            if (told["status"], told.get("version")) != ("committed", at):
                raise Lost(f"{name} was committed as {at}, and is {told}")
        for name in known.fenced:
            if status(connection, name)["status"] != "not_committed":
                raise Lost(f"{name} was not committed, and now is")
        start = version(connection)
        some = list(known.committed.items())[-20:]
        for name, (at, mine) in some:
            answer = commit(connection, write(name, mine), request_id=name).json()
            assert (answer["status"], answer["version"]) == ("committed", at), name
        assert version(connection) == start, "a repeat committed again"
        for name, mine in list(known.sent.items()):
            answer = commit(connection, write(name, mine), request_id=name).json()
            assert answer["status"] == "committed", (name, answer)
            known.committed[name] = (answer["version"], known.sent.pop(name))
        for name in list(known.fenced)[:5]:
            answer = commit(connection, write(name, "late"), request_id=name)
            assert answer.json().get("reason") == "fenced", answer.body


def check_log(directory, known):
    """The files say the same, to a reader that shares nothing with the server."""
    records = {}
    for record in Log(directory).records:
        if record.type == "commit":
            assert record.request_id not in records, f"{record.request_id} stands twice in the log"
            records[record.request_id] = record
    for name, (at, mine) in known.committed.items():
        record = records[name]
        assert record.version == at
        assert [(each.key, each.value) for each in record.operations] == [(name.encode(), mine.encode())]


@pytest.mark.parametrize("stages", [1, 4])
def test_power_cuts_under_load(tmp_path, stages, tell):
    rounds = max(3, round(12 * wire.SCALE))
    settings = (*SETTINGS, f"http.pipelines.commit_status.threads={stages}")
    chance = random.Random(f"power-{stages}")
    disk, known, kills = Disk(tmp_path), Known(), 0
    for number in range(rounds):
        with disk.server(*settings) as server:
            check(server, known)
            load(server, known, number, chance.randrange(1, 250))
        if chance.random() < 0.3:  # only the server ends, and the next one tells what it finds
            kills += 1
            with disk.server(*settings) as server:
                check(server, known)
                server.process.kill()
                server.expect_exit = -signal.SIGKILL
        disk.cut(chance)
    with disk.server(*settings) as server:
        check(server, known)
    check_log(disk.log, known)
    tell(f"{rounds} power cuts under load and {kills} kills between them, {len(known.committed)} commits acknowledged, 0 lost,"
         f" {disk.lost_sectors} sectors not kept")
    assert disk.lost_sectors > 0, "no cut took anything away: the rig does not work"
    assert len(known.committed) > rounds * 10


@pytest.mark.parametrize("call, answers", [("sync", 15), ("directory", 250)])
def test_a_disk_that_does_not_sync_is_noticed(tmp_path, call, answers):
    """The rig is judged: when a sync does nothing, commits are lost, and the checks above say so. (The names matter
    only for a second segment, so that takes more commits.)"""
    disk, known = Disk(tmp_path), Known()
    with disk.server(*SETTINGS) as server:
        disk.lies.write_text(call)
        load(server, known, 0, answers)
    disk.cut(random.Random(call), keep=0)
    disk.lies.unlink()
    assert len(known.committed) >= answers
    with disk.server(*SETTINGS) as server, pytest.raises(Lost, match="was committed as"):
        check(server, known)
