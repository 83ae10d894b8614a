"""The examples, step by step as their README has it, on a system of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import turbopuffer

from layer_testing.processes import child_environment
from layer_testing.system import LocalSystem, local_system

EXAMPLES = Path("examples").absolute()
STEP_S_MAX = 60.0
MODEL_S_MAX = 600.0
"""Of the steps that load a sentence model, the first time from a cold disk."""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    with local_system(tmp_path_factory.mktemp("s")) as running:
        yield running


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the example that the test is named after."""
    name = request.node.name.removeprefix("test_")
    return Path(shutil.copytree(EXAMPLES / name, tmp_path / name))


def step(
    system: LocalSystem,
    folder: Path,
    *command: str,
    expected: int = 0,
    within_s: float = STEP_S_MAX,
    **environment: str,
) -> str:
    """Run a command in the folder of an example; return what it prints."""
    where = {"LAYER_BASE_URL": system.url, "HEVLAYER_BASE_URL": system.url}
    environment = child_environment({**where, "HEVLAYER_API_KEY": "local", **environment})
    outcome = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=within_s,
    )
    assert outcome.returncode == expected, outcome.stdout + outcome.stderr
    return outcome.stdout


def run(system: LocalSystem, folder: Path, *arguments: str, expected: int = 0) -> str:
    command = ("-m", "layer_cli", "run", "-f", "function.yaml", "--local", "--processes", "1")
    return step(system, folder, *command, "--poll-interval", "0.2", *arguments, expected=expected)


def rows(system: LocalSystem, namespace: str) -> dict[str | int, dict[str, Any]]:
    with turbopuffer.Turbopuffer(api_key="local", base_url=system.url) as client:
        found = client.namespace(namespace).query(
            rank_by=("id", "asc"), top_k=100, include_attributes=True
        )
    return {row.id: row.model_dump() for row in found.rows or ()}


def test_tag_products(system: LocalSystem, folder: Path) -> None:
    step(system, folder, "load.py")
    said = run(system, folder, expected=1)
    assert "tag-price: 4 done, 1 failed" in said
    classes = {id_: row.get("price_class") for id_, row in rows(system, "products").items()}
    assert classes == {
        "saw": "budget",
        "drill": "standard",
        "lathe": "premium",
        "glue": "budget",
        "unpriced": None,
        "sharpening": None,
    }
    shown = step(system, folder, "-m", "layer_cli", "udf", "list")
    assert [line.split()[:2] for line in shown.splitlines()] == [
        ["UDF", "PAUSED"],
        ["tag-price", "no"],
    ]

    changed = (folder / "function.yaml").read_text().replace("version: v1", "version: v2")
    (folder / "function.yaml").write_text(changed)
    run(system, folder, "--replace", "--rm", expected=1)
    assert rows(system, "products")["saw"]["_hevlayer_udf_tag_price_v"] == "v2"


def test_migrate_attribute(system: LocalSystem, folder: Path) -> None:
    step(system, folder, "load.py")
    run(system, folder)
    step(system, folder, "load.py", "--later")
    run(system, folder)
    names = {
        id_: (row.get("given_name"), row["family_name"])
        for id_, row in rows(system, "customers").items()
    }
    assert names == {
        1: ("Ada", "Lovelace"),
        2: ("Grace Brewster", "Hopper"),
        3: (None, "Plato"),
        4: ("Katherine", "Johnson"),
    }


def test_classify(system: LocalSystem, folder: Path) -> None:
    step(system, folder, "load.py")
    run(system, folder)
    found = rows(system, "tickets")
    assert {id_: row["topic"] for id_, row in found.items()} == {
        "a": "account",
        "b": "shipping",
        "c": "billing",
        "d": "shipping",
    }
    assert all(1 / 3 < row["certainty"] <= 1 for row in found.values())


EMBED = ("-m", "layer_sdk", "embed:embed", "--once")


def test_markdown_search(system: LocalSystem, folder: Path) -> None:
    assert step(system, folder, "ingest.py", "documents") == "8 chunks\n"
    assert step(system, folder, *EMBED) == "completed 3\n"
    best = step(system, folder, "search.py", "a place for the bees").splitlines()
    assert best[0] == "garden.md: Bees"
    shown = step(system, folder, "-m", "layer_cli", "pipeline", "list")
    assert shown.splitlines()[1].split()[:5] == ["notes", "notes", "0", "0", "0"]


@pytest.mark.timeout(3 * MODEL_S_MAX)
@pytest.mark.skipif(
    os.environ.get("LAYER_TEST_SENTENCES") != "required",
    reason="brings PyTorch; LAYER_TEST_SENTENCES=required runs it",
)
def test_markdown_search_with_a_sentence_model(system: LocalSystem, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(EXAMPLES / "markdown_search", tmp_path / "m"))
    step(system, folder, "ingest.py", "documents", EMBEDDER="sentences")
    step(system, folder, *EMBED, within_s=MODEL_S_MAX, EMBEDDER="sentences")
    question = ("search.py", "insects that make honey")
    best = step(system, folder, *question, within_s=MODEL_S_MAX, EMBEDDER="sentences")
    assert best.splitlines()[0] == "garden.md: Bees"
