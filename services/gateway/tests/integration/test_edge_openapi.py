"""The document of the routes, and that no documented route is upset by junk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from layer_gateway.http.openapi import openapi
from layer_gateway.http.operation_docs import DOCS
from layer_gateway.http.routes import ROUTES
from layer_testing.edge_calls import EdgeCaller
from layer_testing.gateway_calls import KEY, embedded_store, gateway_over

pytestmark = pytest.mark.asyncio(loop_scope="module")

JUNK: tuple[Any, ...] = (
    b"",
    b"\xff\xfe",
    b"[" * 100_000,
    None,
    [],
    "text",
    -1,
    {},
    {"ids": [None]},
    {"vector": "x", "top_k": 10**30, "cursor": "!", "filters": [["a"]]},
    {"rank_by": [[], {}], "top_k": -1},
    {"upsert_rows": [{"id": {"a": 1}}], "schema": []},
    {"namespaces": [""], "queries": [{}]},
    {"queries": 7, "shard_count": -5, "schema_version": "x"},
)
QUERIES = ("", "?limit=x&before=%00&from=yesterday&page_size=-1&warm=2&family=%FF&cursor=%%%")
UNCONFIGURED = {"NO_OBJECT_STORE", "HISTORY_OFF", "SNAPSHOTS_OFF"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EdgeCaller]:
    async with (
        embedded_store(tmp_path_factory.mktemp("store")) as url,
        gateway_over(url) as process,
    ):
        yield EdgeCaller(process.addresses["http"], key=KEY)


async def test_the_document_is_served_to_everybody(served: EdgeCaller) -> None:
    received = await EdgeCaller(served.address, key="")("GET", "/openapi.json")
    assert received.status == 200
    assert received.json == openapi()


async def test_every_route_is_documented_once() -> None:
    document = openapi()
    assert set(ROUTES.values()) == DOCS.keys()
    operations = [one for path in document["paths"].values() for one in path.values()]
    assert len(operations) == len(ROUTES)
    assert len({one["operationId"] for one in operations}) == len(ROUTES)
    for path, methods in document["paths"].items():
        for method, one in methods.items():
            names = {p["name"] for p in one["parameters"] if p["in"] == "path"}
            assert names == {part[1:-1] for part in path.split("/") if part.startswith("{")}
            assert one["security"] == [] or one["x-required-scope"] in {"read", "write", "admin"}
            assert ("requestBody" in one) <= (method in {"post", "put", "patch", "delete"})


@pytest.mark.parametrize("key", [key for key in ROUTES if "/metrics/" not in key])
async def test_no_junk_is_a_fault_of_ours(served: EdgeCaller, key: str) -> None:
    method, path = key.split(" ")
    for name in ("n", "%00", "a%2Fb"):
        target = "/".join(name if part.startswith("{") else part for part in path.split("/"))
        for query in QUERIES:
            bodies = JUNK if method in {"POST", "PUT", "PATCH"} and name == "n" else (b"",)
            for body in bodies:
                headers = {"content-type": "application/json"}
                received = await served(method, target + query, body, headers)
                if received.status >= 500:
                    assert received.json["reason"] in UNCONFIGURED | {"CACHE_COLD", "CACHE_AWAY"}, (
                        target,
                        body,
                        received.body,
                    )
