"""The embedded store on 100,000 rows: speed of writes, searches and restarts, with recall.

Run alone: ``python -m layer_bench.vectorstore``.
"""

from __future__ import annotations

import asyncio
import base64
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import aiohttp
import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from layer_bench.load import cpu_ns
from layer_bench.printing import show
from layer_testing.processes import ServiceProcess, running

ROWS_COUNT: Final = 100_000
DIMENSIONS: Final = 256
BATCH_ROWS: Final = 1000
QUERIES_COUNT: Final = 60
TOP_K: Final = 10
FILTERED_PART: Final = 3
CLUSTERS_COUNT: Final = 200
VOCABULARY_COUNT: Final = 20_000
WORDS_PER_TEXT: Final = 12
VECTORS: Final = "/v2/namespaces/vectors"
TEXTS: Final = "/v2/namespaces/texts"

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number with its goal."""

    name: str
    value: float
    unit: str
    goal: str
    cpu: float | None = None
    """The same by the store's CPU time, which other work on the machine does not change much."""


@dataclass(frozen=True, slots=True)
class Timed:
    """What several requests took, one after the other."""

    wall_ms: list[float]
    cpu_ms: float
    """Of the store, for all of them."""
    answers: list[Any]


async def run() -> list[Figure]:
    """Start the store on an empty directory, measure, and return the figures in order."""
    generator = np.random.default_rng(1)
    vectors, texts = _vectors(generator), _texts(generator)
    with tempfile.TemporaryDirectory() as directory:
        async with _store(directory) as service, Client(service) as client:
            figures = [
                await _upserts(client, vectors),
                await _texts_written(client, texts),
                *await _searches(client, vectors, generator),
                await _text_searches(client, generator),
            ]
        return [*figures, await _restart(directory, vectors)]


class Client:
    """Sends requests to the store one after the other, and watches the clock and its CPU."""

    def __init__(self, service: ServiceProcess) -> None:
        self._pids = (service.pid,)
        self._http = aiohttp.ClientSession(f"http://{service.addresses['http']}")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def send(self, path: str, bodies: Sequence[Any]) -> Timed:
        wall_ms, answers = [], []
        cpu_started_ns = cpu_ns(self._pids)
        for body in bodies:
            data = msgspec.json.encode(body)
            started_at_s = time.perf_counter()
            async with self._http.post(path, data=data) as response:
                response.raise_for_status()
                answer = await response.read()
            wall_ms.append((time.perf_counter() - started_at_s) * 1000)
            answers.append(msgspec.json.decode(answer))
        return Timed(wall_ms, (cpu_ns(self._pids) - cpu_started_ns) / 1e6, answers)


async def _upserts(client: Client, vectors: Vectors) -> Figure:
    bodies = [
        {
            "distance_metric": "cosine_distance",
            "upsert_rows": [
                {"id": i, "vector": _packed(vectors[i]), "part": i % 10, "name": f"n{i % 100}"}
                for i in range(start, start + BATCH_ROWS)
            ],
        }
        for start in range(0, ROWS_COUNT, BATCH_ROWS)
    ]
    timed = await client.send(VECTORS, bodies)
    return _rows_figure("upsert, 256 dimensions, batches of 1000", timed, ">= 15000")


async def _texts_written(client: Client, texts: Sequence[str]) -> Figure:
    bodies = [
        {
            "schema": {"text": {"type": "string", "full_text_search": True}},
            "upsert_columns": {
                "id": list(range(start, start + BATCH_ROWS)),
                "text": texts[start : start + BATCH_ROWS],
            },
        }
        for start in range(0, ROWS_COUNT, BATCH_ROWS)
    ]
    return _rows_figure("upsert, full text of 12 words", await client.send(TEXTS, bodies), "")


def _rows_figure(name: str, timed: Timed, goal: str) -> Figure:
    wall_s, cpu_s = sum(timed.wall_ms) / 1000, timed.cpu_ms / 1000
    return Figure(name, ROWS_COUNT / wall_s, "rows/s", goal, ROWS_COUNT / cpu_s)


def _latency_figure(name: str, timed: Timed) -> Figure:
    p50_ms = statistics.median(timed.wall_ms)
    return Figure(f"{name}, p50", p50_ms, "ms", "<= 10", timed.cpu_ms / len(timed.wall_ms))


async def _searches(
    client: Client, vectors: Vectors, generator: np.random.Generator
) -> list[Figure]:
    picked = generator.integers(0, ROWS_COUNT, QUERIES_COUNT)
    noise = generator.normal(scale=0.1, size=(QUERIES_COUNT, DIMENSIONS))
    queries = (vectors[picked] + noise).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1)
    parts = np.arange(ROWS_COUNT) % 10
    figures = []
    for name, filters, kept in (
        ("nearest 10", None, parts >= 0),
        ("nearest 10 of 10 %", ["part", "Eq", FILTERED_PART], parts == FILTERED_PART),
    ):
        bodies = [
            {"rank_by": ["vector", "ANN", query.tolist()], "limit": TOP_K, "filters": filters}
            for query in queries
        ]
        timed = await client.send(f"{VECTORS}/query", bodies)
        recalls = []
        for query, answer in zip(queries, timed.answers, strict=True):
            scores = np.where(kept, vectors @ query / lengths, -np.inf)
            truth = set(np.argpartition(-scores, TOP_K)[:TOP_K].tolist())
            recalls.append(len(truth & {row["id"] for row in answer["rows"]}) / TOP_K)
        figures += [
            _latency_figure(name, timed),
            Figure(f"{name}, recall@10", statistics.mean(recalls), "", ">= 0.95"),
        ]
    return figures


async def _text_searches(client: Client, generator: np.random.Generator) -> Figure:
    bodies = [
        {"rank_by": ["text", "BM25", " ".join(f"w{n}" for n in numbers)], "limit": TOP_K}
        for numbers in generator.integers(0, 300, size=(QUERIES_COUNT, 3))
    ]
    return _latency_figure("BM25 of 3 words", await client.send(f"{TEXTS}/query", bodies))


async def _restart(directory: str, vectors: Vectors) -> Figure:
    """Measure from the start of the process to its first answer about the vectors."""
    started_at_s = time.perf_counter()
    async with _store(directory) as service, Client(service) as client:
        body = {"rank_by": ["vector", "ANN", vectors[0].tolist()], "limit": 1}
        await client.send(f"{VECTORS}/query", [body])
        elapsed_s = time.perf_counter() - started_at_s
        cpu_s = cpu_ns((service.pid,)) / 1e9
    return Figure("start to first answer over 100,000 vectors", elapsed_s, "s", "<= 3", cpu_s)


def _store(directory: str) -> Any:
    return running(
        "layer_vectorstore",
        LAYER_VECTORSTORE_DATA_DIRECTORY=directory,
        LAYER_VECTORSTORE_HTTP_ADDRESS="127.0.0.1:0",
    )


def _vectors(generator: np.random.Generator) -> Vectors:
    """Draw vectors in clusters, as embeddings are; without structure nothing is near."""
    centers = generator.normal(size=(CLUSTERS_COUNT, DIMENSIONS))
    members = centers[generator.integers(0, CLUSTERS_COUNT, ROWS_COUNT)]
    noise = generator.normal(scale=0.3, size=(ROWS_COUNT, DIMENSIONS))
    return (members + noise).astype(np.float32)


def _texts(generator: np.random.Generator) -> list[str]:
    """Draw texts whose words are as unevenly common as those of a language."""
    numbers = generator.zipf(1.2, size=(ROWS_COUNT, WORDS_PER_TEXT)) % VOCABULARY_COUNT
    return [" ".join(f"w{number}" for number in row) for row in numbers.tolist()]


def _packed(vector: Vectors) -> str:
    return base64.b64encode(vector.tobytes()).decode()


def main() -> None:
    table = Table("embedded store", "measured", "", "goal", "by CPU time")
    for figure in asyncio.run(run()):
        cpu = "" if figure.cpu is None else f"{figure.cpu:,.2f}"
        table.add_row(figure.name, f"{figure.value:,.2f}", figure.unit, figure.goal, cpu)
    show(table)


if __name__ == "__main__":
    main()
