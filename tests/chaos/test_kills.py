"""Killing processes under load: what was acknowledged stays, and the edge goes on.

Each test runs the real system with two gateways. One thread writes a counter into one row and
remembers the last value that was acknowledged; others fetch that row through both gateways. A
fetch that returns less than what was acknowledged before it began has been served a stale row.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import turbopuffer

from layer_testing.system import LocalSystem, local_system, until

HEADERS = {"authorization": "Bearer any"}
GATEWAYS = ("gateway", "gateway-2")
NAMESPACE = "counter"
TIMEOUT_S = 10.0
QUIET_SERVICES = ("cache", "snapshots", "history", "runtime")


@pytest.fixture
def system(tmp_path: Path) -> Iterator[LocalSystem]:
    with local_system(tmp_path / "h", "--replicas", "gateway=2") as running:
        yield running


class Traffic:
    """A writer and readers of one counter; see the module's text."""

    def __init__(self, system: LocalSystem, gateways: Sequence[str] = GATEWAYS) -> None:
        self._system = system
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._forever, args=(self._write,)),
            *(
                threading.Thread(target=self._forever, args=(self._read, gateway))
                for gateway in gateways
            ),
        ]
        self.acknowledged = 0
        self.read_count = 0
        self.stale: list[str] = []
        self.failures: list[str] = []
        self.crashes: list[BaseException] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.advance(writes=1, reads=1)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def advance(self, writes: int = 5, reads: int = 20) -> None:
        """Wait until that much more has happened."""
        written, read = self.acknowledged + writes, self.read_count + reads
        until(
            lambda: self.crashes or (self.acknowledged >= written and self.read_count >= read),
            what="traffic to go on",
        )
        assert not self.crashes

    def _forever(self, step: Callable[..., None], *arguments: object) -> None:
        with httpx.Client(headers=HEADERS, timeout=TIMEOUT_S) as client:
            while not self._stop.is_set():
                try:
                    step(client, *arguments)
                except httpx.TransportError as error:
                    self.failures.append(f"{step.__name__}: {error!r}")
                except BaseException as error:
                    self.crashes.append(error)
                    raise

    def _write(self, client: httpx.Client) -> None:
        value = self.acknowledged + 1
        answer = client.post(
            f"http://{self._system.address('gateway', 'http')}/v2/namespaces/{NAMESPACE}",
            json={"upsert_rows": [{"id": "row", "value": value}]},
        )
        if answer.status_code == 200:
            self.acknowledged = value
        else:
            self.failures.append(f"write: {answer.status_code} {answer.text[:200]}")

    def _read(self, client: httpx.Client, gateway: str) -> None:
        before = self.acknowledged
        address = self._system.address(gateway, "http")
        answer = client.get(f"http://{address}/v2/namespaces/{NAMESPACE}/documents/row")
        if answer.status_code == 404 and before == 0:
            return
        if answer.status_code != 200:
            self.failures.append(f"read: {answer.status_code} {answer.text[:200]}")
            return
        self.read_count += 1
        value = answer.json()["attributes"]["value"]
        if value < before:
            self.stale.append(
                f"{gateway}: {value} after {before}, {answer.headers['x-layer-cache']}"
            )


def test_clients_do_not_notice_the_death_of_a_service(system: LocalSystem) -> None:
    with Traffic(system) as traffic:
        for service in QUIET_SERVICES:
            for count in (1, 2):
                system.kill(service)
                traffic.advance()
                system.wait_restarted(service, restart_count=count)
                traffic.advance()
    assert traffic.stale == []
    assert traffic.failures == []


def test_a_cache_that_hangs_costs_latency_only(system: LocalSystem) -> None:
    with Traffic(system) as traffic:
        os.kill(system.pid("cache"), signal.SIGSTOP)
        try:
            traffic.advance()
        finally:
            os.kill(system.pid("cache"), signal.SIGCONT)
        traffic.advance()
    assert traffic.stale == []
    assert traffic.failures == []


def served_from(client: httpx.Client, rows: list[dict[str, object]], url: str) -> set[str]:
    return {client.get(f"{url}/documents/{row['id']}").headers["x-layer-cache"] for row in rows}


def test_losing_one_of_three_caches_costs_latency_only(tmp_path: Path) -> None:
    with local_system(tmp_path / "h", "--replicas", "cache=3") as system:
        url = f"{system.url}/v2/namespaces/{NAMESPACE}"
        with (
            Traffic(system, gateways=("gateway",)) as traffic,
            httpx.Client(headers=HEADERS, timeout=TIMEOUT_S) as client,
        ):
            rows: list[dict[str, object]] = [
                {"id": f"other-{number}", "value": number} for number in range(30)
            ]
            client.post(url, json={"upsert_rows": rows}).raise_for_status()
            for count, cache in enumerate(("cache", "cache-2", "cache-3")):
                os.kill(system.pid(cache), signal.SIGSTOP)
                try:
                    traffic.advance()
                    # The one that was killed before may be on its way back still.
                    until(
                        lambda: "hit" in served_from(client, rows, url), what="a hit of the others"
                    )
                finally:
                    os.kill(system.pid(cache), signal.SIGCONT)
                system.kill(cache)
                traffic.advance()
                system.wait_restarted(cache, restart_count=1)
                traffic.advance(writes=count + 1)
        assert traffic.stale == []
        assert traffic.failures == []


def test_hits_return_after_the_cache_was_killed(system: LocalSystem) -> None:
    url = f"{system.url}/v2/namespaces/{NAMESPACE}"
    with httpx.Client(headers=HEADERS, timeout=TIMEOUT_S) as client:
        client.post(url, json={"upsert_rows": [{"id": "row", "value": 1}]}).raise_for_status()
        system.kill("cache")
        assert client.get(f"{url}/documents/row").status_code == 200
        until(
            lambda: client.get(f"{url}/documents/row").headers["x-layer-cache"] == "hit",
            what="a hit",
        )


def test_the_death_of_a_gateway_loses_nothing_acknowledged(system: LocalSystem) -> None:
    with Traffic(system) as traffic:
        system.kill("gateway")
        system.wait_restarted("gateway", restart_count=1)
        traffic.advance()
    assert traffic.stale == []


def test_without_its_store_the_edge_says_so_and_recovers(system: LocalSystem) -> None:
    with Traffic(system) as traffic:
        system.kill("vectorstore")
        system.wait_restarted("vectorstore", restart_count=1)
        traffic.advance()
    assert traffic.stale == []
    refusals = [failure for failure in traffic.failures if "upstream_error" in failure]
    assert refusals == traffic.failures


def test_killing_everything_loses_no_acknowledged_write(tmp_path: Path) -> None:
    acknowledged: list[int] = []
    with (
        local_system(tmp_path / "h") as system,
        turbopuffer.Turbopuffer(api_key="any", base_url=system.url, max_retries=0) as client,
    ):
        writer = threading.Thread(target=_write_until_it_fails, args=(client, acknowledged))
        writer.start()
        until(lambda: len(acknowledged) >= 20, what="some writes")
        system.kill_everything()
        writer.join()
    with local_system(tmp_path / "h") as system:
        with turbopuffer.Turbopuffer(api_key="any", base_url=system.url) as client:
            found = client.namespace(NAMESPACE).query(rank_by=("id", "asc"), limit=10_000)
        assert set(acknowledged) <= {row.id for row in found.rows or []}
        with httpx.Client(headers=HEADERS, timeout=TIMEOUT_S) as http:
            for id_ in (acknowledged[0], acknowledged[-1]):
                url = f"{system.url}/v2/namespaces/{NAMESPACE}/documents/{id_}"
                assert http.get(url).json()["attributes"]["value"] == id_


def _write_until_it_fails(client: turbopuffer.Turbopuffer, acknowledged: list[int]) -> None:
    namespace = client.namespace(NAMESPACE)
    deadline = time.monotonic() + TIMEOUT_S * 6
    while time.monotonic() < deadline:
        value = len(acknowledged) + 1
        row: Any = {"id": value, "value": value}
        try:
            namespace.write(upsert_rows=[row])
        except turbopuffer.APIError:
            return
        acknowledged.append(value)
