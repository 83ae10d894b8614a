"""Copies of blobs in the cache: made on request, served first, and never needed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from layer_objects import ObjectStore, open_object_store
from layer_testing.edge_calls import EdgeAnswer, EdgeCaller, eventually
from layer_testing.gateway_calls import KEY, embedded_store, gateway_over
from layer_testing.processes import running

pytestmark = pytest.mark.asyncio(loop_scope="module")

ATTRIBUTES = {"shop": ["image", "more"], "many": ["image"], "*": ["absent"]}


@dataclass
class World:
    """Gateways with and without a cache over one folder of objects."""

    edge: EdgeCaller
    bare: EdgeCaller
    objects: ObjectStore

    async def put(self, namespace: str, body: bytes, query: str = "") -> str:
        answer = await self.edge("PUT", f"/v1/namespaces/{namespace}/blobs{query}", body)
        assert answer.status == 200, answer.body
        assert answer.json["sha256"] == hashlib.sha256(body).hexdigest()
        return str(answer.json["sha256"])

    async def get(self, namespace: str, sha256: str) -> EdgeAnswer:
        return await self.edge("GET", f"/v1/namespaces/{namespace}/blobs/{sha256}")

    async def hint(self, namespace: str, query: str) -> EdgeAnswer:
        return await self.edge("GET", f"/v1/namespaces/{namespace}/hint_cache_warm?{query}")

    async def warm_blobs(self, namespace: str, budget: int, more: str = "") -> Any:
        query = f"turbopuffer=false&documents=false&snapshots=false&blobs=true{more}"
        answer = await self.hint(namespace, f"{query}&blob_budget_bytes={budget}")
        assert answer.status == 200, answer.body
        return answer.json["blobs"]

    async def write(self, namespace: str, *rows: Any) -> None:
        body = {"upsert_rows": rows, "distance_metric": "cosine_distance"}
        answer = await self.edge("POST", f"/v2/namespaces/{namespace}", body)
        assert answer.status == 200, answer.body

    async def lose(self, namespace: str, sha256: str) -> None:
        """Take an object away, so that only a copy can be served."""
        await self.objects.delete(f"blobs/{namespace}/{sha256}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    home = tmp_path_factory.mktemp("w")
    async with AsyncExitStack() as stack:
        store_url = await stack.enter_async_context(embedded_store(home / "store"))
        await stack.enter_async_context(
            running(
                "layer_cache",
                LAYER_CACHE_GRPC_ADDRESS=f"unix:{home / 'c.sock'}",
                LAYER_CACHE_DATA_DIRECTORY=str(home / "cache"),
            )
        )
        edges = []
        for address in (f"unix:{home / 'c.sock'}", ""):
            process = await stack.enter_async_context(
                gateway_over(
                    store_url,
                    LAYER_GATEWAY_CACHE_ADDRESS=address,
                    LAYER_GATEWAY_OBJECTS_DIRECTORY=str(home / "objects"),
                    LAYER_GATEWAY_REACTIVE_WARM="false",
                    LAYER_GATEWAY_BLOB_REFERENCE_ATTRIBUTES=json.dumps(ATTRIBUTES),
                )
            )
            edges.append(EdgeCaller(process.addresses["http"], key=KEY))

        async def is_connected() -> bool:
            return bool((await edges[0]("GET", "/health")).json["aerospike"]["connected"])

        assert await eventually(is_connected)
        objects = open_object_store((home / "objects").as_uri())
        stack.push_async_callback(objects.aclose)
        yield World(edges[0], edges[1], objects)


async def test_a_blob_that_was_put_warm_is_served_from_the_cache(world: World) -> None:
    warm = await world.put("n", b"\x89PNG\r\n\x1a\n warm", "?warm=true")
    cold = await world.put("n", b"cold")
    for sha256 in (warm, cold):
        await world.lose("n", sha256)

    served = await world.get("n", warm)
    assert (served.status, served.body) == (200, b"\x89PNG\r\n\x1a\n warm")
    assert served["content-type"] == "image/png"
    assert served["etag"] == f'"{warm}"'
    assert (await world.get("n", cold)).status == 404
    assert (await world.get("other", warm)).status == 404


async def test_a_small_blob_that_was_read_is_copied_and_a_large_one_is_not(world: World) -> None:
    small, large = await world.put("n", b"s" * 10_000), await world.put("n", b"l" * 2_000_000)
    for sha256 in (small, large):
        assert (await world.get("n", sha256)).status == 200
    await world.lose("n", small)

    async def is_copied() -> bool:
        return (await world.get("n", small)).status == 200

    assert await eventually(is_copied)
    await world.lose("n", large)
    assert (await world.get("n", large)).status == 404


async def test_without_a_cache_blobs_are_what_they_were(world: World) -> None:
    answer = await world.bare("PUT", "/v1/namespaces/n/blobs?warm=true", b"bare")
    assert answer.status == 200
    path = f"/v1/namespaces/n/blobs/{answer.json['sha256']}"
    assert (await world.bare("GET", path)).body == b"bare"
    query = "documents=false&snapshots=false&blobs=true&blob_budget_bytes=1000"
    refused = await world.bare("GET", f"/v1/namespaces/shop/hint_cache_warm?{query}")
    assert (refused.status, refused.json["error"]) == (503, "cache_cold")
    assert refused.json["cache_state"] == "cold"


async def test_a_hint_copies_what_rows_refer_to(world: World) -> None:
    first, second, third = [await world.put("shop", body) for body in (b"one", b"two!", b"three")]
    lost = "0" * 64
    await world.write(
        "shop",
        {"id": "1", "image": f"blob://shop/{first}", "more": [f"blob://shop/{second}"]},
        {"id": "2", "image": f"blob://shop/{first}", "more": [f"blob://shop/{lost}"]},
        {"id": "3", "image": "https://example.com/x.png", "more": [f"blob://other/{third}"]},
        {"id": "4", "image": None, "more": []},
    )
    assert await world.warm_blobs("shop", 1000, "&page_size=2") == {
        "enabled": True,
        "status": "completed",
        "attributes": ["image", "more"],
        "budget_bytes": 1000,
        "documents_scanned": 4,
        "refs_seen": 6,
        "objects": 2,
        "bytes": 7,
        "missing": 1,
        "invalid_refs": 2,
        "budget_exhausted": False,
    }
    for sha256, body in ((first, b"one"), (second, b"two!")):
        await world.lose("shop", sha256)
        assert (await world.get("shop", sha256)).body == body


async def test_a_hint_ends_at_its_budget(world: World) -> None:
    names = [await world.put("many", bytes([at]) * 100) for at in range(20)]
    await world.write(
        "many",
        *({"id": str(at), "image": f"blob://many/{name}"} for at, name in enumerate(names)),
    )
    done = await world.warm_blobs("many", 550, "&page_size=1")
    assert done["budget_exhausted"]
    assert (done["objects"], done["bytes"]) == (5, 500)
    assert done["documents_scanned"] < 20


async def test_a_namespace_without_such_attributes_has_nothing_to_copy(world: World) -> None:
    await world.write("plain", {"id": "1", "text": "x"})
    done = await world.warm_blobs("plain", 10)
    assert (done["attributes"], done["objects"], done["refs_seen"]) == (["absent"], 0, 0)
    query = "turbopuffer=false&documents=false&snapshots=false&blobs=true&blob_budget_bytes=10"
    assert (await world.hint("no-such-namespace", query)).status == 404


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("blobs=true", "blob_budget_bytes"),
        ("blobs=true&blob_budget_bytes=0", "blob_budget_bytes"),
        ("blobs=true&blob_budget_bytes=-1", "blob_budget_bytes"),
        ("blobs=true&blob_budget_bytes=1e3", "blob_budget_bytes"),
        (f"blobs=true&blob_budget_bytes={'9' * 5000}", "blob_budget_bytes"),
        ("blob_budget_bytes=10", "blob_budget_bytes"),
        ("blobs=perhaps&blob_budget_bytes=10", "blobs"),
    ],
)
async def test_a_hint_that_cannot_be_meant_is_a_422(world: World, query: str, field: str) -> None:
    refused = await world.hint("shop", query)
    assert (refused.status, refused.json["error"]) == (422, "validation_error")
    assert field in refused.json["message"]
