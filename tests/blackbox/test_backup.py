"""The procedures of docs/operations.md: copying twice, restoring, and what finished segments promise."""

import hashlib
import pathlib
import subprocess
import threading

import wire
from test_commit import commit, committed, key, status, version, write

SMALL = ("log.segment_bytes=1048576", "http.max_body_bytes=262144", "commit.max_operations=1000")
DATA = "weaseldb-data"


class Load:
    """Clients that commit until they are told to stop, or the server goes; `known` is what was acknowledged."""

    def __init__(self, server, clients=3):
        self.server, self.known, self.stopping = server, {}, threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self, client):
        try:
            with self.server.connect() as connection:
                for i in range(1000000):
                    if self.stopping.is_set():
                        return
                    response = commit(connection, write(key(), "v" * 20000), request_id=f"{client}-{i}")
                    assert response.status == 200, response.body
                    self.known[f"{client}-{i}"] = response.json()["version"]
        except (OSError, wire.Closed):
            pass  # it drains

    def end(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


def copy(source, target):
    subprocess.run(["cp", "-a", "--update", f"{source}/.", str(target)], check=True)


def test_a_copy_made_twice_is_whole(tmp_path):
    home, backup, restored = tmp_path / "home", tmp_path / "backup", tmp_path / "restored"
    for directory in (home, backup, restored):
        directory.mkdir()
    with wire.weaseldb(*SMALL, cwd=home) as server:
        load = Load(server)
        wire.wait_for(lambda: server.metric("weaseldb_log_segments") >= 4)
        copy(home / DATA, backup)  # of files that change meanwhile
        many = len(load.known)
        wire.wait_for(lambda: len(load.known) > many + 50)
        server.signal()
        load.end()
        assert server.wait() == 0
    copy(home / DATA, backup)
    with wire.weaseldb(*SMALL, cwd=home) as server:
        later = committed(server, write(key()), request_id="later")  # what the backup does not know

    (restored / DATA).mkdir()
    copy(backup, restored / DATA)
    with wire.weaseldb(*SMALL, cwd=restored) as server:
        assert version(server) == later - 1 == max(load.known.values())
        with server.connect() as connection:
            for name, at in load.known.items():
                assert status(connection, name) == {"request_id": name, "status": "committed", "version": at}
        assert status(server, "later")["status"] == "not_committed"


def test_a_copy_may_have_what_retention_removes_meanwhile(tmp_path):
    home, restored = tmp_path / "home", tmp_path / "restored"
    home.mkdir()
    (restored / DATA).mkdir(parents=True)
    bounded = (*SMALL, "retention.max_bytes=4194304", "commit.request_id_window_sec=1", "commit.conflict_window_sec=1")
    with wire.weaseldb(*bounded, cwd=home) as server:
        load = Load(server)
        wire.wait_for(lambda: server.metric("weaseldb_log_segments") >= 3)
        copy(home / DATA, restored / DATA)
        copied = sorted((restored / DATA).glob("commit-*.log"))
        wire.wait_for(lambda: not (home / DATA / copied[1].name).exists())
        load.end()
        server.signal()
        assert server.wait() == 0
    copy(home / DATA, restored / DATA)
    with wire.weaseldb(*bounded, cwd=home) as server, wire.weaseldb(*bounded, cwd=restored) as other:
        assert version(server) == version(other) == max(load.known.values())
        assert server.get("/v1/version").json()["log_start_version"] == other.get("/v1/version").json()["log_start_version"]
        assert not copied[0].exists() and not copied[1].exists()


def test_finished_segments_never_change(tmp_path):
    def hashes():
        segments = sorted(pathlib.Path(tmp_path / DATA).glob("commit-*.log"))
        return {path.name: hashlib.sha256(path.read_bytes()).digest() for path in segments[:-1]}

    with wire.weaseldb(*SMALL, cwd=tmp_path) as server:
        load = Load(server, clients=1)
        wire.wait_for(lambda: server.metric("weaseldb_log_segments") >= 3)
        before = hashes()
        wire.wait_for(lambda: server.metric("weaseldb_log_segments") >= 5)
        load.end()
        assert len(before) >= 2 and before.items() <= hashes().items()
    with wire.weaseldb(*SMALL, cwd=tmp_path):
        assert before.items() <= hashes().items()
