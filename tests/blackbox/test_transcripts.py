"""Replays transcripts/*.http; transcripts/README.md has their form."""

import array
import fcntl
import pathlib
import re
import time

import pytest

import wire

SIOCOUTQ = 0x5411
NEIGHBOUR = b"GET /hello HTTP/1.1\r\nHost: neighbour\r\n\r\n"
HELLO = b'{"hello":"world"}'
SPLITS_MAX = max(8, int(4000 * wire.SCALE))


class Transcript:
    def __init__(self, title):
        self.title, self.sent, self.expected, self.state = title, b"", [], None


def unescape(text):
    text = re.sub(r"\{([^{}*]+)\*(\d+)\}", lambda m: m.group(1) * int(m.group(2)), text)
    simple = {"r": "\r", "n": "\n", "t": "\t", "\\": "\\"}
    return re.sub(
        r"\\(x[0-9a-fA-F]{2}|.)",
        lambda m: chr(int(m.group(1)[1:], 16)) if m.group(1)[0] == "x" else simple[m.group(1)],
        text,
    ).encode("latin-1")


def load():
    found = []
    for path in sorted(pathlib.Path(__file__).parent.glob("transcripts/*.http")):
        for line in path.read_text().splitlines():
            if not line.strip() or line.startswith("#"):
                continue
            if line.startswith("== "):
                found.append(Transcript(f"{path.stem}: {line[3:]}"))
            elif line.startswith("> "):
                found[-1].sent += unescape(line[2:])
            elif line in ("< open", "< closed"):
                found[-1].state = line[2:]
            elif line.startswith("< + ") or line.startswith("< - ") or line == "< bodyless":
                found[-1].expected[-1]["checks"].append(unescape(line[2:]).decode("latin-1"))
            elif line == "< maybe 100":
                found[-1].expected.append({"maybe": True})
            else:
                matched = re.fullmatch(r"< (\d{3}) ?(.*)", line)
                assert matched, f"{path.name}: {line}"
                found[-1].expected.append(
                    {"status": int(matched.group(1)), "text": unescape(matched.group(2)), "checks": []}
                )
    assert all(t.sent and t.expected and t.state for t in found)
    return found


TRANSCRIPTS = load()


def check_response(response, expected):
    assert response.status == expected["status"], (response.status, response.headers, response.body)
    if response.status >= 400 and expected["text"]:
        assert response.header("Content-Type") == "application/problem+json"
        if response.body:
            problem = response.json()
            assert problem["type"] == "urn:weaseldb:problem:" + expected["text"].decode(), problem
            assert problem["status"] == response.status
            assert problem["title"]
    elif "bodyless" not in expected["checks"]:
        assert response.body == expected["text"]
    for check in expected["checks"]:
        if check[0] == "+":
            name, _, value = check[2:].partition(": ")
            assert response.header(name) == value, (name, response.headers)
        elif check[0] == "-":
            assert response.header(check[2:]) is None, response.headers


def check_end(connection, transcript, before=()):
    """Reads all that must come, then looks at the state of the connection."""
    for body in before:
        assert connection.read().body == body
    last = None
    pending = list(transcript.expected)
    while pending:
        expected = pending.pop(0)
        maybe = expected.get("maybe")
        if maybe:
            expected = pending.pop(0)
        response = connection.read(to_head="bodyless" in expected["checks"])
        if maybe and response.status == 100:
            response = connection.read()
        check_response(response, expected)
        last = response
    if transcript.state == "closed":
        assert connection.ended() == b"", "more came than was expected"
        if last.header("Transfer-Encoding") is None:
            assert last.header("Connection") == "close", last.headers
    else:
        assert last.header("Connection") != "close", last.headers
        connection.send(NEIGHBOUR)
        assert connection.read().body == HELLO
        assert connection.buffer == b""


def taken(connection):
    """Whether the server has read all that was sent; over a Unix socket the kernel knows."""
    size = array.array("i", [0])
    fcntl.ioctl(connection.socket, SIOCOUTQ, size)
    return size[0] == 0


def send_piece(connection, piece):
    try:
        connection.send(piece)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the server has refused and closed already; its answer is there to be read


def wait_taken(connections):
    end = time.monotonic() + wire.PATIENCE
    for connection in connections:
        while not taken(connection):
            # A server that has refused reads on for a while, then stops: its answer is enough.
            if wire.is_readable(connection, 0):
                break
            assert time.monotonic() < end, "the server does not read"
            time.sleep(0.0005)


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda t: t.title)
def test_whole_over_tcp(server, transcript):
    with wire.Connection(server.addresses[0]) as connection:
        connection.send(transcript.sent)
        check_end(connection, transcript)


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda t: t.title)
def test_behind_a_neighbour(server, transcript):
    with wire.Connection(server.addresses[0]) as connection:
        connection.send(NEIGHBOUR + transcript.sent)
        check_end(connection, transcript, before=[HELLO])


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda t: t.title)
def test_split_at_every_byte(server, transcript):
    places = range(1, len(transcript.sent))
    if len(places) > SPLITS_MAX:  # the long ones: their ends, and places all over
        step = len(places) // (SPLITS_MAX // 2) + 1
        edge = SPLITS_MAX // 4
        places = sorted({*places[:edge], *places[::step], *places[-edge:]})
    for start in range(0, len(places), 64):
        group = places[start : start + 64]
        connections = [wire.Connection(server.addresses[1]) for _ in group]
        for connection, place in zip(connections, group):
            send_piece(connection, transcript.sent[:place])
        wait_taken(connections)
        for connection, place in zip(connections, group):
            send_piece(connection, transcript.sent[place:])
        for connection, place in zip(connections, group):
            try:
                check_end(connection, transcript)
            except (AssertionError, wire.Closed) as error:
                raise AssertionError(f"split at {place}: {error!r}") from error
            connection.close()


def test_one_byte_at_a_time(server):
    """All of them at once, a byte each in turn."""
    short = [t for t in TRANSCRIPTS if len(t.sent) <= 1000]
    assert len(short) > 100
    connections = [wire.Connection(server.addresses[1]) for _ in short]
    for at in range(max(len(t.sent) for t in short)):
        active = [c for c, t in zip(connections, short) if at < len(t.sent)]
        for connection, transcript in zip(connections, short):
            if at < len(transcript.sent):
                send_piece(connection, transcript.sent[at : at + 1])
        wait_taken(active)
    for connection, transcript in zip(connections, short):
        try:
            check_end(connection, transcript)
        except (AssertionError, wire.Closed) as error:
            raise AssertionError(f"{transcript.title}: {error!r}") from error
        connection.close()


def test_every_split_was_a_connection_of_its_own(server):
    """The tests above really did what they say."""
    least = sum(min(len(t.sent), SPLITS_MAX // 2) - 1 for t in TRANSCRIPTS)
    assert server.metric("http_connections_accepted_total") > least
    assert least > 1000
