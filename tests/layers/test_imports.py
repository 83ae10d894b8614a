"""Every import points inwards, and each kind of wrong one is caught.

The contracts are in pyproject.toml, ``tool.importlinter``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CONFIGURATION = Path("pyproject.toml").absolute()
SETTINGS = tomllib.loads(CONFIGURATION.read_text())["tool"]["importlinter"]
SOURCE_ROOTS = (Path("cli"), *Path("libs").glob("*"), *Path("services").glob("*"))
LAYERS = ("bootstrap", "servicer", "adapters", "settings", "application", "ports", "domain")
CHECK = """
import sys
from importlinter.cli import lint_imports
sys.exit(lint_imports(config_filename=sys.argv[1], no_cache=True, no_logo=True))
"""


def check_imports(*roots: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter with our contracts over the packages in the folders ``roots``.

    In a process of its own: packages that this one has imported would be found where they are.
    """
    search = [str(path.absolute()) for path in [*roots, *map(Path, sys.path)]]
    return subprocess.run(
        [sys.executable, "-c", CHECK, str(CONFIGURATION)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(search)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A package of each name that our contracts know, with every layer and without an import."""
    for package in SETTINGS["root_packages"]:
        folder = tmp_path / package
        folder.mkdir()
        for module in ("__init__", *LAYERS):
            (folder / f"{module}.py").touch()
    return tmp_path


def test_every_import_of_ours_points_inwards() -> None:
    outcome = check_imports(*SOURCE_ROOTS)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_packages_without_imports_keep_every_contract(packages: Path) -> None:
    outcome = check_imports(packages)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize(
    ("importer", "imported", "contract"),
    [
        ("layer_gateway.adapters", "layer_cache.domain", "services and the command line"),
        ("layer_cli.bootstrap", "layer_runtime.settings", "services and the command line"),
        ("layer_wire.ports", "layer_gateway.domain", "libraries know no service"),
        ("layer_kit.ports", "layer_wire.ports", "the kit stands on nothing of ours"),
        ("layer_cache.domain", "layer_cache.ports", "imports point inwards"),
        ("layer_cache.application", "layer_cache.adapters", "imports point inwards"),
        ("layer_history.servicer", "layer_history.adapters", "imports point inwards"),
        ("layer_runtime.settings", "layer_runtime.bootstrap", "imports point inwards"),
        ("layer_snapshots.application", "google.protobuf", "the core knows no protobuf"),
        ("layer_gateway.ports", "layer.cache.v1.cache_pb2", "the core knows no protobuf"),
        ("layer_vectorstore.domain", "os", "the core knows no protobuf"),
    ],
)
def test_an_import_across_a_border_is_caught(
    packages: Path, importer: str, imported: str, contract: str
) -> None:
    package, module = importer.split(".")
    (packages / package / f"{module}.py").write_text(f"import {imported}\n")

    outcome = check_imports(packages)

    assert outcome.returncode == 1
    broken = [line for line in outcome.stdout.splitlines() if line.endswith("BROKEN")]
    assert len(broken) == 1
    assert contract in broken[0]
    assert importer in outcome.stdout
