"""A gateway before some scripted namespaces, and queries of all of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from hevlayer.models import FederatedQueryResponse

from layer_testing.edge_calls import EdgeAnswer, EdgeCaller
from layer_testing.gateway_calls import KEY, gateway_over
from layer_testing.scripted_store import ScriptedStore, answer

PROFILE = {
    "model": "small",
    "normalization": "l2",
    "outputDim": 2,
    "distanceMetric": "cosine_distance",
}
PROFILES = {
    "tools": PROFILE,
    "screws": PROFILE,
    "other": PROFILE | {"model": "large"},
    "wide": PROFILE,
}
TOOLS = [("t-2", 0.1), ("t-4", 0.25), ("t-1", 0.3)]
PARTS = [("p-9", 0.4), ("p-3", 0.45)]


@asynccontextmanager
async def federation(store: ScriptedStore, folder: Path) -> AsyncIterator[str]:
    """Run a gateway that knows how the namespaces are embedded; yield its address."""
    profiles = folder / "profiles.yaml"
    profiles.write_text(json.dumps(PROFILES))
    async with gateway_over(
        store.url,
        LAYER_GATEWAY_UPSTREAM_TIMEOUT_S="2",
        LAYER_GATEWAY_FACTS_TTL_S="0",
        LAYER_GATEWAY_EMBEDDING_PROFILES_PATH=str(profiles),
        LAYER_FEDERATED_QUERY_MAX_NAMESPACES="40",
        CONSISTENCY_POLL_INTERVAL_MS="20",
        CONSISTENCY_STABLE_POLL_INTERVAL_MS="20",
    ) as process:
        yield process.addresses["http"]


def filled(address: str, store: ScriptedStore) -> EdgeCaller:
    """Return a caller before whose first request the store has its namespaces, and nothing else."""
    store.requests.clear()
    store.answers.clear()
    holding(store, "tools", TOOLS)
    holding(store, "parts", PARTS)
    holding(store, "screws", [("s-1", 0.2)])
    holding(store, "other", [("o-1", 0.2)])
    return EdgeCaller(address, key=KEY)


def holding(store: ScriptedStore, name: str, ranked: list[tuple[str, float]]) -> None:
    store.namespace(
        name,
        rows=tuple({"id": id_, "$dist": distance} for id_, distance in ranked),
        vector="[2]f32",
        _hevlayer_upserted_at="int",
        kind="string",
        rating="int",
        text="string",
    )
    metadata = {"index": {"status": "up-to-date"}}
    store.answers[f"GET /v2/namespaces/{name}/metadata"] = answer(metadata)


def asked(store: ScriptedStore, name: str) -> list[Any]:
    """Return the queries of a namespace, without those for its marker row."""
    requests = store.asked(f"POST /v2/namespaces/{name}/query")
    return [one.json for one in requests if b"namespace_meta" not in one.body]


def bothered(store: ScriptedStore) -> list[str]:
    """Return what was asked besides the polls of indexes, which come when they will."""
    paths = [f"{one.method} {one.path}" for one in store.requests]
    return [path for path in paths if not path.endswith("/metadata")]


async def query(edge: EdgeCaller, **body: object) -> EdgeAnswer:
    received = await edge("POST", "/v2/query", {"vector": [0.1, 0.2]} | body)
    if received.status == HTTPStatus.OK:
        FederatedQueryResponse.model_validate(received.json)
    return received


def placed(received: EdgeAnswer) -> list[tuple[str, str, int]]:
    return [(row["$namespace"], row["id"], row["$rank"]) for row in received.json["rows"]]
