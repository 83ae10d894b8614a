"""What is asked: requests that cost the gateway something different each."""

from __future__ import annotations

import base64
import functools
import json
import random
import struct
from dataclasses import dataclass, replace
from typing import Final

from layer_bench.load import Request

DIMENSIONS: Final = 1536
ROWS_WRITTEN: Final = 1000
SMALL_BODY: Final = b'{"rank_by":["text","BM25","quick brown fox"],"limit":10}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One group of lines of the table."""

    name: str
    request: Request
    connections: int
    count: int
    """Requests a round."""
    has_starlette: bool = False
    """Whether the slow peer takes part, with a tenth of the requests."""

    @property
    def title(self) -> str:
        return f"{self.name}, {self.connections} connection{'s' if self.connections > 1 else ''}"


def scenarios(count: int) -> list[Scenario]:
    """Return what the proxies are asked; ``count`` requests a round for the cheap ones."""
    kinds: list[tuple[str, Request, float]] = [
        ("pass-through query, 2 KB answer", small_query(), 1.0),
        ("pass-through query, 220 KB answer", large_query(), 0.2),
        ("filtered query, 1536 floats", filtered_query(), 0.5),
        ("filtered query, head and body apart", replace(filtered_query(), is_apart=True), 0.5),
        ("fetch hit", _get(b"/v2/namespaces/small/documents/doc-1"), 1.0),
        ("fetch of 100, all hits", fetch(b"documents", 100), 0.2),
    ]
    found = [
        Scenario(
            name=name,
            request=request,
            connections=connections,
            count=max(connections, int(count * share)),
            has_starlette=request == small_query(),
        )
        for name, request, share in kinds
        for connections in (1, 32)
    ]
    for name, body, share in (
        ("write of 1000 rows, 1536 floats each", write_floats(), 0.005),
        ("write of 1000 rows, base64 vectors", write_base64(), 0.01),
    ):
        request = _post(b"/v2/namespaces/small", body)
        found.append(
            Scenario(name=name, request=request, connections=1, count=max(5, int(count * share)))
        )
    return found


def small_query() -> Request:
    """Return a query that is the store's alone, with an answer of 2 KB."""
    return _query(b"small", SMALL_BODY)


def large_query() -> Request:
    """Return such a query with an answer of 220 KB."""
    return _query(b"large", SMALL_BODY)


def filtered_query() -> Request:
    """Return a query that layer rewrites."""
    return _query(b"small", _layer_query())


def slow_query() -> Request:
    """Return a query that the upstream takes 10 ms for."""
    return _query(b"slow", SMALL_BODY)


def fetch(namespace: bytes, count: int) -> Request:
    """Return a fetch of the first ``count`` documents of a namespace."""
    ids = [f"doc-{at}" for at in range(count)]
    return _post(b"/v2/namespaces/" + namespace + b"/documents", _json({"ids": ids}))


def big_write() -> Request:
    """Return an upsert of 18 MB."""
    return _post(b"/v2/namespaces/small", write_floats())


def base64_write() -> Request:
    """Return an upsert of 8.7 MB."""
    return _post(b"/v2/namespaces/small", write_base64())


def base64_write_of(size_bytes: int) -> Request:
    """Return an upsert of nearly that many bytes: the rows of the smaller one, many times over."""
    body = write_base64()
    rows = body[body.index(b"[") + 1 : body.rindex(b"]")]
    ends = len(body) - len(rows)
    times = (size_bytes - ends) // (len(rows) + 1)
    ids = (rows.replace(b'"row-', b'"row-%d-' % at) for at in range(times))
    return _post(b"/v2/namespaces/small", body.replace(rows, b",".join(ids), 1))


@functools.cache
def write_floats() -> bytes:
    """Return an upsert of rows whose vectors are lists of numbers, 18 MB."""
    return _write([[round(value, 8) for value in vector] for vector in _vectors(ROWS_WRITTEN)])


@functools.cache
def write_base64() -> bytes:
    """Return the same with vectors as the official client sends them, 8.7 MB."""
    packed = (struct.pack(f"<{DIMENSIONS}f", *vector) for vector in _vectors(ROWS_WRITTEN))
    return _write([base64.b64encode(vector).decode() for vector in packed])


def _write(vectors: list[list[float]] | list[str]) -> bytes:
    attributes = {f"attribute_{at}": "x" * 60 for at in range(7)}
    rows = [
        {"id": f"row-{at}", "vector": vector, **attributes} for at, vector in enumerate(vectors)
    ]
    return _json({"upsert_rows": rows, "distance_metric": "cosine_distance"})


def _layer_query() -> bytes:
    """Return a query that layer rewrites: its temporal filter goes around the caller's."""
    (vector,) = _vectors(1)
    return _json(
        {
            "vector": [round(value, 8) for value in vector],
            "top_k": 10,
            "filters": ["title", "Eq", "x"],
            "between": [0, 4_000_000_000_000],
        }
    )


def _vectors(count: int) -> list[list[float]]:
    rng = random.Random(3)  # noqa: S311 -- the same bytes in every run
    return [[rng.uniform(-1, 1) for _ in range(DIMENSIONS)] for _ in range(count)]


def _query(namespace: bytes, body: bytes) -> Request:
    return _post(b"/v2/namespaces/" + namespace + b"/query", body)


def _post(target: bytes, body: bytes) -> Request:
    return Request(method=b"POST", target=target, body=body)


def _get(target: bytes) -> Request:
    return Request(method=b"GET", target=target)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
