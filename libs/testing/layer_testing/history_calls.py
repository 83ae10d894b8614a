"""Searches as tests of history send them, and what history tells of them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from layer_testing.edge_calls import EdgeAnswer, EdgeCaller, eventually

BOOKS: Final = "books"


def history_path(namespace: str = BOOKS) -> str:
    return f"/v2/namespaces/{namespace}/search-history"


async def told(edge: EdgeCaller, count: int, path: str = history_path()) -> list[dict[str, Any]]:
    """Wait until history has ``count`` entries; return them, newest first."""

    async def ask() -> list[dict[str, Any]]:
        answer = await edge("GET", f"{path}?limit=500")
        body = answer.json if answer.status == HTTPStatus.OK else {}
        found: list[dict[str, Any]] = body.get("entries") or body.get("events") or []
        return found if len(found) >= count else []

    found = await eventually(ask)
    assert len(found) == count
    return found


async def search(edge: EdgeCaller, n: int, namespace: str = BOOKS, **headers: str) -> EdgeAnswer:
    """Send a query for ``n + 1`` rows."""
    body = {"vector": [0.5, 1.5, 2.5], "top_k": n + 1, "filters": ["n", "Eq", n]}
    answer = await edge("POST", f"/v2/namespaces/{namespace}/query", body, headers)
    assert answer.status == HTTPStatus.OK
    return answer
