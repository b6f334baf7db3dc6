import sys
import pathlib

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import wire


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One test server for the tests of a file that change none of its settings."""
    path = tmp_path_factory.mktemp("socket") / "s"
    with wire.testserver("--unix", path, "--network-threads", 2, "--accept-threads", 2) as running:
        yield running
