"""The examples of the npm client, run by Node.js straight at the store and through the gateway.

They need Node.js 20 with npm and its registry. A machine without them leaves these tests out;
``LAYER_TEST_NODE=required``, which CI sets, fails instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from layer_testing.processes import child_environment

EXAMPLES = Path(__file__).parent / "typescript"
NODE_MAJOR_MIN = 20
TIMEOUT_S = 120


def missing() -> str:
    """Return what a machine lacks to run the examples; nothing when it has it all."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return "node and npm are not on the PATH"
    version = run(Path.cwd(), node, "--version").strip()
    major = int(version.removeprefix("v").split(".")[0])
    return "" if major >= NODE_MAJOR_MIN else f"node is {version}, not {NODE_MAJOR_MIN} or later"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the client that the lock names, and the examples beside it."""
    if reason := missing():
        assert os.environ.get("LAYER_TEST_NODE") != "required", reason
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("npm")
    for file in EXAMPLES.iterdir():
        if file.is_file():
            shutil.copy(file, directory)
    run(directory, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    return directory


def test_the_documentation_examples_pass(installed: Path, base_url: str) -> None:
    environment = {"TURBOPUFFER_BASE_URL": base_url, "TURBOPUFFER_API_KEY": "tpuf_any"}
    printed = run(
        installed, "node", "--test", "--test-reporter=tap", "examples.test.mjs", **environment
    )
    assert "# pass 15\n# fail 0\n# cancelled 0\n# skipped 0\n" in printed


def run(directory: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(
        [shutil.which(command[0]) or command[0], *command[1:]],
        cwd=directory,
        env=child_environment(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
