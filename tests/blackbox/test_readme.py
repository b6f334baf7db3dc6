"""README.md's tour does what it says, as printed."""

import json
import os
import re
import signal
import subprocess

import wire

TOUR = re.search(r"## A tour with curl\n(.*?)\n## ", (wire.ROOT / "README.md").read_text(), re.S).group(1)
FIRST, SECOND, *_ = re.findall(r"```\n(.*?)```", TOUR, re.S)
KILL = "kill -9 $(pgrep -x weaseldb)\n"


def run(server, script):
    """What the lines print, on a server that happens to have another port than the README's."""
    host, port = server.address
    for told, here in (("127.0.0.1:8080", f"{host}:{port}"), ("curl -N", "timeout 1 curl -sN"), ("build/weasel", str(wire.BUILD / "weasel"))):
        script = script.replace(told, here)
    result = subprocess.run(
        ["bash", "-O", "expand_aliases", "-c", script],
        capture_output=True,
        text=True,
        timeout=wire.PATIENCE,
        env={**os.environ, "WEASEL_SERVER": f"http://{host}:{port}"},
    )
    assert "command not found" not in result.stderr
    return result


def documents(text):
    """The JSON objects that stand in it one after the other."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while (at := text.find("{", at)) >= 0:
        value, at = decoder.raw_decode(text, at)
        found.append(value)
    return found


def test_the_tour(tmp_path):
    before, killed, after = FIRST.partition(KILL)
    assert killed
    with wire.weaseldb(cwd=tmp_path) as server:
        said = run(server, before).stdout
        answers, feed = said.split("event: ", 1)
        first, second, stale, again, committed, never = documents(answers)
        assert (first["status"], first["version"], first["request_id"]) == ("committed", 1, "open-1")
        assert (second["status"], second["version"]) == ("committed", 2)
        assert (stale["status"], stale["reason"], stale["conflicts"], stale["version"]) == ("not_committed", "conflict", [0], 2)
        assert again == first
        assert (committed["status"], committed["version"]) == ("committed", 1)
        assert never["status"] == "not_committed"
        assert re.findall(r"^id: (\d+)$", feed, re.M)[:2] == ["1", "2"]
        server.process.kill()
        server.expect_exit = -signal.SIGKILL
    with wire.weaseldb(cwd=tmp_path) as server:
        status, version = documents(run(server, after).stdout)
        assert (status["status"], status["version"]) == ("committed", 1)
        assert version["version"] == 2
        # Shorter than it is printed: the load.
        for line in SECOND.replace("--duration 10", "--duration 1").splitlines():
            result = run(server, line)
            assert result.returncode == (3 if "exit status 3" in line else 0), (line, result.stderr)
