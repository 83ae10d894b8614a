"""Queries by errand: answered, counted and let in just as in the ordinary way."""

from __future__ import annotations

import asyncio
import json

import pytest

from layer_gateway_testing.errand_calls import (
    KINDS,
    LONG,
    PLAIN,
    QUERY,
    ROWS,
    TOLD,
    WAYS,
    Gate,
    ask,
    counted,
    essence,
    query,
    ready,
    receive,
    samples,
)
from layer_testing.edge_calls import EdgeCaller
from layer_testing.gateway_calls import KEY, gateway_over
from layer_testing.scripted_store import Script, ScriptedStore, answer

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("told", TOLD.values(), ids=TOLD)
@pytest.mark.parametrize("body", KINDS.values(), ids=KINDS)
async def test_both_ways_answer_and_count_alike(
    edge: EdgeCaller, store: ScriptedStore, body: object, told: bytes | Script
) -> None:
    found = []
    for way in WAYS:
        await ready(edge, store)
        store.answers[f"POST {QUERY}"] = told
        before = await samples(edge)
        received = await ask(edge, query(edge, way, body))
        asked = [one.json for one in store.asked(f"POST {QUERY}")]
        asked = [one for one in asked if LONG in one["rank_by"]]  # and not for the marker
        found.append((essence(received), asked, await counted(edge, before)))
    assert found[0] == found[1]
    assert {name.split()[0]: value for name, value in found[0][2].items()} == {
        "layer_http_request_seconds_count": 1,
        "layer_query_duration_seconds_count": 1,
        "layer_query_overhead_seconds_count": 1,
        "layer_query_tpuf_seconds_count": 1,
        "layer_query_shape_total": 1,
    }


async def test_rows_that_come_by_errand_are_relayed_as_the_store_wrote_them(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    await ready(edge, store)
    spaced = [json.dumps(row).encode() for row in ROWS]
    bodies = [(await ask(edge, query(edge, way, PLAIN))).body for way in WAYS]
    found = [[row in body for row in spaced] for body in bodies]
    assert found == [[True, True], [False, False]]  # so that there are two ways
    assert json.loads(bodies[0]) == json.loads(bodies[1])


async def test_a_scrape_counts_each_of_many_queries_once(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    await ready(edge, store)
    first = await samples(edge)
    for _ in range(3):
        reader, writer = await edge.connect()
        for _ in range(50):
            writer.write(query(edge, "errand", PLAIN))
            assert (await receive(reader)).status == 200
        writer.close()
        await samples(edge)  # in the middle, which changes nothing
    assert set((await counted(edge, first)).values()) == {150}


async def test_limits_and_keys_hold_both_ways(store: ScriptedStore) -> None:
    settings = {
        "LAYER_GATEWAY_KEY_REQUESTS_PER_SECOND": "0.001",
        "LAYER_GATEWAY_KEY_BURST_COUNT": "5",
        "LAYER_GATEWAY_KEY_INFLIGHT_MAX": "2",
    }
    async with gateway_over(store.url, **settings) as process:
        edge = EdgeCaller(process.addresses["http"], key=KEY)
        await ready(edge, store)  # of the five, that takes one
        gate = Gate(store, answer({"rows": ROWS}))
        held = [asyncio.create_task(ask(edge, query(edge, "errand", PLAIN))) for _ in range(2)]
        await gate.holds(2)
        found = [essence(await ask(edge, query(edge, way, PLAIN))) for way in WAYS]
        assert found[0] == found[1]
        assert b"KEY_INFLIGHT" in found[0][2]
        gate.is_open.set()
        assert [(await one).status for one in held] == [200, 200]
        for way in WAYS:  # the last two
            assert (await ask(edge, query(edge, way, PLAIN))).status == 200
        refused = [await ask(edge, query(edge, way, PLAIN)) for way in WAYS]
        assert [(one.status, one.json["reason"]) for one in refused] == [(429, "KEY_RATE")] * 2
        for stranger in (EdgeCaller(edge.address, key=""), EdgeCaller(edge.address, key="b")):
            found = [essence(await ask(edge, query(stranger, way, PLAIN))) for way in WAYS]
            assert found[0] == found[1]
            assert found[0][0] in (401, 403)
