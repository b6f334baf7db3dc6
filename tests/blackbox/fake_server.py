"""A server that does to its clients what a real one seldom does: cuts, lies, is busy, is another log."""

import base64
import json
import socket
import threading
import urllib.parse


def b64(data):
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


def write(key, value):
    return {"type": "write", "key": b64(key), "value": b64(value)}


def delete(key):
    return {"type": "delete", "key": b64(key)}


def range_delete(begin, end):
    return {"type": "range_delete", "begin": b64(begin), "end": b64(end)}


def problem(status, detail, outcome=None):
    return {"type": "urn:weaseldb:problem:test", "status": status, "detail": detail, **({"outcome": outcome} if outcome else {})}


class Request:
    def __init__(self, text, body):
        lines = text.split("\r\n")
        self.method, self.target, _ = lines[0].split(" ")
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
        self.path, _, query = self.target.partition("?")
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        self.body = body


class Exchange:
    """One request; what `answer` does with it is up to the test."""

    def __init__(self, connection, request):
        self.connection, self.request = connection, request

    def send(self, data):
        self.connection.sendall(data if isinstance(data, bytes) else data.encode())

    def reply(self, status, document, headers=""):
        body = json.dumps(document).encode()
        kind = "application/problem+json" if status >= 400 and "detail" in document else "application/json"
        self.send(f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{headers}Content-Length: {len(body)}\r\n\r\n")
        self.send(body)

    def begin_stream(self):
        self.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")

    def cut(self):
        """Ends the connection in the middle."""
        self.connection.shutdown(socket.SHUT_RDWR)


class FakeServer:
    """`answer(exchange)` runs on a thread for each connection, for each of its requests."""

    def __init__(self, answer):
        self.answer = answer
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.requests = []
        self.connections = []
        self.lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        data = b""
        try:
            while True:
                while b"\r\n\r\n" not in data:
                    more = connection.recv(65536)
                    if not more:
                        return
                    data += more
                head, _, data = data.partition(b"\r\n\r\n")
                request = Request(head.decode(), b"")
                size = int(request.headers.get("content-length", 0))
                while len(data) < size:
                    data += connection.recv(65536)
                request.body, data = data[:size], data[size:]
                with self.lock:
                    self.requests.append(request)
                self.answer(Exchange(connection, request))
        except OSError:
            pass
        finally:
            connection.close()

    def asked(self, path):
        with self.lock:
            return [request for request in self.requests if request.path == path]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        with self.lock:
            for connection in self.connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


class FakeLog:
    """Transactions with the versions of a log, as events of the feed."""

    def __init__(self, *operations):
        self.transactions = []
        for one in operations:
            self.add(*one)

    def add(self, *operations, step=1):
        prev = self.transactions[-1]["version"] if self.transactions else 0
        self.transactions.append(
            {
                "version": prev + step,
                "prev_version": prev,
                "request_id": f"r{prev + step}",
                "timestamp": "2026-11-23T05:32:00.123456Z",
                "operations": list(operations),
            }
        )

    @property
    def version(self):
        return self.transactions[-1]["version"] if self.transactions else 0

    def after(self, version):
        return [one for one in self.transactions if one["version"] > version]

    def tell_version(self, exchange):
        exchange.reply(200, {"version": self.version, "leader": "l-1", "oldest_read_version": 0, "log_start_version": 1})


def event(transaction, line_end="\n"):
    return line_end.join(
        ["event: transaction", f"id: {transaction['version']}", "data: " + json.dumps(transaction), "", ""]
    )


def progress(version):
    return f'event: progress\nid: {version}\ndata: {{"version":{version}}}\n\n'
