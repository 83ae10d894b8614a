"""The mirror of the latest snapshots, in the records of the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import structlog
import xxhash

from layer.cache.v1 import cache_pb2, cache_pb2_grpc
from layer_kit.errors import LayerError
from layer_kit.names import Namespace
from layer_kit.rpc.client import invoke

log = structlog.get_logger(__name__)

TIMEOUT_S: Final = 2.0
LATEST: Final = b"latest"
VALUE_BYTES_MAX: Final = 16 * 1024 * 1024

_KIND: Final = cache_pb2.RECORD_KIND_SNAPSHOT


class CacheMirror:
    """Implements ``Mirror`` over the replicas of the cache; each namespace is on one of them.

    Args:
        failed: Told of each operation that the cache did not do.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        stubs: Sequence[cache_pb2_grpc.RecordServiceStub],
        *,
        failed: Callable[[str], None],
    ) -> None:
        self._replicas = [
            (xxhash.xxh64_intdigest(address.encode()), stub)
            for address, stub in zip(addresses, stubs, strict=True)
        ]
        self._failed = failed

    async def get(self, namespace: Namespace) -> bytes | None:
        request = cache_pb2.GetRecordsRequest(kind=_KIND, scope=namespace, keys=[LATEST])
        try:
            stub = self._owner(namespace)
            answer = await invoke(stub.GetRecords, request, timeout_s=TIMEOUT_S)
        except LayerError as error:
            self._note("get", error)
            return None
        return answer.values[0] if answer.values else None

    async def put(self, namespace: Namespace, body: bytes) -> None:
        if len(body) > VALUE_BYTES_MAX:  # an older one must not stay in its place
            await self.drop(namespace)
            return
        request = cache_pb2.PutRecordsRequest(
            kind=_KIND, scope=namespace, keys=[LATEST], values=[body]
        )
        try:
            await invoke(self._owner(namespace).PutRecords, request, timeout_s=TIMEOUT_S)
        except LayerError as error:
            self._note("put", error)

    async def drop(self, namespace: Namespace) -> None:
        request = cache_pb2.DropRecordsRequest(kind=_KIND, scope=namespace)
        try:
            await invoke(self._owner(namespace).DropRecords, request, timeout_s=TIMEOUT_S)
        except LayerError as error:
            self._note("drop", error)

    def _owner(self, namespace: Namespace) -> cache_pb2_grpc.RecordServiceStub:
        key = namespace.encode()
        return max(self._replicas, key=lambda one: xxhash.xxh64_intdigest(key, one[0]))[1]

    def _note(self, operation: str, error: LayerError) -> None:
        self._failed(operation)
        log.info("mirror_away", operation=operation, reason=error.reason)


class NoMirror:
    """The service without a cache."""

    async def get(self, namespace: Namespace) -> bytes | None:
        return None

    async def put(self, namespace: Namespace, body: bytes) -> None:
        return

    async def drop(self, namespace: Namespace) -> None:
        return
