"""gRPC where it works, HTTP where it does not."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from layer_sdk.connection import Connection
from layer_sdk.grpc_functions import GrpcFunctions
from layer_sdk.http import HttpFunctions
from layer_sdk.items import Failure, Item, Result
from layer_sdk.transport import FunctionTransport, Unavailable

log = logging.getLogger("layer_sdk")

T = TypeVar("T")


class FallingBack:
    """Goes by gRPC until that cannot be reached, and by HTTP from then on."""

    def __init__(self, first: FunctionTransport, second: FunctionTransport) -> None:
        self._first = first
        self._second = second
        self._is_first_gone = False

    async def claim(self, limit: int, lease_s: int | None) -> Sequence[Item]:
        return await self._either(lambda by: by.claim(limit, lease_s))

    async def heartbeat(self, items: Sequence[Item]) -> int:
        return await self._either(lambda by: by.heartbeat(items))

    async def complete(self, results: Sequence[Result]) -> int:
        return await self._either(lambda by: by.complete(results))

    async def fail(self, failures: Sequence[Failure]) -> int:
        return await self._either(lambda by: by.fail(failures))

    async def aclose(self) -> None:
        await self._first.aclose()
        await self._second.aclose()

    async def _either(self, call: Callable[[FunctionTransport], Awaitable[T]]) -> T:
        if not self._is_first_gone:
            try:
                return await call(self._first)
            except Unavailable as error:
                log.warning("no gRPC to the runtime, going by HTTP: %s", error)
                self._is_first_gone = True
        return await call(self._second)


def open_functions(to: Connection, function_id: str) -> FunctionTransport:
    """Return the way to the items of a function."""
    by_http = HttpFunctions(to, function_id)
    if not to.runtime_address:
        return by_http
    return FallingBack(GrpcFunctions(to, function_id), by_http)
