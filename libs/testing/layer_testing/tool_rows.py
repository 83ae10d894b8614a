"""Rows that queries of every form are asked of, in namespaces of several kinds."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from layer_testing.edge_calls import EdgeCaller

SCHEMA: Final = {
    "text": {"type": "string", "full_text_search": True, "fuzzy": True, "filterable": False}
}
ROWS: Final[list[dict[str, Any]]] = [
    {"id": "t-1", "kind": "saw", "rating": 5, "text": "hand hammer", "vector": [0.9, 0.1]},
    {"id": "t-2", "kind": "saw", "rating": 4, "text": "hand saw hand tool", "vector": [0.5, 0.5]},
    {"id": "t-3", "kind": "drill", "rating": 5, "text": "drill", "vector": [0.1, 0.9]},
    {"id": "t-4", "kind": "rasp", "rating": 5, "text": "rasp", "vector": [0.0, 1.0]},
    {"id": "t-5", "kind": "saw", "text": "by hand", "vector": [1.0, 0.0]},
]
PARTS: Final[list[dict[str, Any]]] = [
    {"id": "p-9", "text": "hand wheel", "vector": [0.8, 0.2]},
    {"id": "p-3", "text": "screw", "vector": [0.2, 0.8]},
]
BARE: Final[list[dict[str, Any]]] = [{"id": "b-1", "text": "hand hammer", "vector": [0.8, 0.2]}]


async def write_tools(edge: EdgeCaller, store: EdgeCaller) -> None:
    """Write ``tools``, the same as ``sharded`` into four shards, ``parts``; past layer ``bare``.

    Raises:
        AssertionError: Something is refused.
    """
    for name, rows in (("tools", ROWS), ("sharded", ROWS), ("parts", PARTS)):
        await _write(edge, name, rows)
    await _write(store, "bare", BARE)
    started = await edge("POST", "/v2/namespaces/sharded/init", {"shard_count": 4})
    assert started.json["layer"]["shard_state"] == "ready", started.body


async def _write(caller: EdgeCaller, name: str, rows: list[dict[str, Any]]) -> None:
    body = {"upsert_rows": rows, "schema": SCHEMA, "distance_metric": "euclidean_squared"}
    written = await caller("POST", f"/v2/namespaces/{name}", body)
    assert written.status == HTTPStatus.OK, written.body
