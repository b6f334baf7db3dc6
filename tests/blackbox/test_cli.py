"""The command line and the settings, as a newcomer meets them."""

import pathlib
import socket
import subprocess
import tempfile
import tomllib

import pytest

import wire

ROOT = wire.ROOT


def run(*arguments, **options):
    with tempfile.TemporaryDirectory(prefix="weasel-") as directory:  # what gets as far as its log makes it there
        options.setdefault("cwd", directory)
        return subprocess.run(
            [wire.BUILD / "weaseldb", *arguments], capture_output=True, text=True, timeout=wire.PATIENCE, **options
        )


def write(tmp_path, text):
    path = tmp_path / "w.toml"
    path.write_text(text)
    return path


def test_help_and_version():
    result = run("--help")
    assert result.returncode == 0
    for option in ("--config", "--set", "--check-config", "--print-config", "--version", "--help"):
        assert option in result.stdout
    result = run("--version")
    assert result.returncode == 0
    assert result.stdout.startswith("weaseldb ")


def test_print_config_is_toml_that_reads_back(tmp_path):
    result = run("--print-config", "--set", "http.port=9000", "--set", 'http.unix_socket=a"b\\c')
    assert result.returncode == 0
    settings = tomllib.loads(result.stdout)
    assert settings["http"]["port"] == 9000
    assert settings["http"]["unix_socket"] == 'a"b\\c'
    again = run("--print-config", "--config", write(tmp_path, result.stdout))
    assert again.stdout == result.stdout


def test_defaults():
    settings = tomllib.loads(run("--print-config").stdout)
    assert settings["http"]["bind_address"] == "127.0.0.1"
    assert settings["http"]["port"] == 8080
    assert settings["http"]["network_threads"] >= 1


def test_the_command_line_wins_over_the_file(tmp_path):
    path = write(tmp_path, "[http]\nport = 1\nmax_connections = 5\n")
    settings = tomllib.loads(run("--print-config", "--config", path, "--set", "http.port=2").stdout)
    assert settings["http"]["port"] == 2
    assert settings["http"]["max_connections"] == 5


def test_every_key_is_documented():
    settings = tomllib.loads(run("--print-config").stdout)
    reference = (ROOT / "docs/configuration.md").read_text()
    example = (ROOT / "configs/weaseldb.toml").read_text()

    def check(name, table):
        assert f"[{name}]" in example or all(isinstance(value, dict) for value in table.values())
        for key, value in table.items():
            if isinstance(value, dict):
                check(f"{name}.{key}", value)
            else:
                assert f"| `{key}` |" in reference
                assert f"\n# {key} = " in example

    for name, table in settings.items():
        check(name, table)


def test_the_example_with_every_default_taken_in_is_right(tmp_path):
    text = (ROOT / "configs/weaseldb.toml").read_text()
    lines = [line[2:] if line.startswith("# ") and " = " in line else line for line in text.splitlines()]
    result = run("--check-config", "--config", write(tmp_path, "\n".join(lines)))
    assert result.returncode == 0, result.stderr
    assert "right" in result.stdout


@pytest.mark.parametrize(
    "text, said",
    [
        ("[http]\nport = 99999\n", ":2:8: http.port = 99999: must be an integer from 0 to 65535"),
        ("[http]\nport = -1\n", ":2:8: http.port = -1: must be an integer from 0 to 65535"),
        ("[http]\nport = 80.5\n", ":2:8: http.port = 80.5: must be an integer"),
        ('[http]\nport = "80"\n', ':2:8: http.port = "80": must be an integer'),
        ("[http]\nprot = 80\n", ":2:8: http.prot: there is no such key; did you mean http.port?"),
        ("port = 80\n", ":1:8: port: there is no such key; did you mean http.port?"),
        ("[htpp]\nmax_connections = 80\n", "did you mean http.max_connections?"),
        ("[http]\nunheard_of = 80\n", ":2:14: http.unheard_of: there is no such key"),
        ("[http]\nbind_address = [1]\n", "http.bind_address = an array: must be a string"),
        ('[logging]\nlevel = "loud"\n', 'logging.level = "loud": must be one of "debug", "info", "warn", "error"'),
        ("[logging]\naccess_log = 1\n", "logging.access_log = 1: must be true or false"),
        ("[http\nport = 80\n", ":1:"),
        ("[http]\nport = 80\nport = 81\n", "not valid TOML"),
        ("[http]\nport = 1979-05-27\n", "http.port = 1979-05-27: must be an integer"),
        ("[http]\nmax_body_bytes = 200000000\n", "must be at most an eighth of http.memory_limit_bytes"),
        (f'[http]\nunix_socket = "/{"x" * 200}"\n', "must be a string of at most 107 bytes"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path, text, said):
    path = write(tmp_path, text)
    result = run("--check-config", "--config", path)
    assert result.returncode == 2
    assert said in result.stderr
    if said.startswith(":"):
        assert f"weaseldb: {path}{said.split(' ')[0]}" in result.stderr
    assert result.stdout == ""


def test_all_mistakes_are_named_at_once(tmp_path):
    path = write(tmp_path, "[http]\nport = 99999\nprot = 1\n")
    result = run("--config", path, "--set", "logging.level=loud", "--set", "nonsense", "--set", "x=1")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 5


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--set", "http.port"], "must be KEY=VALUE"),
        (["--set", "http.port=x y"], "--set"),
        (["--set", "http.port=1\nhttp.port=2"], "--set"),
        (["--set"], "--set needs a value"),
        (["--config", "/does/not/exist"], "/does/not/exist: cannot be read: No such file or directory"),
        (["--config", "/"], "cannot be read"),
        (["--nonsense"], "there is no option --nonsense"),
        (["nonsense"], "'nonsense' is not an option"),
    ],
)
def test_a_mistake_on_the_command_line_is_named(arguments, said):
    result = run(*arguments)
    assert result.returncode == 2
    assert said in result.stderr


def test_a_huge_file_is_refused(tmp_path):
    path = write(tmp_path, "# " + "x" * (1 << 20))
    result = run("--check-config", "--config", path)
    assert result.returncode == 2
    assert "larger than 1048576 bytes" in result.stderr


def test_deep_nesting_is_refused(tmp_path):
    result = run("--check-config", "--config", write(tmp_path, "x = " + "[" * 100000))
    assert result.returncode == 2
    assert "not valid TOML" in result.stderr


def test_an_address_in_use():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = run("--set", f"http.port={taken.getsockname()[1]}")
    assert result.returncode == 1
    assert "Address already in use" in result.stderr
    assert "http.port" in result.stderr, "the hint says what to do"


@pytest.mark.parametrize(
    "setting, hint",
    [
        ("http.unix_socket=/proc/no/socket", "docs/configuration.md"),
        ("http.bind_address=192.0.2.1", "an address of this machine"),
    ],
)
def test_the_hint_of_a_failed_start_fits_it(setting, hint, tmp_path):
    result = run("--set", "http.port=0", "--set", setting, cwd=tmp_path)
    assert result.returncode == 1
    assert hint in result.stderr
    assert "another process" not in result.stderr


@pytest.mark.parametrize(
    "setting, said",
    [
        ("http.bind_address=localhost", "not an IPv4 or IPv6 address"),
        ("http.bind_address=192.0.2.1", "Cannot assign requested address"),
        ("http.bind_address=", "no address to listen on"),
        ("http.unix_socket=/does/not/exist/s", "No such file or directory"),
    ],
)
def test_an_address_that_cannot_be(setting, said):
    result = run("--set", "http.port=0", "--set", setting)
    assert result.returncode == 1
    assert said in result.stderr


def test_a_full_disk_for_the_output_is_an_error():
    with open("/dev/full", "w") as full:
        result = subprocess.run([wire.BUILD / "weaseldb", "--print-config"], stdout=full, timeout=wire.PATIENCE)
    assert result.returncode == 1


def test_the_readme_names_the_two_commands():
    readme = (ROOT / "README.md").read_text()
    makefile = pathlib.Path(ROOT / "Makefile").read_text()
    for command in ("run", "test"):
        assert f"make {command}" in readme
        assert f"\n{command}:" in makefile
