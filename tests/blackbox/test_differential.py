"""Ambiguous requests (ambiguous.py): where this server stands between RFC 9112 and what nginx and h2o do.

It never answers content as a request, never goes on with a connection when nobody can know where a request ended, and
takes nothing that both of the others refuse, but for what is listed here with a reason.
"""

import concurrent.futures
import contextlib
import dataclasses
import os
import re
import shutil
import socket
import subprocess

import pytest

import ambiguous
import wire
from ambiguous import BODILESS, CLEAR, DOUBT, FOLLOWING, REFUSE

CASES = ambiguous.cases(round(150 * wire.SCALE), 1)
REFUSALS = {400, 408, 411, 413, 414, 417, 431, 500, 501, 503, 505}

# What both others refuse and this server takes: why that is right.
LAXER = {}


@dataclasses.dataclass
class Seen:
    first: int  # status of the first answer; 0: the connection was closed without one
    answers: int  # of requests that were taken
    smuggled: bool
    following: bool

    @property
    def taken(self):
        return self.first != 0 and self.first not in REFUSALS


def ask(address, data):
    """Everything that comes back until the server closes: FOLLOWING asks for that, and time-outs are short."""
    received = b""
    with socket.create_connection(address, timeout=wire.PATIENCE) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data + FOLLOWING)
            while piece := connection.recv(1 << 16):
                received += piece
    codes = [int(code) for code in re.findall(rb"HTTP/1\.[01] (\d{3}) ", received) if code[0] != ord("1")]
    taken = sum(code not in REFUSALS for code in codes)
    return Seen(codes[0] if codes else 0, taken, b"smuggled" in received, b"following" in received)


def ask_all(address):
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        return dict(zip((case.name for case in CASES), pool.map(lambda case: ask(address, case.data), CASES)))


@pytest.fixture(scope="module")
def ours():
    with wire.testserver("--request-timeout", 1, "--keepalive-timeout", 1) as server:
        yield ask_all(server.address)


# ---- by the RFC ----


def test_the_names_of_cases_are_different():
    assert len({case.name for case in CASES}) == len(CASES) > 350


def test_content_is_never_taken_for_a_request(ours):
    found = [case.name for case in CASES if ours[case.name].smuggled and case.verdict != BODILESS]
    assert not found, found


def test_a_connection_ends_when_its_request_may_not_have(ours):
    found = [(case.name, ours[case.name]) for case in CASES if case.verdict == DOUBT and (ours[case.name].following or ours[case.name].answers > 1)]
    assert not found, found


def test_what_is_invalid_is_refused(ours):
    """Of DOUBT, what has a length and a coding may be answered before the end."""
    found = [(case.name, ours[case.name]) for case in CASES if case.verdict == REFUSE and ours[case.name].taken]
    assert not found, found


def test_what_is_valid_is_taken_and_so_is_what_follows(ours):
    wrong = [(case.name, ours[case.name]) for case in CASES if case.verdict == CLEAR and not (ours[case.name].taken and ours[case.name].following)]
    assert not wrong, wrong
    assert all(ours[case.name].smuggled for case in CASES if case.verdict == BODILESS)


# ---- by the others ----


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def configure_nginx(directory, port):
    temporary = " ".join(f"{kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (directory / "nginx.conf").write_text(f"""
daemon off; master_process off; pid {directory}/nginx.pid; error_log stderr crit;
events {{ worker_connections 1000; }}
http {{
    access_log off; {temporary}
    client_header_timeout 1s; client_body_timeout 1s; keepalive_timeout 1s; lingering_timeout 1s; lingering_time 1s;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 'ok'; }}
        location /items/smuggled {{ return 200 'smuggled'; }}
        location /items/following {{ return 200 'following'; }}
    }}
}}
""")
    return ["nginx", "-e", "stderr", "-c", directory / "nginx.conf"]


def configure_h2o(directory, port):
    pages = directory / "pages/items"
    pages.mkdir(parents=True)
    (directory / "pages/hello").write_text("ok")
    (directory / "pages/upload").write_text("ok")
    (pages / "smuggled").write_text("smuggled")
    (pages / "following").write_text("following")
    (directory / "h2o.conf").write_text(f"""
num-threads: 1
user: {os.environ.get("USER", "root") if os.getuid() == 0 else "''"}
http1-request-timeout: 1
listen: {{host: 127.0.0.1, port: {port}}}
error-log: /dev/null
hosts: {{default: {{paths: {{"/": {{file.dir: {directory}/pages}}}}}}}}
""")
    return ["h2o", "-c", directory / "h2o.conf"]


@contextlib.contextmanager
def running(directory, configure):
    port = free_port()
    command = [str(word) for word in configure(directory, port)]
    with open(directory / "said", "w+b") as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:

            def answers():
                assert process.poll() is None, (directory / "said").read_text()
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    return True
                return False

            wire.wait_for(answers)
            yield "127.0.0.1", port
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    found = {}
    for program, configure in (("nginx", configure_nginx), ("h2o", configure_h2o)):
        if shutil.which(program):
            with running(tmp_path_factory.mktemp(program), configure) as address:
                found[program] = ask_all(address)
    if not found:
        pytest.skip("neither nginx nor h2o is here to compare with (scripts/deps bench)")
    return found


def test_the_others_are_asked_rightly(others):
    """They take what is plainly valid, and what comes behind it: else comparing would say nothing."""
    for program, seen in others.items():
        for name in ("plain", "length %r" % ambiguous.N, "coding b'chunked'"):
            assert seen[name].taken and seen[name].following and not seen[name].smuggled, (program, name, seen[name])


def test_the_cases_tell_servers_apart(others):
    """They can go wrong: here they do."""
    for program, seen in others.items():
        found = [case.name for case in CASES if case.verdict == DOUBT and (seen[case.name].following or seen[case.name].answers > 1)]
        assert found, f"{program} closes in every case of doubt, too"


def test_nothing_is_taken_that_all_others_refuse(ours, others):
    laxer = {}
    for case in CASES:
        if case.verdict == CLEAR:
            continue  # it is to be taken, whoever else does not
        mine, theirs = ours[case.name], [seen[case.name] for seen in others.values()]
        if (mine.taken and not any(each.taken for each in theirs)) or mine.answers > max(each.answers for each in theirs):
            laxer[case.name] = (case.verdict, mine, theirs)
    unexpected = {name: what for name, what in laxer.items() if name not in LAXER}
    assert not unexpected, "\n".join(f"{name}: {what}" for name, what in unexpected.items())
