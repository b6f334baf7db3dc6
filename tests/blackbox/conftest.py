import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import openapi  # noqa: E402
import unseen  # noqa: E402
import wire  # noqa: E402

collect_ignore = [] if wire.DASHBOARD else ["test_dashboard.py"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One test server for the tests of a file that change none of its settings."""
    path = tmp_path_factory.mktemp("socket") / "s"
    with wire.testserver("--unix", path, "--network-threads", 2, "--accept-threads", 2) as running:
        yield running


counted = []  # what tests have counted, in words; shown at the end


@pytest.fixture
def tell(request):
    return lambda words: counted.append(f"{request.node.name}: {words}")


def pytest_terminal_summary(terminalreporter):
    if counted:
        terminalreporter.section("counted")
        for line in counted:
            terminalreporter.write_line(line)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A test fails with the exchanges of its own that are not as api/openapi.yaml says."""
    report = (yield).get_result()
    if openapi.complaints:
        text = "not as api/openapi.yaml says:\n  " + "\n  ".join(dict.fromkeys(openapi.complaints))
        openapi.complaints.clear()
        if report.passed:
            report.outcome, report.longrepr = "failed", text
        else:
            report.sections.append(("api/openapi.yaml", text))


def pytest_sessionfinish(session, exitstatus):
    """When the whole suite has run and passed, nothing documented may be left unseen."""
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    files = {path.name for path in pathlib.Path(__file__).parent.glob("test_*.py")} - set(collect_ignore)
    whole = {item.path.name for item in session.items} == files
    if exitstatus != 0 or not whole or terminal.stats.get("deselected"):
        return
    if terminal.stats.get("skipped"):
        terminal.write_line("\nwith tests skipped, nobody can say whether all of api/openapi.yaml was seen")
        return
    missing, needless = unseen.judge()
    for entry in needless:
        terminal.write_line(f"\nunseen.py lists what was seen: {' '.join(entry)}", yellow=True)
    for entry in missing:
        terminal.write_line(f"\ndocumented in api/openapi.yaml, but seen in no test: {' '.join(entry)}", red=True)
    if missing:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
