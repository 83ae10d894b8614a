"""A gateway that has served much holds no more than one that has served some."""

from __future__ import annotations

import asyncio
import gc
import json

import pytest
from pydantic import SecretStr

from layer_gateway.bootstrap import serving
from layer_gateway.settings import GatewaySettings
from layer_testing.edge_calls import EdgeCaller
from layer_testing.scripted_store import ScriptedStore, answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "a-key"
TURNS = 20
OBJECTS_MORE_MAX = 350
"""Half an object for each request of the second half."""

JSON = {"content-type": "application/json"}
REQUESTS = [
    ("POST", "/v2/namespaces/n/query", {"rank_by": ["text", "BM25", "x"], "limit": 1}),
    ("POST", "/v2/namespaces/n/query", {"vector": [0.5] * 64, "between": [0, 1]}),
    ("POST", "/v2/namespaces/n/query", {"vector": "neither"}),
    ("POST", "/v2/namespaces/n", {"upsert_rows": [{"id": "a", "vector": [0.5]}]}),
    ("POST", "/v2/namespaces/n/documents", {"ids": ["a", "b"]}),
    ("GET", "/v1/unknown", None),
    ("POST", "/v2/namespaces/%21/query", {"vector": [1]}),
]


async def test_what_was_served_leaves_nothing_behind(store: ScriptedStore) -> None:
    store.namespace("n", rows=({"id": "a", "$dist": 0.5},), vector="[1]f32")
    store.answers["GET /v2/namespaces/n/metadata"] = answer({"index": {"status": "up-to-date"}})
    settings = GatewaySettings(
        http_address="127.0.0.1:0",
        grpc_address="127.0.0.1:0",
        upstream_url=store.url,
        upstream_api_key=SecretStr(KEY),
    )
    async with serving(settings) as addresses:
        edge = EdgeCaller(addresses["http"], key=KEY)
        await serve(edge)
        store.requests.clear()
        before = objects_count()
        for _ in range(5):
            await serve(edge)
        store.requests.clear()
        assert objects_count() - before < OBJECTS_MORE_MAX


async def serve(edge: EdgeCaller) -> None:
    """Send every kind of request, several at once."""
    for _ in range(TURNS):
        await asyncio.gather(
            *(
                edge(method, path, b"" if body is None else json.dumps(body).encode(), JSON)
                for method, path, body in REQUESTS
            )
        )


def objects_count() -> int:
    gc.collect()
    return len(gc.get_objects())
