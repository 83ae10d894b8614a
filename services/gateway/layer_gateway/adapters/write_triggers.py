"""The way of writes to the functions that they trigger: a bounded queue, off every write's path.

A write leaves its body here and goes on. What is too much to keep is dropped and counted: the next
sweep of the function finds those rows, unless it has none.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Set as AbstractSet
from typing import Final

import structlog

from layer.runtime.v1 import runtime_pb2, runtime_pb2_grpc
from layer_gateway.adapters.written_rows import in_parts, written_rows
from layer_gateway.metrics import TriggerMetrics
from layer_gateway.ports.stores import StoreAnswer
from layer_kit.errors import DeadlineError, LayerError, UnavailableError, UnsupportedError
from layer_kit.names import Namespace
from layer_kit.rpc.client import invoke
from layer_kit.turns import in_turns

log = structlog.get_logger(__name__)

REFRESH_INTERVAL_S: Final = 2.0
WRITES_QUEUED_MAX: Final = 10_000
BYTES_QUEUED_MAX: Final = 64 * 1024 * 1024
WRITES_AT_ONCE_MAX: Final = 64
IDS_PER_CALL_MAX: Final = 10_000
CALL_S_MAX: Final = 10.0
CLOSE_RETRY_S: Final = 0.2
PAGE_SIZE: Final = 1000
_WRITE: Final = runtime_pb2.FUNCTION_TRIGGER_WRITE


class NoTriggers:
    """Nobody wants to hear of writes."""

    def written(self, namespace: Namespace, body: bytes, answer: StoreAnswer) -> None:
        pass


class TriggerQueue:
    """Takes writes of the namespaces that functions watch, and tells the runtime of their rows."""

    def __init__(self, stub: runtime_pb2_grpc.FunctionServiceStub, metrics: TriggerMetrics) -> None:
        self._stub = stub
        self._metrics = metrics
        self._watched: AbstractSet[str] = frozenset()
        self._queue: deque[tuple[Namespace, bytes, bytes]] = deque()
        self._bytes = 0
        self._waiting: deque[runtime_pb2.EnqueueItemsRequest] = deque()
        """Read already, and not taken by the runtime yet."""
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()

    def written(self, namespace: Namespace, body: bytes, answer: StoreAnswer) -> None:
        if namespace not in self._watched:
            return
        size_bytes = len(body) + len(answer.body)
        if len(self._queue) >= WRITES_QUEUED_MAX or self._bytes + size_bytes > BYTES_QUEUED_MAX:
            self._metrics.count("dropped", 1)
            return
        self._queue.append((namespace, body, answer.body))
        self._bytes += size_bytes
        self._wake.set()

    async def refresh(self) -> None:
        """Learn which namespaces are watched.

        Raises:
            LayerError: The runtime is away; what was known stays.
        """
        watched: set[str] = set()
        request = runtime_pb2.ListFunctionsRequest(page_size=PAGE_SIZE)
        while True:
            try:
                page = await invoke(self._stub.ListFunctions, request, timeout_s=CALL_S_MAX)
            except UnsupportedError:  # the runtime has no database
                return
            for function in page.functions:
                if _WRITE in function.spec.triggers and not function.is_paused:
                    watched.update(function.spec.target_namespaces)
            if not page.next_page_token:
                self._watched = watched
                return
            request.page_token = page.next_page_token

    async def step(self) -> None:
        """Wait for writes and tell of them; to be repeated.

        Raises:
            UnavailableError, DeadlineError: The runtime is away. The writes stay here for the next
                step.
        """
        if not self._waiting:
            await self._wake.wait()
        async with self._turn:
            await self._tell()

    async def close(self, grace_s: float) -> None:
        """Tell of what is left; what the runtime does not take in time is dropped and counted.

        The runtime may be restarting at the same time, so this tries for as long as it may.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s), self._turn:
                while self._queue or self._waiting:
                    try:
                        await self._tell()
                    except (UnavailableError, DeadlineError):
                        await asyncio.sleep(CLOSE_RETRY_S)
        if left_count := self.queued_count:
            log.warning("triggers_dropped", writes_count=left_count)
            self._metrics.count("dropped", left_count)
            self._queue.clear()
            self._waiting.clear()

    @property
    def queued_count(self) -> int:
        """Writes that wait."""
        return len(self._queue) + sum(len(request.writes) for request in self._waiting)

    async def _tell(self) -> None:
        """Tell of what was read before, or of the next writes."""
        if not self._waiting:
            await self._read()
        while self._waiting:
            request = self._waiting[0]
            count = len(request.writes)
            try:
                await invoke(self._stub.EnqueueItems, request, timeout_s=CALL_S_MAX)
                self._metrics.count("delivered", count)
            except (UnavailableError, DeadlineError):
                raise
            except LayerError as error:
                log.warning("triggers_refused", reason=error.reason, cause=error.message)
                self._metrics.count("refused", count)
            self._waiting.popleft()

    async def _read(self) -> None:
        """Turn queued writes into requests; one is in the queue until it has been read."""
        found: list[runtime_pb2.WrittenRows] = []
        try:
            for _ in range(min(len(self._queue), WRITES_AT_ONCE_MAX)):
                namespace, body, answer = self._queue[0]
                try:
                    found += await in_turns(written_rows(namespace, body, answer))
                except LayerError as error:  # the store took what we cannot read
                    log.warning("trigger_unreadable", reason=error.reason)
                    self._metrics.count("refused", 1)
                except Exception:  # a fault of ours, which must not hold up all that follows
                    log.exception("trigger_unreadable")
                    self._metrics.count("refused", 1)
                self._queue.popleft()
                self._bytes -= len(body) + len(answer)
        finally:
            self._waiting.extend(in_parts(found, IDS_PER_CALL_MAX))
        if not self._queue:
            self._wake.clear()
