"""The packaged services start: only this shows that their dependencies are complete.

In all other tests every package of the lock is on the path, so that a requirement which no
target names would not be missed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

SERVICES = ("cache", "gateway", "history", "runtime", "snapshots", "vectorstore")
START_S_MAX = 60

if not Path("layer.pex").exists():
    pytest.skip("needs what Pants packages: make package-test", allow_module_level=True)


def environment(directory: Path, service: str) -> dict[str, str]:
    prefix = f"LAYER_{service.upper()}"
    own = {f"{prefix}_OPS_ADDRESS": "127.0.0.1:0", "PEX_ROOT": str(directory / "pex")}
    if service != "vectorstore":
        own[f"{prefix}_GRPC_ADDRESS"] = "127.0.0.1:0"
    if service in {"gateway", "vectorstore"}:
        own[f"{prefix}_HTTP_ADDRESS"] = "127.0.0.1:0"
    if service in {"cache", "vectorstore"}:
        own[f"{prefix}_DATA_DIRECTORY"] = str(directory / service)
    return {"PATH": os.environ["PATH"], **own}


@pytest.mark.parametrize("service", SERVICES)
def test_a_packaged_service_starts_and_stops(service: str, tmp_path: Path) -> None:
    command = [sys.executable, f"layer-{service}.pex"]
    own = environment(tmp_path, service)
    with subprocess.Popen(command, env=own, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            addresses = json.loads(process.stdout.readline().removeprefix("listening "))
            ready = httpx.get(f"http://{addresses['ops']}/readyz", timeout=START_S_MAX)
            assert ready.status_code == 200
            process.terminate()
            assert process.wait(timeout=START_S_MAX) == 0
        finally:
            process.kill()


def test_the_packaged_command_runs(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "layer.pex", "version"],
        env={"PATH": os.environ["PATH"], "PEX_ROOT": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=START_S_MAX,
    )
    assert run.stdout.strip()
