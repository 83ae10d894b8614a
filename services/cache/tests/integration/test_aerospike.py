"""The cache as a process over Aerospike: starts, takes over, does without the cluster."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from layer.cache.v1 import cache_pb2
from layer.cache.v1.cache_pb2_grpc import CacheServiceStub
from layer_cache_testing.aerospike_node.node import AerospikeNode
from layer_cache_testing.calls import Start
from layer_kit.errors import UnavailableError
from layer_kit.rpc.client import invoke
from layer_testing.processes import launch

BODY = b'{"title":"Emma"}'
TIMEOUT_S = 30.0


@pytest.fixture
def node() -> Iterator[AerospikeNode]:
    made = AerospikeNode()
    yield made
    made.close()


def settings(node: AerospikeNode) -> dict[str, str]:
    return {
        "LAYER_CACHE_BACKEND": "aerospike",
        "AEROSPIKE_HOSTS": node.host,
        "LAYER_CACHE_AEROSPIKE_TIMEOUT_MS": "2000",  # a busy machine is no cluster that is away
    }


async def lookup(cache: CacheServiceStub, *ids: bytes) -> cache_pb2.LookupRowsResponse:
    return await cache.LookupRows(cache_pb2.LookupRowsRequest(namespace="books", ids=ids))


async def fill(cache: CacheServiceStub, *ids: bytes) -> int:
    answer = await cache.BackfillRows(
        cache_pb2.BackfillRowsRequest(
            namespace="books",
            read_token=(await lookup(cache, *ids)).read_token,
            ids=ids,
            bodies=[BODY] * len(ids),
        )
    )
    return answer.stored_count


async def test_rows_outlive_a_stop_and_what_was_confirmed_outlives_a_kill(
    start: Start, node: AerospikeNode
) -> None:
    async with start(**settings(node)) as (cache, process):
        assert await fill(cache, b"u1", b"u2") == 2
        figures = await cache.GetStatistics(cache_pb2.GetStatisticsRequest())
        assert (figures.backend, figures.is_connected, figures.generation) == ("aerospike", True, 1)
        assert await process.terminate() == 0
    async with start(**settings(node)) as (cache, process):
        assert list((await lookup(cache, b"u1", b"u2")).bodies) == [BODY, BODY]
        await process.kill()
    async with start(**settings(node)) as (cache, _):
        assert list((await lookup(cache, b"u1", b"u2")).bodies) == [BODY, BODY]


async def test_a_second_process_stands_by_and_can_be_told_to_stop(
    start: Start, node: AerospikeNode
) -> None:
    async with start(**settings(node)) as (cache, _):
        second = await launch("layer_cache", **settings(node))
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while "waiting_for_tenure" not in second.stderr:
                    assert await fill(cache, b"u1") == 1
            assert await second.terminate() == 0
        finally:
            await second.stop()
        assert list((await lookup(cache, b"u1")).bodies) == [BODY]


async def test_a_process_that_was_held_up_for_too_long_is_replaced_and_ends(
    start: Start, node: AerospikeNode
) -> None:
    async with start(**settings(node)) as (cache, process):
        assert await fill(cache, b"u1") == 1
        os.kill(process.pid, signal.SIGSTOP)
        async with start(**settings(node)) as (successor, _):
            assert await fill(successor, b"u2") == 1
            os.kill(process.pid, signal.SIGCONT)
            assert await asyncio.wait_for(process.wait(), TIMEOUT_S) == 0
            assert "tenure_lost" in process.stderr
            assert await fill(successor, b"u3") == 1


async def test_a_cluster_that_goes_away_costs_hits_and_promises_nothing(
    start: Start, node: AerospikeNode
) -> None:
    async with start(**settings(node)) as (cache, _):
        session = await cache.OpenSession(cache_pb2.OpenSessionRequest(member_id="gateway"))
        assert await fill(cache, b"u1") == 1
        node.stop()

        assert not (await lookup(cache, b"u1")).hit_positions
        assert await fill(cache, b"u2") == 0
        fence = cache_pb2.FenceRowsRequest(
            namespace="books",
            session_id=session.session_id,
            fence_id=b"f",
            ids=[b"u1"],
            ttl_ms=1000,
        )
        with pytest.raises(UnavailableError) as caught:
            await invoke(cache.FenceRows, fence, timeout_s=TIMEOUT_S)
        assert caught.value.reason == "STORE_DOWN"
        figures = await cache.GetStatistics(cache_pb2.GetStatisticsRequest())
        assert not figures.is_connected
        assert "Aerospike" in figures.last_error

        node.start()
        async with asyncio.timeout(TIMEOUT_S):
            while await fill(cache, b"u3") == 0:
                pass
        figures = await cache.GetStatistics(cache_pb2.GetStatisticsRequest())
        assert (figures.is_connected, figures.last_error) == (True, "")
        assert figures.generation >= 2
