"""Calls of a cache that tests make, as a gateway would."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from layer.cache.v1 import cache_pb2
from layer.cache.v1.cache_pb2_grpc import CacheServiceStub
from layer_testing.processes import ServiceProcess

Start = Callable[..., AbstractAsyncContextManager[tuple[CacheServiceStub, ServiceProcess]]]
"""Starts a cache with further settings; the type of a fixture."""

BODY = b'{"title":"Emma","year":1815}'
TIMEOUT_S = 5.0


async def lookup(
    cache: CacheServiceStub, *ids: bytes, namespace: str = "books"
) -> cache_pb2.LookupRowsResponse:
    return await cache.LookupRows(cache_pb2.LookupRowsRequest(namespace=namespace, ids=ids))


async def fill(cache: CacheServiceStub, *ids: bytes) -> None:
    token = (await lookup(cache, *ids)).read_token
    answer = await cache.BackfillRows(
        cache_pb2.BackfillRowsRequest(
            namespace="books",
            read_token=token,
            ids=ids,
            bodies=[BODY] * len(ids),
            vectors=[b'{"vector":[1.5]}'] * len(ids),
        )
    )
    assert answer.stored_count == len(ids)


async def open_session(cache: CacheServiceStub, member_id: str = "gateway") -> str:
    request = cache_pb2.OpenSessionRequest(member_id=member_id)
    return (await cache.OpenSession(request)).session_id
