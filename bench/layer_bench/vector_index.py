"""The embedded store on 300,000 rows: exact searches against those of its approximate index.

Run alone: ``python -m layer_bench.vector_index``; it takes some minutes and 1 GB of memory.
"""

from __future__ import annotations

import asyncio
import base64
import re
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from layer_bench.printing import show
from layer_testing.processes import ServiceProcess, running

ROWS_COUNT: Final = 300_000
DIMENSIONS: Final = 256
BATCH_ROWS: Final = 5000
CLUSTERS_COUNT: Final = 600
PARTS_COUNT: Final = 10
QUERIES_COUNT: Final = 100
TOP_K: Final = 10
NEVER: Final = 1 << 40
BUILD_S_MAX: Final = 900
NAMESPACE: Final = "vectors"

FILTERS: Final = {
    "all rows": None,
    "50 % of the rows": ["part", "Lt", 5],
    "10 % of the rows": ["part", "Eq", 3],
}

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Milliseconds, and the part of the exact answers that the index found."""

    name: str
    exact_p50_ms: float
    building_p50_ms: float
    indexed_p50_ms: float
    recall: float


@dataclass(frozen=True, slots=True)
class Measured:
    comparisons: list[Comparison]
    build_s: float
    reload_s: float
    """After a restart, from the first query until the index is in use again."""
    debug_recall: float


async def run() -> Measured:
    """Load the store, then search it without an index, while it is built, and with it."""
    generator = np.random.default_rng(1)
    centers = generator.normal(size=(CLUSTERS_COUNT, DIMENSIONS)).astype(np.float32)
    queries = _near(centers, QUERIES_COUNT, generator)
    with tempfile.TemporaryDirectory() as directory:
        async with _store(directory, NEVER) as (_, http):
            await _load(http, centers, generator)
            exact = {name: await _search(http, queries, kept) for name, kept in FILTERS.items()}
        async with _store(directory, ROWS_COUNT) as (service, http):
            # The first query loads the rows, which starts the build.
            await _search(http, queries[:1], None)
            started_at_s = time.perf_counter()
            building = {name: await _search(http, queries, kept) for name, kept in FILTERS.items()}
            await _wait_until_built(service)
            build_s = time.perf_counter() - started_at_s
            indexed = {name: await _search(http, queries, kept) for name, kept in FILTERS.items()}
            debug_recall = (await _post(http, "v1", "_debug/recall", b"{}"))["avg_recall"]
        async with _store(directory, ROWS_COUNT) as (service, http):
            started_at_s = time.perf_counter()
            await _search(http, queries[:1], None)
            await _wait_until_built(service)
            reload_s = time.perf_counter() - started_at_s
    comparisons = [
        Comparison(
            name,
            statistics.median(exact[name][0]),
            statistics.median(building[name][0]),
            statistics.median(indexed[name][0]),
            _recall(exact[name][1], indexed[name][1]),
        )
        for name in FILTERS
    ]
    return Measured(comparisons, build_s, reload_s, debug_recall)


async def _load(
    http: aiohttp.ClientSession, centers: Vectors, generator: np.random.Generator
) -> None:
    for start in range(0, ROWS_COUNT, BATCH_ROWS):
        ids = range(start, start + BATCH_ROWS)
        vectors = _near(centers, BATCH_ROWS, generator)
        body = {
            "distance_metric": "cosine_distance",
            "upsert_columns": {
                "id": list(ids),
                "vector": base64.b64encode(vectors.tobytes()).decode(),
                "part": [i % PARTS_COUNT for i in ids],
            },
        }
        await _post(http, "v2", "", msgspec.json.encode(body))


async def _search(
    http: aiohttp.ClientSession, queries: Vectors, filters: Any
) -> tuple[list[float], list[set[int]]]:
    """Search one query after the other; return the milliseconds and the ids of each."""
    times_ms, found = [], []
    for query in queries:
        body = {"rank_by": ["vector", "ANN", query.tolist()], "limit": TOP_K, "filters": filters}
        data = msgspec.json.encode(body)
        started_at_s = time.perf_counter()
        answer = await _post(http, "v2", "query", data)
        times_ms.append((time.perf_counter() - started_at_s) * 1000)
        found.append({row["id"] for row in answer["rows"]})
    return times_ms, found


async def _post(http: aiohttp.ClientSession, version: str, action: str, data: bytes) -> Any:
    path = f"/{version}/namespaces/{NAMESPACE}/{action}".rstrip("/")
    async with http.post(path, data=data) as response:
        response.raise_for_status()
        return msgspec.json.decode(await response.read())


async def _wait_until_built(service: ServiceProcess) -> None:
    async with (
        asyncio.timeout(BUILD_S_MAX),
        aiohttp.ClientSession(f"http://{service.addresses['ops']}") as ops,
    ):
        while True:
            async with ops.get("/metrics") as response:
                text = await response.text()
            if re.search(r"^layer_vectorstore_index_builds_total 1", text, re.MULTILINE):
                return
            await asyncio.sleep(0.5)


@asynccontextmanager
async def _store(
    directory: str, index_rows_min: int
) -> AsyncIterator[tuple[ServiceProcess, aiohttp.ClientSession]]:
    async with (
        running(
            "layer_vectorstore",
            LAYER_VECTORSTORE_DATA_DIRECTORY=directory,
            LAYER_VECTORSTORE_HTTP_ADDRESS="127.0.0.1:0",
            LAYER_VECTORSTORE_INDEX_ROWS_MIN=str(index_rows_min),
        ) as service,
        aiohttp.ClientSession(f"http://{service.addresses['http']}") as http,
    ):
        yield service, http


def _near(centers: Vectors, count: int, generator: np.random.Generator) -> Vectors:
    """Draw vectors in clusters, as embeddings are; without structure nothing is near."""
    members = centers[generator.integers(0, len(centers), count)]
    noise = generator.normal(scale=0.3, size=(count, DIMENSIONS))
    return (members + noise).astype(np.float32)


def _recall(expected: Sequence[set[int]], found: Sequence[set[int]]) -> float:
    pairs = zip(expected, found, strict=True)
    return statistics.mean(len(truth & ids) / TOP_K for truth, ids in pairs)


def main() -> None:
    measured = asyncio.run(run())
    table = Table("nearest 10 of", "exact, p50", "while it is built", "index, p50", "recall@10")
    for item in measured.comparisons:
        times_ms = (item.exact_p50_ms, item.building_p50_ms, item.indexed_p50_ms)
        table.add_row(item.name, *(f"{each:.2f} ms" for each in times_ms), f"{item.recall:.3f}")
    show(table)
    rows_per_s = ROWS_COUNT / measured.build_s
    print(
        f"built in {measured.build_s:.0f} s ({rows_per_s:,.0f} rows/s), "
        f"in use again {measured.reload_s:.1f} s after a restart; "
        f"_debug/recall says {measured.debug_recall:.3f}"
    )


if __name__ == "__main__":
    main()
