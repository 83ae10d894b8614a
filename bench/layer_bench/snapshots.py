"""Snapshots: one of a million rows with five facets, and what is answered from it.

Run alone: ``python -m layer_bench.snapshots [--rows N]``. The store, the gateway and the service
are processes, objects are in a folder; rows are written past the gateway first.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.table import Table

from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer.snapshots.v1 import snapshots_pb2, snapshots_pb2_grpc
from layer_bench.load import cpu_ns
from layer_bench.printing import show
from layer_bench.vectorstore import Figure
from layer_kit.errors import NotFoundError
from layer_kit.rpc.client import invoke, open_channel
from layer_testing.gateway_calls import KEY, embedded_store, gateway_over
from layer_testing.processes import ServiceProcess, running
from layer_upstream import UpstreamClient, UpstreamLimits

ROWS_COUNT: Final = 1_000_000
ROWS_PER_WRITE: Final = 20_000
READS_COUNT: Final = 500
NAMESPACE: Final = "tools"
WAIT_S_MAX: Final = 1_800.0
PAUSE_S: Final = 0.05
CALL_S_MAX: Final = 60.0

DISTINCT: Final = {"kind": 12, "maker": 400, "city": 5_000, "rating": 5}
"""Values of the first four facets; the fifth is a list of two out of thirty tags."""

RESIDENT_MAX: Final = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
AUTHORIZATION: Final = ("authorization", f"Bearer {KEY}")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What runs, and a way to each."""

    store_url: str
    gateway: ServiceProcess
    service: ServiceProcess
    snapshots: snapshots_pb2_grpc.SnapshotsServiceStub
    rows: gateway_pb2_grpc.GatewayServiceStub


async def measured(directory: Path, rows_count: int) -> list[Figure]:
    """Fill a namespace, take its snapshot, and read that."""
    async with _world(directory) as world:
        await _fill(world.store_url, rows_count)
        raw_s = await _stream(world)
        before = [cpu_ns((one.pid,)) for one in (world.gateway, world.service)]
        idle_bytes, started_s = _resident_max(world.service.pid), time.perf_counter()
        await _take(world, rows_count)
        seconds = time.perf_counter() - started_s
        after = [cpu_ns((one.pid,)) for one in (world.gateway, world.service)]
        gateway_us, service_us = (
            (later - earlier) / rows_count / 1000
            for earlier, later in zip(before, after, strict=True)
        )
        grown = _resident_max(world.service.pid) - idle_bytes
        count_ms = await _reads(world.snapshots.CountValues, _count_request())
        whole_ms = await _reads(world.snapshots.GetSnapshot, _field_request("kind"))
        city_ms = await _reads(world.snapshots.GetSnapshot, _field_request("city"))
    million = rows_count / 1_000_000
    return [
        Figure(f"a snapshot of {million:g} M rows, 5 facets", seconds, "s", ""),
        Figure("the same, of the time to stream the rows", seconds / raw_s, "", "<= 1.25"),
        Figure("the service, for a row", service_us, "CPU µs", ""),
        Figure("the gateway, for a row", gateway_us, "CPU µs", ""),
        Figure("memory that the service took for it", grown / 1024**2, "MiB", "<= 64"),
        Figure("a count out of the latest, p50", count_ms, "ms", "<= 3"),
        Figure("12 values out of the latest, p50", whole_ms, "ms", "<= 3"),
        Figure("5000 values out of the latest, p50", city_ms, "ms", ""),
    ]


@asynccontextmanager
async def _world(directory: Path) -> AsyncIterator[World]:
    async with embedded_store(directory / "store") as store_url:
        environment = {"LAYER_SNAPSHOTS_OBJECTS_DIRECTORY": str(directory / "objects")}
        async with gateway_over(store_url) as gateway:
            settings = {
                "LAYER_SNAPSHOTS_GRPC_ADDRESS": "127.0.0.1:0",
                "LAYER_SNAPSHOTS_GATEWAY_ADDRESS": gateway.addresses["grpc"],
                "LAYER_SNAPSHOTS_GATEWAY_API_KEY": KEY,
            }
            async with (
                running("layer_snapshots", **(settings | environment)) as service,
                open_channel(service.addresses["grpc"]) as channel,
                open_channel(gateway.addresses["grpc"]) as rows_channel,
            ):
                yield World(
                    store_url=store_url,
                    gateway=gateway,
                    service=service,
                    snapshots=snapshots_pb2_grpc.SnapshotsServiceStub(channel),
                    rows=gateway_pb2_grpc.GatewayServiceStub(rows_channel),
                )


async def _fill(store_url: str, rows_count: int) -> None:
    limits = UpstreamLimits(connections_max=1, total_timeout_s=WAIT_S_MAX)
    client = UpstreamClient(store_url, limits)
    headers = [(b"authorization", f"Bearer {KEY}".encode()), (b"content-type", b"application/json")]
    for start in range(0, rows_count, ROWS_PER_WRITE):
        numbers = range(start, min(start + ROWS_PER_WRITE, rows_count))
        columns: dict[str, Any] = {
            "id": list(numbers),
            **{name: [_value(name, n) for n in numbers] for name in DISTINCT},
            "tags": [[f"tag-{n % 30}", f"tag-{n // 30 % 30}"] for n in numbers],
        }
        body = msgspec.json.encode({"upsert_columns": columns})
        path = f"/v2/namespaces/{NAMESPACE}".encode()
        answer = await client.request(b"POST", path, headers, body)
        if answer.status != 200:  # noqa: PLR2004 -- HTTP's
            raise RuntimeError(f"the store answered {answer.status}: {answer.body[:200]!r}")
    await client.aclose()


def _value(name: str, number: int) -> object:
    """Return a value that is not in step with the other facets."""
    place = number * 2_654_435_761 % 2**32 % DISTINCT[name]
    return place + 1 if name == "rating" else f"{name} number {place}"


async def _stream(world: World) -> float:
    """Return the seconds in which the rows come out of the gateway, counted by nobody."""
    started_s = time.perf_counter()
    request = gateway_pb2.StreamValuesRequest(
        namespace=NAMESPACE, attribute_names=[*sorted(DISTINCT), "tags"], page_size=10_000
    )
    async for _ in world.rows.StreamValues(request, metadata=(AUTHORIZATION,)):
        pass
    return time.perf_counter() - started_s


async def _take(world: World, rows_count: int) -> None:
    policy = snapshots_pb2.SnapshotPolicy(
        facet_fields=[*DISTINCT, "tags"], interval_text="1s", retention_text="never"
    )
    update = snapshots_pb2.UpdateSnapshotPolicyRequest(namespace=NAMESPACE, policy=policy)
    await invoke(world.snapshots.UpdateSnapshotPolicy, update, timeout_s=CALL_S_MAX)
    watermark = snapshots_pb2.Watermark(
        namespace=NAMESPACE, watermark_ms=time.time_ns() // 1_000_000
    )
    told = snapshots_pb2.RecordWatermarksRequest(watermarks=[watermark])
    await invoke(world.snapshots.RecordWatermarks, told, timeout_s=CALL_S_MAX)
    wanted = snapshots_pb2.GetSnapshotRequest(namespace=NAMESPACE, without_fields=True)
    async with asyncio.timeout(WAIT_S_MAX):
        while True:
            try:
                found = await invoke(world.snapshots.GetSnapshot, wanted, timeout_s=CALL_S_MAX)
            except NotFoundError:
                await asyncio.sleep(PAUSE_S)
            else:
                break
    if found.snapshot.row_count != rows_count:
        raise RuntimeError(f"{found.snapshot.row_count} rows were counted, not {rows_count}")


async def _reads(method: Any, request: object) -> float:
    times = []
    for _ in range(READS_COUNT):
        started_s = time.perf_counter()
        await invoke(method, request, timeout_s=CALL_S_MAX)
        times.append(time.perf_counter() - started_s)
    return statistics.median(times) * 1000


def _count_request() -> snapshots_pb2.CountValuesRequest:
    return snapshots_pb2.CountValuesRequest(
        namespace=NAMESPACE, field="city", values=["city number 7", "city number 8"]
    )


def _field_request(field: str) -> snapshots_pb2.GetSnapshotRequest:
    return snapshots_pb2.GetSnapshotRequest(namespace=NAMESPACE, field_names=[field])


def _resident_max(pid: int) -> int:
    """Return the most memory that a process has had, in bytes."""
    found = RESIDENT_MAX.search(Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


async def main(rows_count: int) -> None:
    table = Table(title="snapshots")
    for heading in ("snapshots", "measured", "goal"):
        table.add_column(heading, justify="left" if heading == "snapshots" else "right")
    with tempfile.TemporaryDirectory(prefix="layer-bench-") as directory:
        for figure in await measured(Path(directory), rows_count):
            table.add_row(figure.name, f"{figure.value:.3g} {figure.unit}", figure.goal)
    show(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS_COUNT, help="rows of the namespace")
    asyncio.run(main(parser.parse_args().rows))
