"""The metrics that each service's README lists are the ones it has."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from layer_testing.system import LocalSystem, local_system

SERVICES = sorted(path.parent.name for path in Path("services").glob("*/README.md"))
NAME = re.compile(r"`(layer_\w+)(?:\{[^}]*\})?`")
TIMEOUT_S = 10


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    with local_system(tmp_path_factory.mktemp("m")) as running:
        yield running


def listed(service: str) -> set[str]:
    """Return the names in the first column of the README's table of metrics."""
    page = Path("services", service, "README.md").read_text(encoding="utf-8")
    section = page.partition("\n## Metrics\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    return {name for cell in rows for name in NAME.findall(cell)}


def exported(system: LocalSystem, service: str) -> set[str]:
    url = f"http://{system.address(service, 'ops')}/metrics"
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        lines = answer.read().decode().splitlines()
    return {line.split()[2] for line in lines if line.startswith("# TYPE ")}


def test_there_are_six_services() -> None:
    assert len(SERVICES) == 6


@pytest.mark.parametrize("service", SERVICES)
def test_every_metric_of_a_readme_exists(system: LocalSystem, service: str) -> None:
    names = listed(service)
    assert names
    assert names <= exported(system, service)
