"""Scans of the gateway against what it reads: its store's own paging, and the cache.

Run alone: ``python -m layer_bench.scans``. Rates of the store are of paired rounds, in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvloop
from rich.table import Table

from layer.cache.v1 import cache_pb2
from layer.cache.v1.cache_pb2_grpc import CacheServiceStub
from layer_bench.printing import show
from layer_kit.rpc.client import open_channel
from layer_objects import open_object_store
from layer_testing.gateway_calls import KEY, embedded_store, gateway_over
from layer_testing.processes import ServiceProcess, running
from layer_upstream import UpstreamClient, UpstreamLimits

STORED_ROWS: Final = 50_000
SHARDS: Final = 16
PAGE_SIZE: Final = 1000
THREADS: Final = (1, 8, 32)
BATCH_ROWS: Final = 2000
COUNTS: Final = 200
HEADERS: Final = (
    (b"authorization", b"Bearer " + KEY.encode()),
    (b"content-type", b"application/json"),
)
NAMESPACE: Final = "bench"
TARGET: Final = f"/v2/namespaces/{NAMESPACE}"
FACETED: Final = "faceted"
SHA: Final = "377a8c3d1354f29f2423d5c66195574cd10f44f1a7b1ce4df650796612020dc6"
SNAPSHOT: Final = {
    "namespace": FACETED,
    "watermark_ms": 1779999999500,
    "sha": SHA,
    "row_count": 5,
    "fields": [
        {
            "name": "kind",
            "values": [{"v": "drill", "n": 1}, {"v": "râpe", "n": 1}, {"v": "saw", "n": 3}],
        },
        {"name": "rating", "values": [{"v": "4", "n": 1}, {"v": "5", "n": 3}]},
        {
            "name": "tags",
            "values": [{"v": "hand", "n": 2}, {"v": "metal", "n": 2}, {"v": "wood", "n": 2}],
        },
    ],
    "fields_skipped": [],
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number with its goal."""

    name: str
    value: float
    unit: str
    goal: str = ""


class Api:
    """Calls of one HTTP API."""

    def __init__(self, url: str) -> None:
        self._client = UpstreamClient(url, UpstreamLimits(connections_max=64, total_timeout_s=600))

    async def __call__(self, method: str, target: str, body: object = None) -> Any:
        text = b"" if body is None else json.dumps(body).encode()
        answer = await self._client.request(method.encode(), target.encode(), HEADERS, text)
        assert answer.status < 300, answer.body  # noqa: PLR2004 -- an error in HTTP
        return json.loads(answer.body)

    async def aclose(self) -> None:
        await self._client.aclose()


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    store: Api
    gateway: Api
    process: ServiceProcess
    cache: CacheServiceStub


async def measured(rows_count: int, rounds: int) -> list[Figure]:
    """Measure everything."""
    with tempfile.TemporaryDirectory() as directory:
        async with _system(Path(directory)) as system:
            await _fill_store(system)
            origin = await _origin(system, rounds)
            latest = await _from_snapshot(system)
            await _fill_cache(system, rows_count)
            return [*origin, *await _from_cache(system, rows_count), *latest]


async def _origin(system: System, rounds: int) -> list[Figure]:
    """Count by the store with some threads, and page through it the same way without layer."""
    figures = []
    for threads in THREADS:
        ratios, rates = [], []
        for turn in range(rounds + 1):
            raw_s = await _timed(partial(_page_raw, system.store, threads))
            scan_s = await _timed(partial(_count, system, source="origin", threads=threads))
            if turn:  # the first one warms up
                ratios.append(raw_s / scan_s)
                rates.append(STORED_ROWS / scan_s)
        name = f"count by the store, {threads} threads"
        figures += [
            Figure(f"{name}, rows/s", statistics.median(rates), "/s"),
            Figure(f"{name} ÷ its own paging", statistics.median(ratios), "x", "≥ 0.8"),
        ]
    return figures


async def _page_raw(store: Api, threads: int) -> None:
    """Read every id with as many connections, by shards where there are several."""
    slots = asyncio.Semaphore(threads)

    async def part(kept: list[object] | None) -> int:
        last, found = None, 0
        while True:
            after = None if last is None else ["id", "Gt", last]
            both = [one for one in (after, kept) if one is not None]
            body: dict[str, Any] = {
                "rank_by": ["id", "asc"],
                "top_k": PAGE_SIZE,
                "include_attributes": [],
            }
            if both:
                body["filters"] = both[0] if len(both) == 1 else ["And", both]
            async with slots:
                rows = (await store("POST", f"{TARGET}/query", body))["rows"]
            found += len(rows)
            if len(rows) < PAGE_SIZE:
                return found
            last = rows[-1]["id"]

    kept: Sequence[list[object] | None] = [None]
    if threads > 1:
        kept = [["_hevlayer_shard", "Eq", shard] for shard in range(SHARDS)]
    assert sum(await asyncio.gather(*map(part, kept))) == STORED_ROWS


async def _count(system: System, **body: Any) -> int:
    asked = {"mode": "count", "page_size": PAGE_SIZE, "timeout_seconds": 300} | body
    found = await system.gateway("POST", f"{TARGET}/scans", asked)
    assert not found.get("bounded")
    return int(found["count"])


async def _from_cache(system: System, rows_count: int) -> list[Figure]:
    before = _resident_mib(system.process.pid, "VmRSS")
    count_s = await _timed(lambda: _count(system, source="cache"))
    filtered_s = await _timed(
        lambda: _count(system, source="cache", filters=["_hevlayer_shard", "Lt", 8])
    )
    values_s = await _timed(lambda: _job(system, mode="values", field="kind"))
    values_mib = _resident_mib(system.process.pid, "VmHWM") - before
    ids_s = await _timed(lambda: _job(system, mode="ids"))
    ids_mib = _resident_mib(system.process.pid, "VmHWM") - before
    millions = rows_count / 1e6
    return [
        Figure(f"count of {rows_count:,} rows in the cache", count_s, "s"),
        Figure("the same, half of them by a filter", filtered_s, "s"),
        Figure("their values of one attribute, as a job", values_s, "s"),
        Figure("their ids, sorted, as a job", ids_s, "s"),
        Figure("a million ids, sorted", ids_s / millions, "s"),
        Figure("memory that the gateway took for the values", values_mib, "MiB", "bounded"),
        Figure("memory that it took for the ids", ids_mib, "MiB", "bounded"),
        Figure("a page of 1000 ids from the end, p50", await _last_page(system), "ms"),
    ]


async def _job(system: System, **body: Any) -> dict[str, Any]:
    asked = {"source": "cache", "page_size": 10_000} | body
    job = await system.gateway("POST", f"{TARGET}/scans", asked)
    while job["status"] == "running":
        await asyncio.sleep(0.05)
        job = await system.gateway("GET", f"{TARGET}/scans/{job['id']}")
    assert job["status"] == "completed", job
    return dict(job)


async def _last_page(system: System) -> float:
    (*_, job) = (await system.gateway("GET", f"{TARGET}/scans"))["scans"]
    path = f"{TARGET}/scans/{job['id']}/results?offset={job['documents_scanned'] - 1000}"
    times = [await _timed(lambda: system.gateway("GET", path)) for _ in range(20)]
    return statistics.median(times) * 1000


async def _from_snapshot(system: System) -> list[Figure]:
    path = f"/v2/namespaces/{FACETED}/scans"

    async def count() -> None:
        body = {"mode": "count", "filters": ["kind", "In", ["saw", "drill"]], "source": "snapshot"}
        found = await system.gateway("POST", path, body)
        assert (found["count"], found["served_by"]) == (4, "snapshot")

    async def values() -> None:
        body = {"mode": "values", "field": "kind", "source": "snapshot"}
        job = await system.gateway("POST", path, body)
        found = await system.gateway("GET", f"{path}/{job['id']}/results")
        assert found["values"][0] == {"v": "saw", "n": 3}

    async def median_ms(ask: Callable[[], Awaitable[None]]) -> float:
        await ask()
        return statistics.median([await _timed(ask) for _ in range(COUNTS)]) * 1000

    return [
        Figure("count out of a snapshot at the edge, p50", await median_ms(count), "ms", "≤ 3"),
        Figure("values out of a snapshot, as a job, p50", await median_ms(values), "ms", "≤ 9"),
    ]


async def _fill_store(system: System) -> None:
    for start in range(0, STORED_ROWS, BATCH_ROWS):
        rows = [{"id": f"row-{n:07}", "n": n} for n in range(start, start + BATCH_ROWS)]
        await system.gateway("POST", TARGET, {"upsert_rows": rows})
    rows = [{"id": "t-1", "kind": "saw", "rating": 5, "tags": ["wood"]}]
    await system.gateway("POST", f"/v2/namespaces/{FACETED}", {"upsert_rows": rows})


async def _fill_cache(system: System, rows_count: int) -> None:
    """Have the cache hold many more rows than the store, which a scan of it does not ask."""
    for start in range(0, rows_count - STORED_ROWS, BATCH_ROWS):
        lookup = cache_pb2.LookupRowsRequest(namespace=NAMESPACE, ids=[b"sx"])
        numbers = range(STORED_ROWS + start, STORED_ROWS + start + BATCH_ROWS)
        request = cache_pb2.BackfillRowsRequest(
            namespace=NAMESPACE,
            read_token=(await system.cache.LookupRows(lookup)).read_token,
            ids=[b"srow-%07d" % n for n in numbers],
            bodies=[
                b'{"n":%d,"kind":"kind-%d","_hevlayer_shard":%d,"text":"%b"}'
                % (n, n % 1000, n % SHARDS, b"x" * 100)
                for n in numbers
            ],
        )
        assert (await system.cache.BackfillRows(request)).stored_count == BATCH_ROWS


async def _timed(call: Callable[[], Awaitable[object]]) -> float:
    started_s = time.perf_counter()
    await call()
    return time.perf_counter() - started_s


def _resident_mib(pid: int, what: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith(what))
    return int(line.split()[1]) / 1024


@asynccontextmanager
async def _system(place: Path) -> AsyncIterator[System]:
    """Run a store, a cache, snapshots with one snapshot, and a gateway over all of them."""
    cache, snapshots = (f"unix:{place}/{name}.sock" for name in ("cache", "snapshots"))
    objects = open_object_store((place / "objects").as_uri())
    key = f"snapshots/{FACETED}/{SNAPSHOT['watermark_ms']}-{SHA[:7]}.json"
    await objects.put(key, json.dumps(SNAPSHOT, indent=2, ensure_ascii=False).encode())
    await objects.aclose()
    async with (
        embedded_store(place / "store") as store_url,
        running(
            "layer_cache",
            LAYER_CACHE_GRPC_ADDRESS=cache,
            LAYER_CACHE_DATA_DIRECTORY=str(place / "cache"),
            LAYER_CACHE_DISK_BYTES_MAX=str(4 * 2**30),
        ),
        running(
            "layer_snapshots",
            LAYER_SNAPSHOTS_GRPC_ADDRESS=snapshots,
            LAYER_SNAPSHOTS_OBJECTS_DIRECTORY=str(place / "objects"),
        ),
        gateway_over(
            store_url,
            LAYER_GATEWAY_CACHE_ADDRESS=cache,
            LAYER_GATEWAY_SNAPSHOTS_ADDRESS=snapshots,
            LAYER_GATEWAY_OBJECTS_DIRECTORY=str(place / "objects"),
            LAYER_GATEWAY_REACTIVE_WARM="false",
        ) as process,
        open_channel(cache, retries=False) as channel,
    ):
        store, gateway = Api(store_url), Api(f"http://{process.addresses['http']}")
        yield System(store=store, gateway=gateway, process=process, cache=CacheServiceStub(channel))
        await asyncio.gather(store.aclose(), gateway.aclose())


def table(figures: list[Figure]) -> Table:
    """Render the figures."""
    made = Table("scans", "value", "goal")
    for figure in figures:
        digits = 0 if figure.unit == "/s" else 2
        made.add_row(figure.name, f"{figure.value:,.{digits}f} {figure.unit}", figure.goal)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip())
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows in the cache")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    show(table(uvloop.run(measured(options.rows, options.rounds))))


if __name__ == "__main__":
    main()
