"""A strict reader of HTTP/1.1 responses over a socket, and a server under test."""

import json
import os
import pathlib
import re
import resource
import select
import signal
import socket
import subprocess
import tempfile
import time

import openapi

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("WEASELDB_BUILD_DIR", ROOT / "build"))
SCALE = float(os.environ.get("WEASELDB_TEST_SCALE", "1"))
SANITIZED = "san" in BUILD.name
DASHBOARD = 'id="charts"' in (BUILD / "src/page/page.html").read_text()
PATIENCE = 20  # seconds to wait for what must come; never how long something should take

DATE = re.compile(r"^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT$")


documented = set()  # addresses of servers that api/openapi.yaml describes


class Closed(Exception):
    """The connection ended where a response should have stood."""


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def header(self, name):
        values = [v for n, v in self.headers if n.lower() == name.lower()]
        assert len(values) <= 1, f"{name} stands {len(values)} times"
        return values[0] if values else None

    def json(self):
        return json.loads(self.body)


class Connection:
    def __init__(self, address, timeout=PATIENCE):
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX)
        else:
            self.socket = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        self.socket.settimeout(timeout)
        self.socket.connect(address)
        if not isinstance(address, str):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.sent = b"" if address in documented else None  # what has not been answered yet
        self.exchange = None  # the last one, when it is to be held against the document

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Closes with a reset instead of the usual end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def send(self, data):
        if self.sent is not None:
            self.sent += data
        self.socket.sendall(data)

    def _more(self):
        data = self.socket.recv(1 << 16)
        if not data:
            raise Closed(f"end of the connection after {self.buffer[-200:]!r}")
        self.buffer += data

    def _until(self, mark):
        while mark not in self.buffer:
            self._more()
        head, _, self.buffer = self.buffer.partition(mark)
        return head

    def _exactly(self, size):
        while len(self.buffer) < size:
            self._more()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def read_head(self):
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        found = re.fullmatch(r"HTTP/1\.1 (\d{3}) (.+)", lines[0])
        assert found, f"not a status line: {lines[0]!r}"
        headers = []
        for line in lines[1:]:
            field = re.fullmatch(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([^\r\n]*)", line)
            assert field, f"not a header line: {line!r}"
            headers.append(field.groups())
        response = Response(int(found.group(1)), headers, b"")
        if self.sent is not None and response.status >= 200:
            request, self.sent = openapi.take_request(self.sent)
            self.exchange = openapi.Exchange(request, response)
        return response

    def read_chunk(self):
        size = self._until(b"\r\n")
        assert re.fullmatch(rb"[0-9a-f]+", size), f"not a chunk size: {size!r}"
        data = self._exactly(int(size, 16))
        assert self._exactly(2) == b"\r\n"
        return data

    def read(self, to_head=False):
        """One whole response; `to_head`: it answers HEAD."""
        response = self._read_whole(to_head)
        if self.exchange is not None and response.status >= 200:
            self.exchange.check_body()
        return response

    def _read_whole(self, to_head):
        response = self.read_head()
        if response.status < 200:
            return response
        names = [name.lower() for name, _ in response.headers]
        assert len(names) == len(set(names)), response.headers
        assert DATE.match(response.header("Date") or ""), response.headers
        length = response.header("Content-Length")
        chunked = response.header("Transfer-Encoding") == "chunked"
        assert not (chunked and length)
        if to_head or response.status in (204, 304):
            return response
        if chunked:
            while chunk := self.read_chunk():
                response.body += chunk
        elif length is not None:
            response.body = self._exactly(int(length))
        else:
            assert response.header("Connection") == "close"
            try:
                while True:
                    self._more()
            except Closed:
                response.body, self.buffer = self.buffer, b""
        return response

    def ended(self, reset_allowed=False):
        """Waits for the end, which must be clean; what still came before it."""
        try:
            while True:
                self._more()
        except Closed:
            pass
        except ConnectionResetError:
            assert reset_allowed, "reset instead of closed"
        rest, self.buffer = self.buffer, b""
        return rest

    def get(self, target, method="GET", headers="", body=b""):
        self.send(request(target, method, headers, body))
        return self.read(to_head=method == "HEAD")


def parse_metrics(response):
    assert response.status == 200, response.body
    values = {}
    for line in response.body.decode().splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            values[name] = float(value)
    return values


def request(target, method="GET", headers="", body=b""):
    if body:
        headers += f"Content-Length: {len(body)}\r\n"
    return f"{method} {target} HTTP/1.1\r\nHost: test\r\n{headers}\r\n".encode("latin-1") + body


class Server:
    """A process under test; its end is checked."""

    def __init__(self, program, *arguments, env=None, pass_fds=(), limits=None, ready=None, cwd=None):
        self.directory = tempfile.TemporaryDirectory(prefix="weasel-")
        self.program = program
        self.cwd = cwd or self.directory.name  # where weaseldb keeps its log by default
        self.errors = open(self.directory.name + "/stderr", "w+b")

        def before():
            os.setpgrp()
            for what, value in (limits or {}).items():
                resource.setrlimit(what, (value, value))

        self.process = subprocess.Popen(
            [str(BUILD / program), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env={**os.environ, **(env or {})},
            pass_fds=pass_fds,
            preexec_fn=before,
            cwd=self.cwd,
        )
        self.pid = self.process.pid
        self.addresses = []
        self.expect_exit = 0
        wait = self._wait_stdout if ready is None else ready
        wait(self)

    def _wait_stdout(self, _):
        """The test server says where it listens on standard output."""
        while True:
            line = self.process.stdout.readline().decode()
            if line == "ready\n":
                return
            assert line.startswith("listening on "), (line, self.stderr())
            self._add_address(line.split()[2])

    def wait_log(self, _):
        """weaseldb logs where it listens."""
        wait_for(lambda: b"msg=listening" in self.stderr() or self.process.poll() is not None, self.stderr)
        for found in re.findall(rb"msg=listening address=(\S+)", self.stderr()):
            self._add_address(found.decode().strip('"'))
        assert self.addresses, self.stderr()

    def _add_address(self, text):
        if text.startswith("unix:"):
            self.addresses.append(text[5:])
        else:
            host, _, port = text.rpartition(":")
            self.addresses.append((host.strip("[]"), int(port)))
        if self.program == "weaseldb":
            documented.add(self.addresses[-1])

    def stderr(self):
        return pathlib.Path(self.errors.name).read_bytes()

    @property
    def address(self):
        return self.addresses[0]

    def connect(self, **options):
        return Connection(self.address, **options)

    def get(self, target, method="GET", headers="", body=b""):
        with self.connect() as connection:
            return connection.get(target, method, headers, body)

    def metrics(self):
        return parse_metrics(self.get("/metrics"))

    def metric(self, name):
        return self.metrics()[name]

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_ns(self):
        total = 0
        for task in os.listdir(f"/proc/{self.pid}/task"):
            total += int(pathlib.Path(f"/proc/{self.pid}/task/{task}/schedstat").read_text().split()[0])
        return total

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self):
        return self.process.wait(PATIENCE * 3)

    def stop(self):
        documented.difference_update(self.addresses)
        try:
            if self.process.poll() is None:
                self.signal()
            code = self.wait()
            text = self.stderr().decode(errors="replace")
            assert "Sanitizer" not in text and "runtime error" not in text, text[:8000]
            assert code == self.expect_exit, f"exit code {code}, expected {self.expect_exit}\n{text[-4000:]}"
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()
            self.errors.close()
            self.directory.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None and self.process.poll() is None:
            self.process.kill()  # the test has failed already; what it left may not drain
            self.expect_exit = -signal.SIGKILL
        self.stop()


def testserver(*arguments, **options):
    return Server("tests/testserver", "--port", "0", *arguments, **options)


def weaseldb(*sets, arguments=(), **options):
    words = [word for item in ("http.port=0", f"log.segment_bytes={16 << 20}", *sets) for word in ("--set", item)]
    return Server("weaseldb", *words, *arguments, ready=lambda server: server.wait_log(server), **options)


def wait_for(condition, describe=lambda: ""):
    """Polls until `condition()` is true and returns its value; fails after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"this never came true; {describe()}"
        time.sleep(0.01)


def readable(connections, seconds):
    """Those of the connections that have something to read by then; returns early when all have."""
    end = time.monotonic() + seconds
    found = {}
    waiting = {connection.socket.fileno(): connection for connection in connections}
    poll = select.poll()
    for descriptor in waiting:
        poll.register(descriptor, select.POLLIN)
    while waiting and time.monotonic() < end:
        for descriptor, _ in poll.poll(max(1, (end - time.monotonic()) * 1000)):
            found[descriptor] = waiting.pop(descriptor)
            poll.unregister(descriptor)
    return [connection for connection in connections if connection in found.values()]


def is_readable(connection, seconds):
    return bool(connection.buffer) or bool(select.select([connection.socket], [], [], seconds)[0])
