"""Many connections at once, in a process of their own (it has descriptors of its own).

    crowd.py idle HOST PORT COUNT [PATH]     one request each, then silence
    crowd.py work HOST PORT COUNT PATH...    one request after the other, the paths dealt out in turn
    crowd.py drip HOST PORT COUNT            a head that never ends, a byte each half second

It writes one line of JSON once all connections are open and the first answers are there, and another at the end. `idle` ends when its
input is closed, `drip` when every connection has been cut, `work` when its input is closed (after the answers that are due) or
when the server has ended every connection. Anything that a server must not do is an entry of "errors".
"""

import json
import re
import resource
import select
import socket
import sys
import time

HEAD_MAX = 4096
errors = []


def say(**values):
    print(json.dumps({"errors": errors[:10], **values}), flush=True)


class Client:
    def __init__(self, address, target):
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = f"GET {target} HTTP/1.1\r\nHost: crowd\r\n\r\n".encode()
        self.buffer = b""
        self.answers = 0
        self.due = False
        self.sent_at = 0.0
        self.closing = False

    def ask(self):
        self.due = True
        self.sent_at = time.monotonic()
        self.socket.sendall(self.request)

    def take(self):
        """What came; the status of a whole answer, "end", or None."""
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            errors.append(f"a reset after {self.answers} answers, another one due: {self.due}")
            return "end"
        if not data:
            if self.due:
                errors.append(f"closed after {self.answers} answers without the one that is due")
            elif not self.closing:
                errors.append("closed without Connection: close")
            return "end"
        self.buffer += data
        head, mark, rest = self.buffer.partition(b"\r\n\r\n")
        if not mark:
            if len(self.buffer) > HEAD_MAX:
                errors.append(f"no end of the head: {self.buffer[:200]!r}")
            return None
        length = int(re.search(rb"\r\nContent-Length: (\d+)", head).group(1))
        if len(rest) < length:
            return None
        if len(rest) > length or not self.due:
            errors.append(f"more than one answer: {self.buffer[:400]!r}")
        status = int(head[9:12])
        if status != 200:
            errors.append(f"not 200: {self.buffer[:400]!r}")
        self.closing = b"\r\nConnection: close" in head
        self.buffer = b""
        self.due = False
        self.answers += 1
        return status


def connect(address, count, targets):
    clients = {}
    poll = select.epoll()
    for i in range(count):
        client = Client(address, targets[i % len(targets)])
        clients[client.socket.fileno()] = client
        poll.register(client.socket.fileno(), select.EPOLLIN)
    return poll, clients


def idle(address, count, target="/hello"):
    poll, clients = connect(address, count, [target])
    waiting = 0
    for client in clients.values():
        client.ask()
        waiting += 1
        while waiting > (0 if waiting == len(clients) else 200):
            waiting -= sum(clients[fd].take() == 200 for fd, _ in poll.poll())
    while waiting:
        waiting -= sum(clients[fd].take() == 200 for fd, _ in poll.poll())
    say(open=len(clients))
    sys.stdin.read()
    ended = [clients[fd] for fd, _ in poll.poll(0)]
    say(open=len(clients) - len(ended))


def work(address, count, targets):
    poll, clients = connect(address, count, targets)
    everyone = list(clients.values())
    for client in everyone:
        client.ask()
    told, stopping, longest = False, False, 0.0
    poll.register(0, select.EPOLLIN)
    while clients:
        for fd, _ in poll.poll():
            if fd == 0:
                sys.stdin.read()
                poll.unregister(0)
                stopping = True
                for client in [c for c in clients.values() if not c.due]:
                    del clients[client.socket.fileno()]
                continue
            client = clients.get(fd)
            if client is None:
                continue
            what = client.take()
            if what == "end":
                poll.unregister(fd)
                del clients[fd]
            elif what is not None:
                longest = max(longest, time.monotonic() - client.sent_at)
                if stopping:
                    del clients[fd]
                elif not client.closing:
                    client.ask()
        if not told and all(c.answers > 0 for c in everyone):
            told = True
            say(open=len(clients))
    counts = [client.answers for client in everyone]
    say(answers=sum(counts), least=min(counts), longest=longest)


def drip(address, count):
    """The even ones close when they are told to; the odd ones go on until they cannot."""
    cut = {}
    poll = select.epoll()
    clients = {}
    for i in range(count):
        client = Client(address, "/hello")
        client.sent_at = time.monotonic()
        client.stubborn = i % 2 == 1
        client.answered = None
        client.socket.sendall(client.request[:-4] + b"\r\nX: ")
        clients[client.socket.fileno()] = client
        poll.register(client.socket.fileno(), select.EPOLLIN)
    say(open=len(clients))
    next_byte = time.monotonic() + 0.5
    gone = []

    def end(fd, client):
        poll.unregister(fd)
        client.socket.close()
        del clients[fd]
        gone.append(client)

    while clients:
        for fd, _ in poll.poll(max(0, next_byte - time.monotonic())):
            client = clients[fd]
            try:
                data = client.socket.recv(65536)
            except ConnectionResetError:
                end(fd, client)
                continue
            if data:
                client.buffer += data
                if client.answered is None:
                    client.answered = time.monotonic() - client.sent_at
            elif client.stubborn:
                poll.modify(fd, 0)  # it does not care; what comes next is a reset
            else:
                end(fd, client)
        if time.monotonic() >= next_byte:
            next_byte += 0.5
            for fd, client in list(clients.items()):
                try:
                    client.socket.send(b"y")
                except (BrokenPipeError, ConnectionResetError):
                    end(fd, client)
    for client in gone:
        if not client.buffer.startswith(b"HTTP/1.1 408 ") or b"\r\nConnection: close\r\n" not in client.buffer:
            errors.append(f"cut without a 408: {client.buffer[:200]!r}")
    times = [client.answered for client in gone if client.answered is not None]
    say(cut=len(times), soonest=min(times, default=0), latest=max(times, default=0))


def main():
    kind, host, port, count, *targets = sys.argv[1:]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    address = (host, int(port))
    {"idle": lambda a, c: idle(a, c, *targets), "work": lambda a, c: work(a, c, targets), "drip": drip}[kind](address, int(count))


if __name__ == "__main__":
    main()
