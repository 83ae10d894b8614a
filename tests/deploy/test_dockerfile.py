"""The Dockerfile, as far as it can be judged without an engine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCKERFILE = Path("deploy/docker/Dockerfile")
Instruction = tuple[str, str]


def _stages() -> list[list[Instruction]]:
    """Return the instructions, split at each FROM; the first part is what stands before any."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    stages: list[list[Instruction]] = [[]]
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            if name == "FROM":
                stages.append([])
            stages[-1].append((name, rest.strip()))
    return stages


GLOBAL, BUILD, FINAL = _stages()


def _of(stage: list[Instruction], name: str) -> list[str]:
    return [rest for instruction, rest in stage if instruction == name]


def test_both_stages_have_the_same_base() -> None:
    assert _of(GLOBAL, "ARG") == ["PYTHON_IMAGE=python:3.11-slim-bookworm"]
    assert _of(BUILD, "FROM") == ["${PYTHON_IMAGE} AS unpacked"]
    assert _of(FINAL, "FROM") == ["${PYTHON_IMAGE}"]


@pytest.mark.parametrize("stage", [GLOBAL, BUILD, FINAL], ids=["global", "build", "final"])
def test_every_argument_is_declared_in_its_stage_before_it_is_used(
    stage: list[Instruction],
) -> None:
    known = {"PYTHON_IMAGE"}
    for name, rest in stage:
        if name == "ARG":
            known.add(rest.partition("=")[0])
        assert set(re.findall(r"\$\{(\w+)\}", rest)) <= known, rest


def test_the_pex_is_unpacked_at_build_time_and_started_from_there() -> None:
    assert _of(BUILD, "COPY") == ["dist/layer-${SERVICE}.pex /layer.pex"]
    assert _of(BUILD, "RUN") == ["PEX_TOOLS=1 python3.11 /layer.pex venv --compile /app"]
    assert _of(FINAL, "COPY") == ["--from=unpacked /app /app"]
    assert _of(FINAL, "ENTRYPOINT") == ['["/app/pex"]']


def test_the_build_context_is_the_pexes_alone() -> None:
    ignored = Path("deploy/docker/Dockerfile.dockerignore").read_text(encoding="utf-8")
    assert ignored.split() == ["*", "!dist/layer-*.pex"]


def test_the_user_is_a_number_without_a_shell_that_owns_the_data_directory() -> None:
    assert _of(FINAL, "USER") == ["10001:10001"]
    (run,) = _of(FINAL, "RUN")
    assert "--shell /usr/sbin/nologin" in run
    assert "--owner=10001 --group=10001 /var/lib/layer" in run
    order = [name for name, _ in FINAL]
    assert order.index("USER") > order.index("RUN")


def test_the_image_says_what_it_is() -> None:
    (labels,) = _of(FINAL, "LABEL")
    for label in ("title", "description", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in labels


def test_nothing_is_fetched_beside_the_base_image() -> None:
    commands = " ".join(_of(BUILD, "RUN") + _of(FINAL, "RUN"))
    assert not re.search(r"\b(apt-get|pip|curl|wget)\b", commands)
    assert not _of(BUILD, "ADD") + _of(FINAL, "ADD")
