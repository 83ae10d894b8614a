from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from layer_kit.configuration import did_you_mean
from layer_kit.supervision import SUPERVISOR_VARIABLE, listening_line, parse_listening_line

DIE_WITH_SUPERVISOR = (
    "from layer_kit.supervision import die_with_supervisor; die_with_supervisor(); print('lives')"
)


def test_a_listening_line_is_read_back() -> None:
    addresses = {"grpc": "unix:/run/a.sock", "ops": "127.0.0.1:1"}
    assert parse_listening_line(listening_line(addresses)) == addresses


@pytest.mark.parametrize("line", ["", "listening", "listening {", "listening []", "hello {}"])
def test_other_lines_are_not_addresses(line: str) -> None:
    assert parse_listening_line(line) is None


@pytest.mark.parametrize(
    ("supervisor_pid", "output"),
    [(str(os.getpid()), "lives\n"), ("1", ""), ("no pid", ""), ("", "lives\n")],
    ids=["its-supervisor-lives", "its-supervisor-died-before", "no-pid", "it-has-no-supervisor"],
)
def test_a_process_ends_at_once_when_its_supervisor_is_gone(
    supervisor_pid: str, output: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", DIE_WITH_SUPERVISOR],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in sys.path),
            SUPERVISOR_VARIABLE: supervisor_pid,
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert ended.stdout == output


def test_a_typing_error_gets_a_suggestion_and_nonsense_does_not() -> None:
    assert did_you_mean("LAYER_HOEM", ["LAYER_HOME", "LAYER_ENV"]) == "; did you mean LAYER_HOME?"
    assert did_you_mean("XYZ", ["LAYER_HOME"]) == ""
