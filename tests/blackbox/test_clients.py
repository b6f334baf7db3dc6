"""Clients of the feed that are not ours, through restarts of the server under load: curl, a browser's EventSource, npm's."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading

import pytest

import browser
import wire
from test_weasel import weasel

CLIENTS = wire.ROOT / "tests/clients"
POST = "Content-Type: application/json\r\n"


class Restarted:
    """A server on one log and one port; commits go on and on, also while it is away."""

    def __init__(self, directory):
        self.log, self.port, self.over = directory / "log", 0, threading.Event()
        self.version, self.failure = 0, None
        self.begin()
        self.url = f"http://127.0.0.1:{self.port}"
        self.writer = threading.Thread(target=self._write)
        self.writer.start()

    def begin(self):
        self.server = wire.weaseldb(f'log.directory="{self.log}"', f"http.port={self.port}")
        self.address = self.server.address
        self.port = self.address[1]

    def end(self, how):
        if how == signal.SIGKILL:
            self.server.expect_exit = -signal.SIGKILL
            self.server.process.kill()
        self.server.stop()

    def _write(self):
        number = 0
        while not self.over.is_set():
            try:
                with wire.Connection(self.address) as connection:
                    while not self.over.is_set():
                        number += 1
                        key = f"a2V5LTAx{number % 50:04}"
                        body = json.dumps({"operations": [{"type": "write", "key": key, "value": "YWJj" * (number % 400)}]})
                        answer = connection.get("/v1/commit", "POST", POST, body.encode())
                        if answer.status == 200:
                            self.version = answer.json()["version"]
            except (wire.Closed, OSError):
                self.over.wait(0.01)  # the server is away

    def stop_writing(self):
        self.over.set()
        self.writer.join()

    def close(self):
        self.stop_writing()
        if self.server.process.poll() is None:
            self.server.stop()


@pytest.fixture
def restarted(tmp_path):
    running = Restarted(tmp_path)
    yield running
    running.close()


def dumped(log):
    """[(version, operations)] of all that was ever committed."""
    result = weasel("log", "dump", "--format", "json", log)
    assert result.returncode == 0, result.stderr
    entries = map(json.loads, result.stdout.splitlines())
    return [(entry["version"], entry["operations"]) for entry in entries if entry["type"] == "commit"]


def follow_through_restarts(restarted, client):
    """`client.seen()` gives the data of the transactions that it has had so far, as texts."""

    def has(version):
        wire.wait_for(lambda: client.last() >= version, lambda: f"{client.last()} of {version}; {client.describe()}")

    for how in (signal.SIGTERM, signal.SIGKILL):
        has(restarted.version + 20)
        restarted.end(how)
        restarted.begin()
    has(restarted.version + 20)
    restarted.stop_writing()
    has(restarted.version)
    seen = [json.loads(text) for text in client.seen()]
    assert [one["prev_version"] for one in seen] == list(range(len(seen)))
    assert [(one["version"], one["operations"]) for one in seen] == dumped(restarted.log)


# ---- curl ----


class Curl:
    """What docs/feed.md tells to do with `curl -N`: run again after the id of the last whole event."""

    def __init__(self, url):
        self.url, self.over, self.transactions, self.id, self.runs = url, threading.Event(), [], "0", 0
        self.process = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while not self.over.is_set():
            self.runs += 1
            command = ["curl", "-sSN", "-H", f"Last-Event-ID: {self.id}", self.url + "/v1/subscribe"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as self.process:
                text = b""
                while data := os.read(self.process.stdout.fileno(), 1 << 16):
                    *events, text = (text + data).split(b"\n\n")
                    for event in events:
                        self._take(event.decode())
            self.over.wait(0.02)

    def _take(self, event):
        fields = dict(line.split(": ", 1) for line in event.split("\n") if line)
        if fields.get("event") == "transaction":
            self.transactions.append(fields["data"])
        self.id = fields.get("id", self.id)

    def seen(self):
        return self.transactions

    def last(self):
        return int(self.id)

    def describe(self):
        return f"{self.runs} runs"

    def close(self):
        self.over.set()
        while self.thread.is_alive():
            self.process.kill()
            self.thread.join(0.05)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_curl_follows_through_restarts(restarted):
    client = Curl(restarted.url)
    try:
        follow_through_restarts(restarted, client)
        assert client.runs >= 3
    finally:
        client.close()


# ---- a browser's EventSource ----

FOLLOW = """
  window.feed = {transactions: [], last: 0, opened: 0, closed: false};
  window.source = new EventSource('/v1/subscribe?after=0');
  source.addEventListener('open', () => feed.opened++);
  source.addEventListener('transaction', (event) => { feed.transactions.push(event.data); feed.last = +event.lastEventId; });
  source.addEventListener('progress', (event) => { feed.last = +event.lastEventId; });
  source.addEventListener('error', () => { feed.closed = source.readyState === EventSource.CLOSED; });
"""


class Page:
    def __init__(self, address):
        self.page = browser.Browser()
        self.page.open(address, "/livez")
        self.page.evaluate(FOLLOW)

    def seen(self):
        return self.page.evaluate("feed.transactions")

    def last(self):
        assert not self.page.evaluate("feed.closed"), "it has given up"
        return self.page.evaluate("feed.last")

    def describe(self):
        return self.page.evaluate("`opened ${feed.opened} times, state ${source.readyState}`")

    def close(self):
        self.page.close()


@pytest.mark.skipif(browser.PROGRAM is None, reason="there is no Chromium")
def test_a_browsers_eventsource_follows_through_restarts(restarted):
    client = Page(restarted.address)
    try:
        follow_through_restarts(restarted, client)
        assert client.page.evaluate("feed.opened") == 3
    finally:
        client.close()


# ---- an EventSource of npm's ----


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """The directory with the client and what it needs, or a skipped test."""
    if shutil.which("node") is None:
        pytest.skip("there is no node")
    node = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout
    if int(re.match(r"v(\d+)", node).group(1)) < 18:
        pytest.skip(f"node {node.strip()} is older than what the client wants")
    directory = tmp_path_factory.mktemp("clients")
    fetched = subprocess.run([wire.ROOT / "scripts/fetch-page", directory, "20", CLIENTS], capture_output=True, text=True)
    if fetched.returncode == 3:
        pytest.skip("npm's eventsource cannot be fetched: " + fetched.stderr.strip().split("\n")[-1])
    assert fetched.returncode == 0, fetched.stderr
    shutil.copy(CLIENTS / "follow.mjs", directory)
    return directory


class Npm:
    def __init__(self, directory, url):
        self.transactions, self.id, self.names = [], 0, []
        self.process = subprocess.Popen(
            ["node", directory / "follow.mjs", url + "/v1/subscribe?after=0"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self):
        for line in self.process.stdout:
            name, last, data = json.loads(line)
            self.names.append(name)
            if name == "transaction":
                self.transactions.append(data)
            if name in ("transaction", "progress"):
                self.id = int(last)

    def seen(self):
        return self.transactions

    def last(self):
        assert self.process.poll() is None, "it has given up: " + self.describe()
        return self.id

    def describe(self):
        return f"{[name for name in self.names if name not in ('transaction', 'progress')]}"

    def close(self):
        self.process.kill()
        self.process.communicate()
        self.thread.join()


def test_npms_eventsource_follows_through_restarts(restarted, modules):
    client = Npm(modules, restarted.url)
    try:
        follow_through_restarts(restarted, client)
        assert client.names.count("open") == 3
        assert client.names.count("end") == 1, "from the server that was told to end"
    finally:
        client.close()
