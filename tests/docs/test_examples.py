"""The examples of the documentation, run as they stand against a running system."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from layer_testing.processes import child_environment
from layer_testing.system import LocalSystem, local_system

EXAMPLE = re.compile(r"^```(python|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    with local_system(tmp_path_factory.mktemp("d")) as running:
        yield running


def examples(page: str) -> list[tuple[str, str]]:
    """Return the language and the text of each example of a page, in order."""
    return EXAMPLE.findall(Path(page).read_text(encoding="utf-8"))


LAYER = f'layer() {{ {shlex.quote(sys.executable)} -m layer_cli "$@"; }}\n'
"""The command, where it is not on the path."""


def run(system: LocalSystem, language: str, text: str, folder: Path | None = None) -> str:
    """Run an example where the defaults are replaced by what this system listens on."""
    text = text.replace("127.0.0.1:8080", system.address("gateway", "http"))
    text = text.replace("127.0.0.1:7100", system.address("gateway", "grpc"))
    is_python = language == "python"
    command = [sys.executable, "-c", text] if is_python else ["bash", "-euc", LAYER + text]
    done = subprocess.run(
        command,
        cwd=folder,
        env=child_environment({"LAYER_BASE_URL": system.url}),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_quickstart_of_the_readme_works_from_top_to_bottom(system: LocalSystem) -> None:
    printed = [run(system, language, text) for language, text in examples("README.md")]
    assert len(printed) == 3
    assert printed[0] == "dune\n"
    assert '"attributes":{"title":"Dune","year":1965,' in printed[1]
    assert '"rows":[{"id":"dune",' in printed[1]
    assert printed[2] == "Dune\n"


def test_the_guide_to_grpc_works(system: LocalSystem) -> None:
    printed = [run(system, language, text) for language, text in examples("docs/guides/grpc.md")]
    assert printed
    assert "written: 2" in printed[0]


def test_the_guide_to_history_works(system: LocalSystem) -> None:
    page = examples("docs/guides/history.md")
    printed = [run(system, language, text) for language, text in page]
    assert len(printed[0].strip()) == 32
    assert printed[1:] == ["desert planet -> ['dune']\n", "drop\n"]


def test_the_guide_to_searching_works(system: LocalSystem) -> None:
    printed = [run(system, language, text) for language, text in examples("docs/guides/search.md")]
    written, hybrid, pages, routes, federated = printed
    assert '"rows_affected":4' in written
    assert hybrid.startswith('{"rows":[{"id":"t-1",')
    assert pages == "['t-1', 't-2']\n['t-5']\n"
    assert routes == "hybrid_text t-2\nfused t-3\nsemantic t-3\n"
    assert '"$namespace":"parts","$rank":1' in federated


def test_the_guide_to_scans_works(system: LocalSystem) -> None:
    (printed,) = (
        run(system, language, text) for language, text in examples("docs/guides/scans.md")
    )
    saws, ids, tags = printed.splitlines()
    assert (saws, ids) == ("3", "{'ids': ['t-2', 't-3'], 'total': 5}")
    assert tags.startswith("[{'v': 'hand', 'n': 5}, {'v': 'saw', 'n': 3}, ")


def test_the_guide_to_snapshots_works(system: LocalSystem) -> None:
    parts = [text for _, text in examples("docs/guides/snapshots.md")]
    assert len(parts) == 4
    run(system, "python", "\n".join(parts))  # each goes on where the one before has ended


@pytest.mark.parametrize("page", ["README.md", *map(str, sorted(Path("docs").rglob("*.md")))])
def test_every_link_of_a_page_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", Path(page).read_text(encoding="utf-8"))
    assert [link for link in links if not (Path(page).parent / link).exists()] == []


def test_the_guide_to_stable_reads_works(system: LocalSystem) -> None:
    (printed,) = (
        run(system, language, text) for language, text in examples("docs/guides/stable-reads.md")
    )
    assert printed == "['t-0', 't-1', 't-2'] True\nready True\n"


def test_the_guide_to_functions_works(system: LocalSystem) -> None:
    page = examples("docs/guides/functions.md")
    printed = [run(system, language, text) for language, text in page]
    assert printed == [
        "3\n",
        "2\n",
        "premium v1\n0 1\n[('odd', 'it has no price')]\n",
    ]


def test_the_guide_to_workers_works(system: LocalSystem) -> None:
    page = examples("docs/guides/worker-sdk.md")
    printed = [run(system, language, text) for language, text in page]
    assert printed == ["", "2\nSaws cut\n", "1\n1\n"]


def test_the_guide_to_pipelines_works(system: LocalSystem) -> None:
    page = examples("docs/guides/pipelines.md")
    printed = [run(system, language, text) for language, text in page]
    assert printed == ["{'indexed': 1}\n", "['job-1', 'job-2'] 2\n"]


def test_the_guide_to_sharing_work_out_works(system: LocalSystem) -> None:
    page = examples("docs/guides/partitioning.md")
    printed = [run(system, language, text) for language, text in page]
    assert printed == ["['acme/1', 'acme/2']\n['beta/1']\n"]


def test_the_guide_to_functions_on_a_laptop_works(system: LocalSystem, tmp_path: Path) -> None:
    page = examples("docs/guides/local-functions.md")
    printed = [run(system, language, text, tmp_path) for language, text in page]
    assert "tag-goods: 2 done, 1 failed in" in printed[1]
    assert "  goods/odd: it has no price\n" in printed[1]
    assert printed[1].endswith("exit code 1\n")
    assert '"completed_count": 1,\n  "failed_count": 0,' in printed[2]
