"""Whatever a request holds, it is carried out or refused by name, and the cache goes on."""

from __future__ import annotations

from layer.cache.v1 import cache_pb2
from layer_cache_testing.calls import Start
from layer_testing.hostile_requests import internal_errors


async def test_no_request_is_an_internal_error(start: Start) -> None:
    async with start() as (cache, process):
        assert await internal_errors(process.addresses["grpc"], cache_pb2.DESCRIPTOR) == []
        figures = await cache.GetStatistics(cache_pb2.GetStatisticsRequest())
        assert figures.is_connected
        assert "Traceback" not in process.stderr
