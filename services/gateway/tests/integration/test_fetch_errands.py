"""Fetches by errand: answered and counted just as in the ordinary way, over the real cache."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_asyncio

from layer_gateway_testing.errand_calls import ask, essence, receive, request, samples
from layer_testing.edge_calls import EdgeCaller
from layer_testing.gateway_calls import KEY, embedded_store, gateway_over
from layer_testing.processes import running

pytestmark = pytest.mark.asyncio(loop_scope="module")

STRANGE = 'a,"b\\ é\u2028\n%'
ROWS: list[dict[str, object]] = [
    {"id": "t-1", "vector": [1.0, 0.0], "kind": "saw", "rating": 5},
    {"id": "t-2", "vector": [0.0, 1.0], "kind": "s\u00e4ge"},
    {"id": STRANGE, "vector": [1.0, 1.0], "kind": "drill"},
]
TOOLS = "/v2/namespaces/tools/documents"
TRACED = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
"""What makes the same fetch go the ordinary way: a trace of the caller's."""

HITS: dict[str, tuple[str, str, object]] = {
    "one": ("GET", f"{TOOLS}/t-1", b""),
    "one with a strange id": ("GET", f"{TOOLS}/{quote(STRANGE)}", b""),
    "one with some attributes": ("GET", f"{TOOLS}/t-1?include_attributes=kind,no", b""),
    "one with a vector": ("GET", f"{TOOLS}/t-1?include_attributes=kind,vector", b""),
    "one without attributes": ("GET", f"{TOOLS}/t-1?include_attributes=", b""),
    "whether one is there": ("HEAD", f"{TOOLS}/t-1", b""),
    "many": ("POST", TOOLS, {"ids": [STRANGE, "t-2", "t-1", "t-2"]}),
    "many with a vector": (
        "POST",
        TOOLS,
        {"ids": ["t-2", "t-1"], "include_attributes": ["rating", "vector"]},
    ),
}
OTHERS: dict[str, tuple[str, str, object]] = {
    "one that is not there": ("GET", f"{TOOLS}/no", b""),
    "no namespace": ("GET", "/v2/namespaces/none/documents/t-1", b""),
    "no name": ("GET", "/v2/namespaces/%20/documents/t-1", b""),
    "no ids": ("POST", TOOLS, {"ids": []}),
    "no object": ("POST", TOOLS, []),
    "too many attributes": (
        "POST",
        TOOLS,
        {"ids": ["t-1"], "include_attributes": [f"a{at}" for at in range(1025)]},
    ),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EdgeCaller]:
    """Run a gateway over the real store and the real cache, which has the rows of ``tools``."""
    directory: Path = tmp_path_factory.mktemp("fetch-errands")
    async with (
        embedded_store(directory / "store") as url,
        running(
            "layer_cache",
            LAYER_CACHE_GRPC_ADDRESS="127.0.0.1:0",
            LAYER_CACHE_DATA_DIRECTORY=str(directory / "cache"),
        ) as cache,
        gateway_over(url, LAYER_GATEWAY_CACHE_ADDRESS=cache.addresses["grpc"]) as process,
    ):
        caller = EdgeCaller(process.addresses["http"], key=KEY)
        store = EdgeCaller(url.removeprefix("http://"), key=KEY)
        body = {"upsert_rows": ROWS, "distance_metric": "euclidean_squared"}
        assert (await caller("POST", "/v2/namespaces/tools", body)).status == 200
        # Written past the gateway, so that the cache has not heard of them.
        cold = {"upsert_rows": [{"id": f"c{at}", "n": at} for at in range(20)]}
        assert (await store("POST", "/v2/namespaces/cold", cold)).status == 200
        assert (await caller("POST", TOOLS, {"ids": ["t-1"]})).status == 200
        yield caller


async def counted(edge: EdgeCaller, before: dict[str, float]) -> dict[str, float]:
    """Return what was counted of fetches since then."""
    return {
        name: value - before.get(name, 0.0)
        for name, value in (await samples(edge)).items()
        if value != before.get(name, 0.0)
        and (name.startswith(("layer_fetch", "hevlayer_cache_demand")) or "'fetch_" in name)
    }


async def both_ways(
    edge: EdgeCaller, method: str, target: str, body: object
) -> list[tuple[tuple[int, list[tuple[str, str]], bytes], dict[str, float]]]:
    found = []
    for fields in ({}, TRACED):
        before = await samples(edge)
        received = await ask(edge, request(edge, method, target, body, **fields))
        if method != "HEAD":
            assert received["content-length"] == str(len(received.body))
        found.append((essence(received), await counted(edge, before)))
    return found


@pytest.mark.parametrize("asked", HITS.values(), ids=HITS)
async def test_both_ways_answer_and_count_hits_alike(
    system: EdgeCaller, asked: tuple[str, str, object]
) -> None:
    errand, ordinary = await both_ways(system, *asked)
    assert errand == ordinary
    (status, headers, _), counts = errand
    assert status == 200
    assert ("x-layer-cache", "hit") in headers
    assert set(counts.values()) == {1}
    assert {name.split()[0] for name in counts} == {
        "layer_http_request_seconds_count",
        "layer_fetch_duration_seconds_count",
        "layer_fetch_batch_size_count",
        "hevlayer_cache_demand_total",
    }


@pytest.mark.parametrize("asked", OTHERS.values(), ids=OTHERS)
async def test_both_ways_answer_and_count_alike_what_is_no_hit(
    system: EdgeCaller, asked: tuple[str, str, object]
) -> None:
    errand, ordinary = await both_ways(system, *asked)
    assert errand == ordinary
    assert errand[0][0] >= 400


async def test_what_an_errand_has_missed_is_read_upstream_and_is_a_hit_after_that(
    system: EdgeCaller,
) -> None:
    target = "/v2/namespaces/cold/documents"
    assert (await system("GET", f"{target}/c0")).status == 200  # the gateway knows it from here on
    asked = request(system, "POST", target, {"ids": ["c7", "no", "c0", "c8"]})
    first, second = await ask(system, asked), await ask(system, asked)
    assert first.body == second.body
    assert [one["id"] for one in first.json["documents"]] == ["c7", "c0", "c8"]
    assert first.json["missing"] == ["no"]
    assert [first["x-layer-cache"], second["x-layer-cache"]] == ["miss", "miss"]  # of what is not
    hit = await ask(system, request(system, "POST", target, {"ids": ["c7", "c0", "c8"]}))
    assert hit["x-layer-cache"] == "hit"
    assert hit.json["documents"] == first.json["documents"]


async def test_fetches_on_many_connections_at_once_get_each_their_own_rows(
    system: EdgeCaller,
) -> None:
    connections = [await system.connect() for _ in range(16)]
    rows = {"t-1": "saw", "t-2": "s\u00e4ge"}

    async def fetch(number: int) -> None:
        reader, writer = connections[number]
        for turn in range(25):
            name = f"t-{(number + turn) % 2 + 1}"
            writer.write(request(system, "GET", f"{TOOLS}/{name}"))
            received = await receive(reader)
            assert received.json["id"] == name
            assert received.json["attributes"]["kind"] == rows[name]
            assert received["x-layer-cache"] == "hit"
        writer.close()

    await asyncio.gather(*map(fetch, range(len(connections))))
