"""Man pages and shell completions name what the programs take, and nothing else."""

import re
import shutil
import subprocess

import pytest

import wire

PACKAGING = wire.ROOT / "packaging"
COMMANDS = ["commit", "status", "version", "subscribe", "follow", "bench"]


def help_of(*words):
    return subprocess.run([*words, "--help"], capture_output=True, text=True, check=True, timeout=wire.PATIENCE).stdout


def options(*words):
    """The options that --help lists."""
    found = set()
    for line in help_of(*words).splitlines():
        if re.match(r"  --", line):
            found |= set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", line.split("   ")[0]))
    return found


def man_section(command):
    page = (PACKAGING / "man/weasel.1").read_text()
    common, _, rest = page.partition(".Ss weasel commit")
    section = re.search(rf"\.Ss weasel {command}\n(.*?)(?=\n\.S[sh] )", ".Ss weasel commit" + rest, re.S).group(1)
    items = re.findall(r"^\.It (Fl .*)$", section + common.split(".Sh DESCRIPTION")[1], re.M)
    return {"-" + name for item in items for name in re.findall(r"Fl (-[a-z0-9-]+)", item)}


def bash(script, program="weasel"):
    """What bash offers; compopt complains outside of a completion."""
    source = PACKAGING / f"completions/{program}.bash"
    result = subprocess.run(
        ["bash", "-c", f'source {source}; compopt() {{ :; }}; {script}; printf "%s\\n" "${{COMPREPLY[@]}}"'],
        capture_output=True,
        text=True,
        check=True,
        timeout=wire.PATIENCE,
    )
    assert result.stderr == ""
    return set(result.stdout.split())


def completed(*words, program="weasel"):
    quoted = " ".join(f"'{word}'" for word in words)
    name = program.split("/")[-1]
    return bash(f"COMP_WORDS=({program} {quoted}); COMP_CWORD={len(words)}; _{name}", name)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_of_a_command(command):
    expected = options(wire.BUILD / "weasel", command)
    assert len(expected) > 3
    assert man_section(command) == expected
    assert completed(command, "--") == expected
    fish = (PACKAGING / "completions/weasel.fish").read_text()
    by_loops = re.findall(r"for command in ([a-z ]+)\n(.*?)\nend", fish, re.S)
    offered = set(re.findall(rf"^__weasel_option {command} ([a-z0-9-]+)", fish, re.M))
    for commands, body in by_loops:
        if command in commands.split():
            offered |= set(re.findall(r"__weasel_option \$command ([a-z0-9-]+)", body))
    assert {"--" + name for name in offered} == expected
    zsh = (PACKAGING / "completions/_weasel").read_text()
    own = re.search(rf"^{command}\)(.*?);;$", zsh, re.M | re.S).group(1)
    shared = dict(re.findall(r"local -a ([a-z]+)=\((.*)\)$", zsh, re.M))
    text = own + "".join(shared[name] for name in re.findall(r"\$([a-z]+)", own))
    assert set(re.findall(r"'(?:\*|\([^)]*\))?(--[a-z0-9-]+)\[", text)) == expected


def test_options_of_log():
    expected = set()
    for action in ("dump", "verify", "repair"):
        expected |= options(wire.BUILD / "weasel", "log", action)
    assert completed("log", "dump", "--") == expected
    assert completed("log", "") == {"dump", "verify", "repair", "--help"}
    fish = re.findall(r"^__weasel_option log ([a-z-]+)", (PACKAGING / "completions/weasel.fish").read_text(), re.M)
    assert {"--" + one for one in fish} | {"--help"} == expected
    zsh = re.search(r"^log\)(.*?);;$", (PACKAGING / "completions/_weasel").read_text(), re.M | re.S).group(1)
    assert set(re.findall(r"'(--[a-z-]+)\[", zsh)) | {"--help"} == expected


def test_each_command():
    listed = re.findall(r"^  ([a-z]+) +\w", help_of(wire.BUILD / "weasel"), re.M)
    assert set(COMMANDS) | {"log"} == set(listed)
    assert completed("") == set(listed) | {"help", "--help", "--version"}
    man = (PACKAGING / "man/weasel.1").read_text()
    for name in ("fish", "_weasel"):
        text = (PACKAGING / "completions" / (name if name[0] == "_" else "weasel." + name)).read_text()
        for command in listed:
            assert re.search(rf"\b{command}\b", text)
    for command in listed:
        assert f".Ss weasel {command}\n" in man


def test_the_server():
    expected = options(wire.BUILD / "weaseldb")
    assert completed("--", program=str(wire.BUILD / "weaseldb")) == expected
    man = (PACKAGING / "man/weaseldb.8").read_text()
    assert {"-" + name for name in re.findall(r"^\.It Fl (-[a-z-]+)", man, re.M)} == expected
    for name in ("weaseldb.fish", "_weaseldb"):
        text = (PACKAGING / "completions" / name).read_text()
        found = re.findall(r"-l ([a-z-]+)", text) if name.endswith("fish") else re.findall(r"'\*?--([a-z-]+)\[", text)
        assert {"--" + one for one in found} == expected


def test_values_are_completed():
    assert completed("bench", "--distribution", "") == {"uniform", "zipf", "sequential"}
    assert completed("bench", "--format", "p") == {"protobuf"}
    keys = completed("--set", "http.p", program=str(wire.BUILD / "weaseldb"))
    assert "http.port=" in keys
    assert "http.pipelines.commit_status.threads=" in keys


@pytest.mark.parametrize("page", ["weasel.1", "weaseldb.8"])
def test_man_pages_are_well_formed(page):
    if not shutil.which("groff"):
        pytest.skip("this system has no groff")
    result = subprocess.run(
        ["groff", "-mandoc", "-Tascii", "-ww", PACKAGING / "man" / page], capture_output=True, text=True, timeout=wire.PATIENCE
    )
    assert result.returncode == 0
    assert result.stderr == ""
    assert "EXIT STATUS" in re.sub(r".\x08|\x1b\[[0-9;]*m", "", result.stdout)
