"""README.md's tour does what it says, as printed."""

import contextlib
import json
import os
import re
import shlex
import signal
import sqlite3
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


def test_the_page_of_the_command_line(tmp_path):
    """Each line of docs/weasel.md, in its order, does what it is there for on a fresh server."""
    blocks = re.findall(r"```\n(.*?)```", (wire.ROOT / "docs/weasel.md").read_text(), re.S)
    lines = [line for block in blocks for line in block.splitlines() if re.match("weasel|echo|sqlite3", line)]
    assert sum(line.startswith("weasel") for line in lines) >= 12
    lines = [line for line in lines if not line.startswith("weasel commit: ")]  # what one said
    printed = {}
    with wire.weaseldb() as server:
        for line in lines:
            if line.startswith("sqlite3"):
                _, path, question = shlex.split(line)
                with contextlib.closing(sqlite3.connect(tmp_path / path)) as table:
                    assert table.execute(question).fetchall() == [(b"90",)]
                continue
            line = re.sub("--duration [0-9]+", "--duration 0.2", line)
            lives = "subscribe" in line and "--until-end" not in line
            script = f"cd {tmp_path} && set -o pipefail && " + ("timeout 1 " if lives else "") + line.replace("| jq .", "| cat")
            result = run(server, f"PATH={wire.BUILD}:$PATH && {script}")
            assert result.returncode == (124 if lives else 0), (line, result.stderr)
            printed[line] = result.stdout
    committed = [text for line, text in printed.items() if line.startswith("weasel commit")]
    assert [text.split(",")[0] for text in committed] == [f"committed at version {n}" for n in (1, 2, 3, 4)]
    assert any(line.startswith("sqlite3") for line in lines)


def test_the_page_shows_what_a_file_with_a_mistake_says():
    page = (wire.ROOT / "docs/weasel.md").read_text()
    command, said = re.search(r"```\n\$ (.*?)\n(.*?)```", page, re.S).groups()
    with wire.weaseldb() as server:
        for _ in range(6):
            assert run(server, "build/weasel commit --write a=1").returncode == 0
        result = run(server, f"PATH={wire.BUILD}:$PATH && {command}")
    assert result.returncode == 2
    assert result.stdout + result.stderr == said
