"""The way of events out of the gateway: a bounded queue, one sender, a spool behind it.

Requests put events into the queue and go on. The sender takes what has gathered, at most a batch at
a time, and delivers it. When the history service does not take a batch, it goes into the spool, and
so does everything after it, in order, until the spool has been delivered. What was delivered
without anyone hearing of it is delivered again: the history reads it once.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import Final

import msgspec
import structlog

from layer.history.v1 import history_pb2
from layer_gateway.adapters.history_events import Rendering
from layer_gateway.adapters.history_spool import Spool
from layer_gateway.adapters.history_stream import HistoryStream
from layer_gateway.domain.history import Clicked, Queried
from layer_gateway.metrics import HistoryMetrics
from layer_kit.clock import Monotonic
from layer_kit.errors import InvalidRequestError, LayerError

log = structlog.get_logger(__name__)

EVENTS_PER_BATCH_MAX: Final = 1_000
BATCH_BYTES_MAX: Final = 8 * 1024 * 1024
RENDERED_AT_ONCE: Final = 100
"""Events rendered before requests get their turn; about a millisecond."""

QUEUED_EVENTS_MAX: Final = 50_000
QUEUED_BYTES_MAX: Final = 64 * 1024 * 1024
LINGER_S: Final = 0.05
"""How long events gather. A gateway that is killed loses no more than these."""

RETRY_S_MIN: Final = 0.1
RETRY_S_MAX: Final = 5.0
CLOSE_RETRY_S: Final = 0.2
EVENT_OVERHEAD_BYTES: Final = 500


class HistoryQueue:
    """Takes events and delivers them, :meth:`step` by step."""

    is_recording: Final = True

    def __init__(
        self,
        stream: HistoryStream,
        spool: Spool,
        metrics: HistoryMetrics,
        *,
        clock: Monotonic,
    ) -> None:
        self._stream = stream
        self._spool = spool
        self._metrics = metrics
        self._clock = clock
        self._rendering = Rendering(clock)
        self._queue: deque[tuple[Queried | Clicked, int, int]] = deque()
        """With the number of events that each makes, and what it weighs."""
        self._events_count = 0
        self._bytes = 0
        self._wake = asyncio.Event()
        self._retry_at_s = 0.0
        self._retry_s = RETRY_S_MIN
        self._deliver_until_s = math.inf
        self._turn = asyncio.Lock()

    def record(self, event: Queried | Clicked) -> None:
        if isinstance(event, Queried):
            count, size_bytes = 1, EVENT_OVERHEAD_BYTES + event.body_bytes
        else:
            count = len(event.rows)
            size_bytes = EVENT_OVERHEAD_BYTES * count
        if (
            self._events_count + count > QUEUED_EVENTS_MAX
            or self._bytes + size_bytes > QUEUED_BYTES_MAX
        ):
            self._metrics.count("dropped", count)
            return
        self._queue.append((event, count, size_bytes))
        self._events_count += count
        self._bytes += size_bytes
        if not self._wake.is_set():
            self._wake.set()

    async def step(self) -> None:
        """Wait for something to do and do it; to be repeated for as long as the queue is used."""
        await self._wait()
        async with self._turn:
            await self._send()

    async def close(self, grace_s: float) -> None:
        """Deliver what is left; what is not delivered within ``grace_s`` stays in the spool.

        The history may be restarting at the same time, so this tries for as long as it may.
        """
        self._deliver_until_s = self._clock() + grace_s
        async with self._turn:
            while True:
                self._retry_at_s = 0.0
                await self._send()
                is_done = self._spool.is_empty and not self._queue
                if is_done or self._clock() + CLOSE_RETRY_S > self._deliver_until_s:
                    break
                await asyncio.sleep(CLOSE_RETRY_S)
            self._stream.close()
            self._spool.close()

    @property
    def queued_count(self) -> int:
        return self._events_count

    @property
    def spooled_bytes(self) -> int:
        return self._spool.size_bytes

    async def _wait(self) -> None:
        """Wait for events, and then for more of them; or until it is time to try again."""
        is_idle = self._spool.is_empty or self._retry_at_s == math.inf
        pause_s = None if is_idle else max(0.0, self._retry_at_s - self._clock())
        try:
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()
        if self._events_count < EVENTS_PER_BATCH_MAX:
            await asyncio.sleep(LINGER_S)

    async def _send(self) -> None:
        while self._spool.is_empty and self._queue:
            batch, count = await self._take()
            if count and not await self._deliver(batch, count):
                await self._keep(batch, count)
        await self._spill()
        while not self._spool.is_empty and self._clock() >= self._retry_at_s:
            batch = await asyncio.to_thread(self._spool.oldest)
            if batch and not await self._deliver(batch, _events_in(batch)):
                return
            await asyncio.to_thread(self._spool.drop_oldest)
            await self._spill()

    async def _spill(self) -> None:
        """Move the queue behind what is in the spool already."""
        while self._queue and not self._spool.is_empty:
            batch, count = await self._take()
            if count:
                await self._keep(batch, count)

    async def _keep(self, batch: bytes, count: int) -> None:
        if not await asyncio.to_thread(self._spool.append, batch):
            self._metrics.count("dropped", count)

    async def _deliver(self, batch: bytes, count: int) -> bool:
        """Deliver a batch; False when it is to be tried again."""
        if self._clock() > self._deliver_until_s:
            self._retry_at_s = math.inf
            return False
        try:
            refused_count = await self._stream.deliver(batch)
        except InvalidRequestError as error:
            log.warning("history_batch_refused", reason=error.reason, cause=error.message)
            self._metrics.count("refused", count)
            return True
        except LayerError as error:
            if self._retry_s == RETRY_S_MIN:
                log.warning("history_away", reason=error.reason)
            self._retry_at_s = self._clock() + self._retry_s
            self._retry_s = min(self._retry_s * 2, RETRY_S_MAX)
            return False
        self._retry_s = RETRY_S_MIN
        self._metrics.count("delivered", count - refused_count)
        if refused_count:
            self._metrics.count("refused", refused_count)
        return True

    async def _take(self) -> tuple[bytes, int]:
        """Render what has waited longest, as one batch."""
        request = history_pb2.AppendEventsRequest()
        size_bytes = 0
        while self._queue and size_bytes < BATCH_BYTES_MAX:
            event, count, weight = self._queue[0]
            if request.events and len(request.events) + count > EVENTS_PER_BATCH_MAX:
                break
            self._queue.popleft()
            self._events_count -= count
            self._bytes -= weight
            size_bytes += weight
            try:
                request.events.extend(self._rendering.events(event))
            except (msgspec.DecodeError, RecursionError, TypeError, ValueError) as error:
                # What was relayed may hold what no client can read either.
                log.warning("history_event_unreadable", cause=str(error))
                self._metrics.count("refused", count)
            if len(request.events) % RENDERED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return request.SerializeToString(), len(request.events)


def _events_in(batch: bytes) -> int:
    return len(history_pb2.AppendEventsRequest.FromString(batch).events)
