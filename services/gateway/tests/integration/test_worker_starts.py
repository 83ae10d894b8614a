"""A pool gets its workers back, whatever keeps them from starting."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from layer_gateway.pool import supervisor
from layer_gateway.pool.flights import new_flights
from layer_gateway.pool.marks import new_table
from layer_gateway.pool.supervisor import Workers
from layer_gateway.settings import GatewaySettings
from layer_kit.configuration import ConfigurationError
from layer_kit.health import Health
from layer_testing.edge_calls import eventually

PORTS = {"http": "127.0.0.1:0", "grpc": "127.0.0.1:0"}
SERVES = """
import os, pathlib, signal
pathlib.Path(os.environ["RUNS"]).open("a").write(f"{os.getpid()}\\n")
print('listening {"ops": "127.0.0.1:9"}', flush=True)
signal.sigwait([signal.SIGTERM])
"""
SAYS_NOTHING = """
import os, pathlib, time
pathlib.Path(os.environ["RUNS"]).open("a").write(f"{os.getpid()}\\n")
time.sleep(600)
"""
TALKS_FIRST = SERVES.replace("print(", "print('x' * 200_000)\nprint(")
TALKS_ON = SERVES.replace("signal.sigwait", "print('x' * 1_000_000, flush=True)\nsignal.sigwait")


class Pool:
    """Workers of a program that a test may replace."""

    def __init__(self, folder: Path) -> None:
        self.program = folder / "worker"
        self.runs = folder / "runs"
        self.health = Health()
        self.registry = CollectorRegistry()

    def becomes(self, code: str) -> None:
        self.program.write_text(f"#!{sys.executable}\n{code}")
        self.program.chmod(stat.S_IRWXU)

    @property
    def pids(self) -> list[int]:
        """Every worker that has ever run, in this order."""
        return [int(line) for line in self.runs.read_text().split()]

    def count(self, name: str) -> float:
        return self.registry.get_sample_value(name) or 0.0

    @asynccontextmanager
    async def running(self, patience_s: float = 20.0) -> AsyncIterator[None]:
        marks_fd, flights_fd = new_table(), new_flights(1)
        workers = Workers(
            GatewaySettings(workers=1),
            self.health,
            self.registry,
            marks_fd,
            flights_fd,
            command=[str(self.program)],
            start_patience_s=patience_s,
        )
        try:
            await workers.start(PORTS, "127.0.0.1:9")
            yield
        finally:
            await workers.stop()
            os.close(marks_fd)
            os.close(flights_fd)


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pool:
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(supervisor, "BACKOFF_S_MIN", 0.01)
    monkeypatch.setattr(supervisor, "BACKOFF_S_MAX", 0.05)
    return Pool(tmp_path)


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


async def once(condition: Callable[[], bool]) -> bool:
    async def holds() -> bool:
        return condition()

    return await eventually(holds)


async def test_a_program_that_is_away_for_a_while_is_started_once_it_is_back(pool: Pool) -> None:
    pool.becomes(SERVES)
    async with pool.running():
        pool.program.rename(pool.program.with_suffix(".away"))
        os.kill(pool.pids[0], signal.SIGKILL)
        assert await once(lambda: pool.count("layer_worker_failed_starts_total") >= 2)
        assert not pool.health.is_ready
        pool.program.with_suffix(".away").rename(pool.program)
        assert await once(lambda: pool.health.is_ready)
        assert len(pool.pids) == 2
    assert is_gone(pool.pids[1])


async def test_a_worker_that_never_serves_is_ended_and_started_anew(pool: Pool) -> None:
    pool.becomes(SERVES)
    async with pool.running(patience_s=1.5):
        pool.becomes(SAYS_NOTHING)
        os.kill(pool.pids[0], signal.SIGKILL)
        assert await once(lambda: pool.count("layer_worker_failed_starts_total") >= 1)
        silent = pool.pids[1]
        pool.becomes(SERVES)
        assert await once(lambda: pool.health.is_ready)
        assert is_gone(silent)


async def test_a_pool_that_stops_leaves_no_worker_that_still_starts(pool: Pool) -> None:
    pool.becomes(SERVES)
    async with pool.running():
        pool.becomes(SAYS_NOTHING)
        os.kill(pool.pids[0], signal.SIGKILL)
        assert await once(lambda: len(pool.pids) == 2)
    assert is_gone(pool.pids[1])


@pytest.mark.parametrize("code", [TALKS_FIRST, TALKS_ON], ids=["before", "after"])
async def test_a_worker_may_print_more_than_anybody_reads(pool: Pool, code: str) -> None:
    pool.becomes(code)
    async with pool.running():
        assert pool.health.is_ready
        os.kill(pool.pids[0], signal.SIGTERM)
        assert await once(lambda: pool.count("layer_worker_restarts_total") == 1)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (SAYS_NOTHING, "a worker did not serve within 1 s"),
        ("raise SystemExit(3)", "a worker ended with 3 before it served"),
        (None, "a worker could not be started: No such file or directory"),
    ],
)
async def test_a_pool_whose_workers_cannot_start_says_why(
    pool: Pool, code: str | None, why: str
) -> None:
    if code is not None:
        pool.becomes(code)
    with pytest.raises(ConfigurationError, match=why):
        async with pool.running(patience_s=1.0):
            pass
