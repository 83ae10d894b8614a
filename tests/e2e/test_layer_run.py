"""`layer run --local`: rows that fail, Ctrl-C and going on, what programs read, what goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from layer_testing.processes import child_environment
from layer_testing.system import LocalSystem, until

RUN_S_MAX = 60.0
WORKER = """
import os, time
from pathlib import Path
from layer_sdk import PermanentError, udf

HERE = Path(__file__).parent

@udf(output="twice")
def double(n: int | None) -> int:
    if n is None:
        raise PermanentError("it has no n")
    (HERE / f"pid-{os.getpid()}").touch()
    while (HERE / "wait").exists():
        time.sleep(0.01)
    return 2 * n
"""
MANIFEST = """
kind: Function
metadata: {name: NAME}
spec:
  targetNamespaces: [NAME]
  inputs: [n]
  retry: {maxAttempts: 2, initialBackoffSeconds: 1}
  worker:
    batchSize: 2
    podSpec: {containers: [{name: udf, command: [python, -m, layer_sdk, "doubling:double"]}]}
"""


@pytest.fixture
def folder(system: LocalSystem, name: str, tmp_path: Path) -> Path:
    """A function over six rows, of which one cannot be done."""
    rows: list[dict[str, Any]] = [{"id": f"r{n}", "n": n} for n in range(5)]
    rows.append({"id": "odd"})
    call(system, "POST", f"namespaces/{name}", {"upsert_rows": rows})
    (tmp_path / "doubling.py").write_text(WORKER)
    (tmp_path / "function.yaml").write_text(MANIFEST.replace("NAME", name))
    return tmp_path


def call(system: LocalSystem, method: str, path: str, body: object = None) -> Any:
    answer = httpx.request(
        method, f"{system.url}/v2/{path}", json=body, headers={"authorization": "Bearer local"}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def started(system: LocalSystem, folder: Path, *options: str) -> subprocess.Popen[str]:
    command = ["-m", "layer_cli", "run", "-f", "function.yaml", "--local", "--processes", "2"]
    return subprocess.Popen(
        [sys.executable, *command, "--poll-interval", "0.2", *options],
        cwd=folder,
        env=child_environment({"LAYER_BASE_URL": system.url}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    with process:
        try:
            out, said = process.communicate(timeout=RUN_S_MAX)
        finally:
            process.kill()
        return process.returncode, out, said


def run(system: LocalSystem, folder: Path, *options: str) -> tuple[int, str, str]:
    return ended(started(system, folder, *options))


def worker_pids(folder: Path) -> list[int]:
    return [int(path.name.removeprefix("pid-")) for path in folder.glob("pid-*")]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_row_that_cannot_be_done_is_told_with_its_reason_and_tried_again_when_asked(
    system: LocalSystem, folder: Path, name: str
) -> None:
    code, out, said = run(system, folder)
    assert code == 1
    assert out.startswith(f"{name}: 5 done, 1 failed in ")
    assert f"  {name}/odd: it has no n\n" in out
    assert "PENDING" in said

    call(system, "POST", f"namespaces/{name}", {"patch_rows": [{"id": "odd", "n": 7}]})
    code, out, _ = run(system, folder, "--retry-failed", "-o", "json")
    found = json.loads(out)
    assert (code, found["completed_count"], found["failed_count"]) == (0, 1, 0)
    assert found["status"]["udf_id"] == name
    row = call(system, "GET", f"namespaces/{name}/documents/odd")
    assert row["attributes"]["twice"] == 14


def test_ctrl_c_gives_back_what_is_at_work_and_the_next_run_goes_on(
    system: LocalSystem, folder: Path, name: str
) -> None:
    (folder / "wait").touch()
    process = started(system, folder)
    until(lambda: len(worker_pids(folder)) == 2, what="both workers to be at work")
    process.send_signal(signal.SIGINT)
    (folder / "wait").unlink()
    code, out, said = ended(process)
    assert (code, out) == (130, "")
    assert "rows are left; run it again to go on" in said
    assert "Traceback" not in said
    assert not any(map(is_alive, worker_pids(folder)))
    status = call(system, "GET", f"udfs/{name}/status")
    assert status["processing_count"] == 0

    code, out, _ = run(system, folder, "-o", "json", "--rm")
    found = json.loads(out)  # all of it, and nothing else
    assert (code, found["udf_id"], found["failed_count"]) == (1, name, 1)
    (failed,) = found["failed"]
    assert (failed["id"], failed["message"], failed["attempts"]) == ("odd", "it has no n", 1)
    assert name not in [one["id"] for one in call(system, "GET", "udfs")["udfs"]]
    rows = [call(system, "GET", f"namespaces/{name}/documents/r{n}") for n in range(5)]
    assert [row["attributes"]["twice"] for row in rows] == [0, 2, 4, 6, 8]


def test_workers_end_with_a_command_that_is_killed(system: LocalSystem, folder: Path) -> None:
    (folder / "wait").touch()
    process = started(system, folder)
    until(lambda: len(worker_pids(folder)) == 2, what="both workers to be at work")
    process.kill()
    (folder / "wait").unlink()
    ended(process)
    until(lambda: not any(map(is_alive, worker_pids(folder))), what="the workers to end")


def test_workers_that_cannot_start_end_the_command(system: LocalSystem, folder: Path) -> None:
    (folder / "doubling.py").write_text("import nowhere_to_be_found")
    code, out, said = run(system, folder)
    assert (code, out) == (1, "")
    assert "No module named 'nowhere_to_be_found'" in said
    assert "layer: all workers ended, the first with 2" in said


def test_a_function_that_is_paused_says_so(system: LocalSystem, folder: Path, name: str) -> None:
    spec = {"target_namespaces": [name], "inputs": ["n"], "worker": {}}
    call(system, "POST", "udfs", {"id": name, "spec": spec, "paused": True})
    code, _, said = run(system, folder, "--no-apply")
    assert code == 1
    assert f"function {name} is paused" in said
