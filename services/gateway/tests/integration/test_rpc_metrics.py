"""Calls over gRPC are counted under the names of the contract, as requests over HTTP are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
import pytest_asyncio
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from layer.common.v1 import common_pb2
from layer.gateway.v1 import gateway_pb2
from layer_kit.errors import InvalidRequestError, NotFoundError, UnauthenticatedError
from layer_testing.edge_calls import EdgeCaller
from layer_testing.gateway_calls import (
    KEY,
    Caller,
    compare,
    embedded_store,
    gateway_over,
    integer,
    string_id,
    vector,
    write_numbered,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


GREATER = common_pb2.COMPARISON_OPERATOR_GREATER


class World:
    """A gateway, a caller of it, and its metrics."""

    def __init__(self, channel: grpc.aio.Channel, edge: EdgeCaller) -> None:
        self.caller = Caller(channel)
        self.nobody = Caller(channel, key="")
        self._edge = edge

    async def value(self, name: str, **labels: str) -> float:
        exposition = (await self._edge("GET", "/metrics")).body.decode()
        families: list[Metric] = list(text_string_to_metric_families(exposition))
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with (
        embedded_store(Path(tmp_path_factory.mktemp("s"))) as store_url,
        gateway_over(store_url) as process,
        grpc.aio.insecure_channel(process.addresses["grpc"]) as channel,
    ):
        yield World(channel, EdgeCaller(process.addresses["http"], key=KEY))


async def test_writes_are_counted_with_their_rows_and_bytes(world: World) -> None:
    await write_numbered(world.caller, "w", 3)
    assert await world.value("layer_upsert_duration_seconds_count", namespace="w", status="ok") == 1
    assert await world.value("layer_upsert_batch_size_sum", namespace="w") == 3
    assert await world.value("hevlayer_tpuf_billable_bytes_written_total", namespace="w") > 0
    took = await world.value("layer_upsert_duration_seconds_sum", namespace="w")
    upstream = await world.value("layer_upsert_tpuf_seconds_sum", namespace="w")
    assert 0 < upstream < took


async def test_queries_are_counted_by_outcome_and_shape(world: World) -> None:
    await write_numbered(world.caller, "q", 3)
    ranking = gateway_pb2.VectorRanking(vector=vector(1.0, 0.0))
    await world.caller.query("q", vector=ranking, top_k=1, filter=compare("n", GREATER, integer(0)))
    with pytest.raises(InvalidRequestError):
        await world.caller.query(
            "q", vector=ranking, top_k=1, filter=compare("absent", GREATER, integer(0))
        )
    with pytest.raises(NotFoundError):
        await world.caller.query("no-such", vector=ranking, top_k=1)
    with pytest.raises(InvalidRequestError):
        await world.caller.query("q", top_k=1)
    with pytest.raises(UnauthenticatedError):
        await world.nobody.query("q", vector=ranking, top_k=1)

    name = "layer_query_duration_seconds_count"
    for namespace, status, count in (
        ("q", "ok", 1),
        ("q", "tpuf_error", 1),
        ("q", "layer_error", 1),
        ("no-such", "tpuf_error", 1),
    ):
        assert await world.value(name, namespace=namespace, status=status) == count
    shape = {"has_filter": "true", "has_rank_by": "false", "status": "ok"}
    assert await world.value("layer_query_shape_total", namespace="q", **shape) == 1


async def test_lookups_are_counted_by_what_the_cache_had(world: World) -> None:
    await write_numbered(world.caller, "l", 3)
    await world.caller.lookup("l", [string_id("a"), string_id("b")])
    found = {"namespace": "l", "operation": "batch", "cache_result": "miss"}
    assert await world.value("layer_fetch_duration_seconds_count", **found) == 1
    assert await world.value("layer_fetch_batch_size_sum", operation="batch") == 2
    assert await world.value("hevlayer_cache_demand_total", namespace="l") == 1


async def test_listings_and_descriptions_are_counted(world: World) -> None:
    await write_numbered(world.caller, "d", 1)
    before = await world.value("layer_list_duration_seconds_count", status="ok")
    await world.caller.list()
    assert await world.value("layer_list_duration_seconds_count", status="ok") == before + 1
