"""Which Python `make` takes, of those that are on PATH."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "python"
NEEDED = ("bash", "cat", "dirname", "mkdir", "tee")
NO_VENV = None


@dataclass
class Machine:
    """A checkout, and interpreters that take as long as a test says."""

    root: Path

    def __post_init__(self) -> None:
        (self.root / "tools").mkdir()
        shutil.copy(SCRIPT, self.root / "tools" / "python")
        (self.root / "bin").mkdir()
        for name in NEEDED:
            found = shutil.which(name)
            assert found is not None
            (self.root / "bin" / name).symlink_to(found)

    def has(self, name: str, micros: int | None) -> Path:
        """Put an interpreter behind those that are on PATH already."""
        place = self.root / name
        place.mkdir(exist_ok=True)
        interpreter = place / "python3.11"
        said = "exit 1" if micros is NO_VENV else f'echo "{micros} {interpreter}"'
        interpreter.write_text(f'#!/bin/sh\necho "$0" >> "{self.root}/asked"\n{said}\n')
        interpreter.chmod(0o755)
        return interpreter

    def choose(self, *names: str, **environment: str) -> subprocess.CompletedProcess[str]:
        places = [str(self.root / name) for name in (*names, "bin")]
        return subprocess.run(
            [self.root / "bin" / "bash", self.root / "tools" / "python"],
            env={"PATH": ":".join(places), **environment},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def asked_count(self) -> int:
        return len((self.root / "asked").read_text().splitlines())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("first", "second", "chosen"),
    [(1000, 700, "second"), (700, 1000, "first"), (1000, 950, "first"), (NO_VENV, 900, "second")],
    ids=["a quicker one behind", "the quicker one first", "hardly a difference", "no environment"],
)
def test_one_that_is_clearly_quicker_takes_the_place_of_the_first(
    machine: Machine, first: int | None, second: int, chosen: str
) -> None:
    found = {"first": machine.has("first", first), "second": machine.has("second", second)}
    assert machine.choose("first", "second").stdout == f"{found[chosen]}\n"


def test_a_choice_is_kept_as_long_as_it_is_there(machine: Machine) -> None:
    slow, quick = machine.has("slow", 1000), machine.has("quick", 500)
    for _ in range(3):
        assert machine.choose("slow", "quick").stdout == f"{quick}\n"
    assert machine.asked_count() == 2
    quick.unlink()
    assert machine.choose("slow", "quick").stdout == f"{slow}\n"


def test_who_names_one_gets_it(machine: Machine) -> None:
    machine.has("first", 500)
    named = machine.has("named", 1000)
    assert machine.choose("first", LAYER_PYTHON=str(named)).stdout == f"{named}\n"


def test_where_there_is_none_that_is_said(machine: Machine) -> None:
    machine.has("broken", NO_VENV)
    answer = machine.choose("broken")
    assert (answer.returncode, answer.stdout) == (69, "")
    assert "no CPython 3.11 with venv" in answer.stderr


def test_the_loops_run_on_the_python_of_this_test(machine: Machine) -> None:
    own = Path(sys.base_exec_prefix) / "bin" / "python3.11"
    machine.has("real", 1).write_text(f'#!/bin/sh\nexec "{own}" "$@"\n')
    answer = machine.choose("real")
    assert answer.returncode == 0, answer.stderr
    assert Path(answer.stdout.strip()).samefile(own)
