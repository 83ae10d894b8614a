"""gRPC where it works, HTTP where it does not."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from layer_sdk.connection import Connection
from layer_sdk.grpc_documents import GrpcDocuments
from layer_sdk.grpc_functions import GrpcFunctions
from layer_sdk.http import HttpFunctions
from layer_sdk.http_documents import HttpDocuments
from layer_sdk.items import Chunk, Failure, Item, Result, Row
from layer_sdk.transport import Claim, DocumentTransport, FunctionTransport, Unreached

log = logging.getLogger("layer_sdk")

T = TypeVar("T")

RETURN_S: Final = 60.0
"""For how long everything goes by HTTP before gRPC is tried again."""


class _Closable(Protocol):
    async def aclose(self) -> None: ...


Transport = TypeVar("Transport", bound=_Closable)


class _FallingBack(Generic[Transport]):
    """Goes by the first until that cannot be reached, and by the second for a time."""

    def __init__(self, first: Transport, second: Transport) -> None:
        self._first = first
        self._second = second
        self._first_again_s = 0.0

    async def aclose(self) -> None:
        await self._first.aclose()
        await self._second.aclose()

    async def _either(self, call: Callable[[Transport], Awaitable[T]]) -> T:
        if time.monotonic() >= self._first_again_s:
            try:
                return await call(self._first)
            except Unreached as error:
                log.warning("no gRPC to the runtime, going by HTTP: %s", error)
                self._first_again_s = time.monotonic() + RETURN_S
        return await call(self._second)


class FallingBack(_FallingBack[FunctionTransport]):
    """Items of a function."""

    async def claim(self, limit: int, lease_s: int | None) -> Sequence[Item]:
        return await self._either(lambda by: by.claim(limit, lease_s))

    async def heartbeat(self, items: Sequence[Item]) -> int:
        return await self._either(lambda by: by.heartbeat(items))

    async def complete(self, results: Sequence[Result]) -> int:
        return await self._either(lambda by: by.complete(results))

    async def fail(self, failures: Sequence[Failure]) -> int:
        return await self._either(lambda by: by.fail(failures))


class DocumentsFallingBack(_FallingBack[DocumentTransport]):
    """Documents of a pipeline."""

    async def claim(self, stage: str, claim_stage: str, limit: int, lease_s: int) -> Claim:
        return await self._either(lambda by: by.claim(stage, claim_stage, limit, lease_s))

    async def heartbeat(self, claim: Claim, ids: Sequence[str], stage: str) -> int:
        return await self._either(lambda by: by.heartbeat(claim, ids, stage))

    async def chunks(self, document_id: str) -> Sequence[Chunk]:
        return await self._either(lambda by: by.chunks(document_id))

    async def write(self, claim: Claim, document_id: str, rows: Sequence[Row]) -> None:
        await self._either(lambda by: by.write(claim, document_id, rows))

    async def move(
        self, claim: Claim, ids: Sequence[str], stage: str, *, from_stage: str, reason: str = ""
    ) -> int:
        return await self._either(
            lambda by: by.move(claim, ids, stage, from_stage=from_stage, reason=reason)
        )


def open_functions(to: Connection, function_id: str) -> FunctionTransport:
    """Return the way to the items of a function."""
    by_http = HttpFunctions(to, function_id)
    if not to.runtime_address:
        return by_http
    return FallingBack(GrpcFunctions(to, function_id), by_http)


def open_documents(to: Connection, pipeline_id: str) -> DocumentTransport:
    """Return the way to the documents of a pipeline."""
    by_http = HttpDocuments(to, pipeline_id)
    if not to.runtime_address:
        return by_http
    return DocumentsFallingBack(GrpcDocuments(to, pipeline_id), by_http)
