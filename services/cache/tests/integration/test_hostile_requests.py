"""Whatever a request holds, it is carried out or refused by name, and the cache goes on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from layer.cache.v1 import cache_pb2
from layer.cache.v1.cache_pb2_grpc import CacheServiceStub
from layer_testing.hostile_requests import internal_errors
from layer_testing.processes import ServiceProcess

Start = Callable[..., AbstractAsyncContextManager[tuple[CacheServiceStub, ServiceProcess]]]


async def test_no_request_is_an_internal_error(start: Start) -> None:
    async with start() as (cache, process):
        assert await internal_errors(process.addresses["grpc"], cache_pb2.DESCRIPTOR) == []
        figures = await cache.GetStatistics(cache_pb2.GetStatisticsRequest())
        assert figures.is_connected
        assert "Traceback" not in process.stderr
