"""Requests that servers disagree about, with what RFC 9110 and 9112 say of each.

A case is a request and what follows it on the connection. In its body, or where a body would be, stands another request
(SMUGGLED): who answers that has taken content for a request. Behind it comes FOLLOWING: who answers that believes to
know where the first request ended.
"""

import dataclasses
import random

SMUGGLED = b"GET /items/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
FOLLOWING = b"GET /items/following HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
SIZE = len(SMUGGLED)

CLEAR = "clear"  # it is valid, and so is what follows
EITHER = "either"  # to be refused or read: a server may choose, but both agree where the request ends
REFUSE = "refuse"  # it is invalid, but not its length: to be refused; the connection may go on
DOUBT = "doubt"  # nobody can know where it ends, or the RFC says to close: nothing behind it is a request
BODILESS = "bodiless"  # nothing frames a body: what stands there is the next request


@dataclasses.dataclass
class Case:
    name: str
    verdict: str
    data: bytes


def post(fields, body, version=b"1.1"):
    return b"POST /upload HTTP/%s\r\nHost: a\r\n%s\r\n%s" % (version, b"".join(field + b"\r\n" for field in fields), body)


def chunk(size, data=SMUGGLED, end=b"\r\n", last=b"0\r\n\r\n"):
    return size + b"\r\n" + data + end + last


CHUNKED = chunk(b"%x" % SIZE)
N = b"%d" % SIZE

LENGTHS = {
    N: CLEAR,
    b"0" * 30 + N: EITHER,
    N + b" ": CLEAR,
    N + b"\t": EITHER,  # it is valid; llhttp knows only spaces there
    b"\t " + N: CLEAR,
    N + b"," + N: EITHER,
    N + b", " + N: EITHER,
    N + b",": DOUBT,
    b"," + N: DOUBT,
    N + b",0": DOUBT,
    b"0," + N: DOUBT,
    b"+" + N: DOUBT,
    b"-" + N: DOUBT,
    b"-0": DOUBT,
    b"0x%x" % SIZE: DOUBT,
    b"%x" % SIZE + b"h": DOUBT,
    N + b".0": DOUBT,
    N + b"e0": DOUBT,
    N + b" 0": DOUBT,
    N + b";": DOUBT,
    N + b"\0": DOUBT,
    N + b"\x0b": DOUBT,
    b"\x0c" + N: DOUBT,
    N + b"\r": DOUBT,
    N + b"\xc2\xa0": DOUBT,
    b'"' + N + b'"': DOUBT,
    b"1_" + N: DOUBT,
    b"": DOUBT,
    b"none": DOUBT,
    b"18446744073709551616": DOUBT,
    b"18446744073709551657": DOUBT,  # 41, if it wraps around
    b"9" * 40: DOUBT,
}

CODINGS = {
    b"chunked": CLEAR,
    b"Chunked": CLEAR,
    b"CHUNKED": CLEAR,
    b"chunked ": CLEAR,
    b"\tchunked": CLEAR,
    b"chunked,": EITHER,
    b",chunked": EITHER,
    b", ,chunked": EITHER,
    b"chunked, chunked": DOUBT,
    b"chunked,chunked": DOUBT,
    b"identity": DOUBT,
    b"identity, chunked": DOUBT,
    b"chunked, identity": DOUBT,
    b"gzip": DOUBT,
    b"gzip, chunked": DOUBT,  # we know no gzip: 501, and the body need not be read
    b"chunked, gzip": DOUBT,
    b"chunked;q=1": DOUBT,
    b"chunked; a": DOUBT,
    b"xchunked": DOUBT,
    b"chunkedx": DOUBT,
    b"chunke": DOUBT,
    b"chunk ed": DOUBT,
    b"chunked chunked": DOUBT,
    b'"chunked"': DOUBT,
    b"'chunked'": DOUBT,
    b"\x0bchunked": DOUBT,
    b"chunked\x0b": DOUBT,
    b"chunked\0": DOUBT,
    b"\xc2\xa0chunked": DOUBT,
    b"x\r\n chunked": DOUBT,
    b"cow": DOUBT,
    b"": DOUBT,
}

# How a name is written that is not quite a name; %s: the name.
NAMES = {
    b"%s :": DOUBT,
    b"%s\t:": DOUBT,
    b"%s\0:": DOUBT,
    b"%s\x0b:": DOUBT,
    b"\0%s:": DOUBT,
    b"%s\r:": DOUBT,
    b"%s\xff:": DOUBT,
    b"%s": DOUBT,  # no colon at all
    b"(%s):": DOUBT,
    b"X\r%s:": DOUBT,
}
STRANGERS = (b"X-%s:", b"%s_:", b"%s-X:")  # names of their own


def lengths():
    for value, verdict in LENGTHS.items():
        yield Case(f"length {value!r}", verdict, post([b"Content-Length: " + value], SMUGGLED))
        yield Case(f"length {value!r}, no space", verdict, post([b"content-length:" + value], SMUGGLED))
        if verdict != CLEAR:
            yield Case(f"length {value!r} behind a good one", DOUBT if verdict == DOUBT else EITHER,
                       post([b"Content-Length: " + N, b"Content-Length: " + value], SMUGGLED))
            yield Case(f"length {value!r} before a good one", DOUBT if verdict == DOUBT else EITHER,
                       post([b"Content-Length: " + value, b"X: y", b"CONTENT-LENGTH: " + N], SMUGGLED))
    yield Case("two lengths alike", EITHER, post([b"Content-Length: " + N] * 2, SMUGGLED))
    yield Case("two lengths that differ", DOUBT, post([b"Content-Length: " + N, b"Content-Length: 0"], SMUGGLED))
    yield Case("two lengths that differ, turned", DOUBT, post([b"Content-Length: 0", b"Content-Length: " + N], SMUGGLED))
    yield Case("length in 1.0", EITHER, post([b"Content-Length: " + N, b"Connection: keep-alive"], SMUGGLED, b"1.0"))


def codings():
    for value, verdict in CODINGS.items():
        yield Case(f"coding {value!r}", verdict, post([b"Transfer-Encoding: " + value], CHUNKED))
        yield Case(f"coding {value!r} and a length", DOUBT, post([b"Transfer-Encoding: " + value, b"Content-Length: %d" % len(CHUNKED)], CHUNKED))
        yield Case(f"a length and coding {value!r}", DOUBT, post([b"Content-Length: 0", b"Transfer-Encoding: " + value], CHUNKED))
        yield Case(f"coding {value!r} in 1.0", DOUBT, post([b"Transfer-Encoding: " + value, b"Connection: keep-alive"], CHUNKED, b"1.0"))
        if verdict == DOUBT:
            yield Case(f"coding {value!r} behind chunked", DOUBT, post([b"Transfer-Encoding: chunked", b"Transfer-Encoding: " + value], CHUNKED))
            yield Case(f"coding {value!r} before chunked", DOUBT, post([b"Transfer-Encoding: " + value, b"Transfer-Encoding: chunked"], CHUNKED))


def names():
    for pattern, verdict in NAMES.items():
        for field, value, body in ((b"Content-Length", N, SMUGGLED), (b"Transfer-Encoding", b"chunked", CHUNKED)):
            yield Case(f"name {pattern % field!r}", verdict, post([pattern % field + b" " + value], body))
            yield Case(f"name {pattern % field!r} beside a length", verdict,
                       post([b"Content-Length: %d" % len(body), pattern % field + b" " + value], body))
    for pattern in STRANGERS:
        yield Case(f"stranger {pattern!r}", BODILESS, post([pattern % b"Content-Length" + b" " + N], SMUGGLED))
    for fold in (b" ", b"\t", b"  "):
        yield Case(f"length folded by {fold!r}", DOUBT, post([b"Content-Length:", fold + N], SMUGGLED))
        yield Case(f"coding folded by {fold!r}", DOUBT, post([b"Transfer-Encoding:", fold + b"chunked"], CHUNKED))
        yield Case(f"length in a fold {fold!r}", DOUBT, post([b"X: y", fold + b"Content-Length: " + N], SMUGGLED))
        yield Case(f"length in a first fold {fold!r}", DOUBT, post([fold + b"Content-Length: " + N], SMUGGLED).replace(b"Host: a\r\n", b""))
    for end in (b"\n", b"\r", b"\n\r", b"\0", b"\x0b\n", b"\r\r\n", b"\x85", b"\xe2\x80\xa8"):
        verdict = EITHER if end == b"\n" else DOUBT
        # Bytes above 0x7f end no line, so there is no field behind them.
        yield Case(f"length behind line end {end!r}", verdict if end.isascii() else BODILESS,
                   b"POST /upload HTTP/1.1\r\nHost: a\r\nX: y" + end + b"Content-Length: " + N + b"\r\n\r\n" + SMUGGLED)
        yield Case(f"coding behind line end {end!r}", verdict,
                   b"POST /upload HTTP/1.1\r\nHost: a\r\nX: y" + end + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED)
        yield Case(f"head ended by {end!r}", verdict,
                   b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: " + N + b"\r\n" + end + SMUGGLED)


def chunks():
    size = b"%x" % SIZE
    sizes = {
        size: CLEAR,
        size.upper(): CLEAR,
        b"0" * 10 + size: CLEAR,
        b"0" * 100 + size: EITHER,
        size + b";a": CLEAR,
        size + b";a=b": CLEAR,
        size + b';a="b;c\\"d"': CLEAR,
        size + b" ;a": EITHER,
        size + b"; a = b": EITHER,
        size + b";": DOUBT,
        size + b";a\n": DOUBT,
        size + b";a\r": DOUBT,
        size + b";a\0": DOUBT,
        size + b';a="\n"': DOUBT,
        size + b" ": DOUBT,
        size + b"\t": DOUBT,
        b" " + size: DOUBT,
        b"+" + size: DOUBT,
        b"-" + size: DOUBT,
        b"0x" + size: DOUBT,
        size + b"h": DOUBT,
        size + b"g": DOUBT,
        size + b",": DOUBT,
        size + b" 0": DOUBT,
        size + b"\0": DOUBT,
        size + b"\r": DOUBT,
        b"": DOUBT,
        b"g": DOUBT,
        b"\r\n" + size: DOUBT,
        b"1" + b"0" * 16 + b"%02x" % SIZE: DOUBT,
        b"f" * 16: DOUBT,
        b"-1": DOUBT,
    }
    for value, verdict in sizes.items():
        yield Case(f"chunk size {value!r}", verdict, post([b"Transfer-Encoding: chunked"], chunk(value)))
        if verdict in (CLEAR, EITHER):
            value = value.replace(size, b"0").replace(size.upper(), b"0")
            yield Case(f"last chunk {value!r}", verdict, post([b"Transfer-Encoding: chunked"], chunk(size, last=value + b"\r\n\r\n")))
    for end in (b"\n", b"\r", b"", b"x\r\n", b"\r\r\n", b"\0", b"\n\n", b"\r\n\r\n", b" \r\n"):
        yield Case(f"chunk ended by {end!r}", DOUBT, post([b"Transfer-Encoding: chunked"], chunk(size, end=end)))
    for line in (b"\n", b"\r", b"\0"):
        yield Case(f"chunk size ended by {line!r}", DOUBT, post([b"Transfer-Encoding: chunked"], size + line + SMUGGLED + b"\r\n0\r\n\r\n"))
        yield Case(f"last chunk ended by {line!r}", DOUBT, post([b"Transfer-Encoding: chunked"], chunk(size, last=b"0" + line + line)))
    trailers = {
        b"X: y\r\n": CLEAR,
        b"X: y\r\nZ: \r\n": CLEAR,
        b"Content-Length: 5\r\n": EITHER,
        b"Transfer-Encoding: chunked\r\n": EITHER,
        b"X : y\r\n": DOUBT,
        b"X\r\n": DOUBT,
        b" X: y\r\n": DOUBT,
        b"X: y\r\n z\r\n": DOUBT,
        b"X: y\rZ: a\r\n": DOUBT,
        b"X: \0\r\n": DOUBT,
        b": y\r\n": DOUBT,
    }
    for trailer, verdict in trailers.items():
        yield Case(f"trailer {trailer!r}", verdict, post([b"Transfer-Encoding: chunked"], chunk(size, last=b"0\r\n" + trailer + b"\r\n")))


def lines():
    """Request lines and fields that frame nothing, on a request without a body."""
    good = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
    for name, verdict, data in (
        ("plain", CLEAR, good),
        ("an empty line before", CLEAR, b"\r\n" + good),
        ("a line feed before", EITHER, b"\n" + good),
        ("a return before", DOUBT, b"\r" + good),
        ("a space before", DOUBT, b" " + good),
        ("a zero before", DOUBT, b"\0" + good),
        ("line feeds for ends", EITHER, good.replace(b"\r\n", b"\n")),
        ("returns for ends", DOUBT, good.replace(b"\r\n", b"\r")),
        ("two spaces", DOUBT, good.replace(b"GET ", b"GET  ")),
        ("tabs", DOUBT, good.replace(b" ", b"\t", 2)),
        ("a space behind", DOUBT, good.replace(b"1.1\r", b"1.1 \r")),
        ("a space in the target", DOUBT, good.replace(b"/hello", b"/hello a")),
        ("a zero in the target", DOUBT, good.replace(b"/hello", b"/hello?\0")),
        ("a return in the target", DOUBT, good.replace(b"/hello", b"/hello?\r")),
        ("a vertical tab in the line", DOUBT, good.replace(b"GET ", b"GET\x0b")),
        ("no version", DOUBT, b"GET /hello\r\n"),
        ("a version of words", DOUBT, good.replace(b"HTTP/1.1", b"HTTP/x.y")),
        ("a lower version", DOUBT, good.replace(b"HTTP/1.1", b"http/1.1")),
        ("version 1.10", DOUBT, good.replace(b"HTTP/1.1", b"HTTP/1.10")),
        ("version 2.0", DOUBT, good.replace(b"HTTP/1.1", b"HTTP/2.0")),
        ("version 0.9", DOUBT, good.replace(b"HTTP/1.1", b"HTTP/0.9")),
        ("a method in quotes", DOUBT, good.replace(b"GET", b'"GET"')),
        ("no host", REFUSE, good.replace(b"Host: a\r\n", b"")),
        ("two hosts", REFUSE, good.replace(b"Host: a\r\n", b"Host: a\r\nHost: b\r\n")),
        ("two hosts alike", REFUSE, good.replace(b"Host: a\r\n", b"Host: a\r\nHost: a\r\n")),
        ("a host with a space", REFUSE, good.replace(b"Host: a", b"Host: a b")),
        ("a host with a path", REFUSE, good.replace(b"Host: a", b"Host: a/b")),
        ("a host with a name", REFUSE, good.replace(b"Host: a", b"Host: u@a")),
        ("a host with a list", EITHER, good.replace(b"Host: a", b"Host: a,b")),
        ("a field without a name", DOUBT, good.replace(b"Host: a\r\n", b"Host: a\r\n: b\r\n")),
        ("a field without a colon", DOUBT, good.replace(b"Host: a\r\n", b"Host: a\r\nb\r\n")),
        ("a zero in a field", DOUBT, good.replace(b"Host: a\r\n", b"Host: a\r\nX: \0\r\n")),
        ("a bell in a field", DOUBT, good.replace(b"Host: a\r\n", b"Host: a\r\nX: \7\r\n")),
        ("a delete in a field", DOUBT, good.replace(b"Host: a\r\n", b"Host: a\r\nX: \x7f\r\n")),
        ("a return in a field", DOUBT, good.replace(b"Host: a\r\n", b"Host: a\r\nX: y\rz\r\n")),
        ("a folded field", EITHER, good.replace(b"Host: a\r\n", b"Host: a\r\nX: y\r\n z\r\n")),
        ("latin-1 in a field", CLEAR, good.replace(b"Host: a\r\n", b"Host: a\r\nX: \xe4\r\n")),
        ("a body of GET", EITHER, good.replace(b"Host: a\r\n", b"Host: a\r\nContent-Length: " + N + b"\r\n") + SMUGGLED),
        ("chunks of GET", EITHER, good.replace(b"Host: a\r\n", b"Host: a\r\nTransfer-Encoding: chunked\r\n") + CHUNKED),
        ("another protocol", EITHER, good.replace(b"Host: a\r\n", b"Host: a\r\nConnection: upgrade\r\nUpgrade: x\r\n")),
        ("the start of HTTP/2", DOUBT, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ):
        yield Case(name, verdict, data)


def mixtures(count, seed):
    """Two things that are wrong, or three."""
    chance = random.Random(seed)
    for number in range(count):
        fields = []
        for _ in range(chance.choice((1, 1, 2))):
            name = chance.choice((b"%s:", b"%s:", b"%s:", *NAMES)) % b"Transfer-Encoding"
            fields.append(name + b" " + chance.choice(list(CODINGS)))
        for _ in range(chance.choice((1, 1, 2))):
            name = chance.choice((b"%s:", b"%s:", b"%s:", *NAMES)) % b"Content-Length"
            fields.append(name + b" " + chance.choice((b"0", b"%d" % len(CHUNKED), *LENGTHS)))
        chance.shuffle(fields)
        # A coding and a length together are in doubt whatever they say; so is each of them when it is misspelt.
        yield Case(f"mixture {number} of {seed}: {fields!r}", DOUBT, post(fields, CHUNKED))


def cases(mixed, seed):
    return [*lengths(), *codings(), *names(), *chunks(), *lines(), *mixtures(mixed, seed)]
