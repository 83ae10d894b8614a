"""What a log shows of a crash: where, never with which values."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
from layer_kit.telemetry.logs import configure_logs
import structlog
configure_logs(service="test", log_format={log_format!r}, level="info")
def crash(api_key):
    raise ValueError("broken")
try:
    crash("tpuf_" + "secret")
except ValueError:
    structlog.get_logger().exception("request_crashed")
"""


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_local_variables(log_format: str) -> None:
    program = PROGRAM.format(log_format=log_format)
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert "ValueError" in run.stderr
    assert "crash" in run.stderr
    assert "tpuf_secret" not in run.stderr
