"""Appending: redact, write to the local log, acknowledge.

Batches that come while the log is being written and synced wait together and are then written with
one sync (group commit). An event is readable once it is durable, and never before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from layer_history.application.policies import Policies
from layer_history.application.recent import Recent
from layer_history.application.sealing import Sealing
from layer_history.domain.events import Click, Event, Kind, Query, to_event
from layer_history.domain.limits import WINDOW_BYTES_MAX
from layer_history.domain.names import Stream
from layer_history.ports import Disk, Mirror
from layer_kit.errors import LayerError, QuotaExceededError, UnavailableError
from layer_kit.names import Namespace

log = structlog.get_logger(__name__)

LOG_FULL_RETRY_S: Final = 5.0
POLICIES_RETRY_S: Final = 1.0
MEMORY_BYTES_MAX: Final = 2 * WINDOW_BYTES_MAX
"""Lines in memory, which only a disk that fails lets grow so far."""


_KINDS: Final[dict[type, Kind]] = {Query: Kind.QUERY, Click: Kind.CLICK}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    record: bytes
    events: dict[Stream, list[Event]]
    durable: asyncio.Future[None]


@dataclass(slots=True, kw_only=True)
class Appending:
    """Takes events in, while someone repeats :meth:`write_waiting`."""

    disk: Disk
    recent: Recent
    policies: Policies
    sealing: Sealing
    mirror: Mirror
    disk_bytes_max: int
    _waiting: list[_Batch] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the log file and the window change together."""

    async def append(self, values: Sequence[Query | Click]) -> None:
        """Keep events; they survive a crash once this returns.

        Raises:
            QuotaExceededError: ``LOG_FULL``; nothing was kept.
            UnavailableError: ``POLICIES_UNKNOWN``; nothing was kept. ``LOG_FAILED``; all, some or
                none were.
        """
        if not self.policies.is_known:
            raise UnavailableError(
                "POLICIES_UNKNOWN",
                "Policies could not be read from the object store yet.",
                retry_after_s=POLICIES_RETRY_S,
            )
        events = self._admitted(values)
        if not events:
            return
        record = b"\n".join([event.line for found in events.values() for event in found])
        is_behind = self.recent.lines_bytes > MEMORY_BYTES_MAX
        if is_behind or self.disk.used_bytes + len(record) > self.disk_bytes_max:
            raise QuotaExceededError(
                "LOG_FULL",
                f"The local log holds {self.disk_bytes_max} bytes that wait for the object store.",
                retry_after_s=LOG_FULL_RETRY_S,
                bytes_max=self.disk_bytes_max,
            )
        batch = _Batch(
            record=record, events=events, durable=asyncio.get_running_loop().create_future()
        )
        self._waiting.append(batch)
        self._wake.set()
        await batch.durable

    async def flush(self) -> None:
        """Seal everything that is durable so far.

        Raises:
            UnavailableError: ``LOG_FAILED``.
        """
        async with self._turn:
            if self.recent.window.count:
                self.recent.close_window(await self.disk.rotate())
        await self.sealing.seal_all()

    async def write_waiting(self) -> None:
        """Wait for batches and write them; to be repeated for as long as batches may come.

        Raises:
            Exception: A bug; those who wait for these batches have been told that they failed.
        """
        await self._wake.wait()
        self._wake.clear()
        batches, self._waiting = self._waiting, []
        async with self._turn:
            await self._write(batches)
        if self.recent.window.lines_bytes >= WINDOW_BYTES_MAX:
            try:
                await self.flush()  # what is appended meanwhile waits, so that memory is bounded
            except LayerError as error:
                log.warning("flush_failed", reason=error.reason)

    def _admitted(self, values: Iterable[Query | Click]) -> dict[Stream, list[Event]]:
        """Return the events to keep: those whose namespace was not deleted after they happened."""
        events: dict[Stream, list[Event]] = {}
        for stream, of_stream in _by_stream(values):
            purged_ns = self.policies.get(stream.namespace).purged_before_ns
            redactor = self.policies.redactor(stream.namespace)
            admitted = [value for value in of_stream if value.timestamp_nanos > purged_ns]
            if not redactor.is_idle:
                for value in admitted:
                    if isinstance(value, Query):
                        redactor.redact(value)
            if admitted:
                events[stream] = [to_event(value) for value in admitted]
        return events

    async def _write(self, batches: Sequence[_Batch]) -> None:
        try:
            await self.disk.append([batch.record for batch in batches])
        except LayerError as error:
            _fail(batches, error)
        except BaseException:
            _fail(batches, UnavailableError("LOG_FAILED", "The log failed; send the batch again."))
            raise
        else:
            for batch in batches:
                for stream, events in batch.events.items():
                    self.recent.window.add(stream, events)
                    self.mirror.tell(stream, events)
                if not batch.durable.done():  # its caller may have gone
                    batch.durable.set_result(None)


def _by_stream(
    values: Iterable[Query | Click],
) -> Iterator[tuple[Stream, list[Query | Click]]]:
    found: dict[tuple[type, str], list[Query | Click]] = {}
    for value in values:  # by what is quick to hash, since there are many
        found.setdefault((type(value), value.namespace), []).append(value)
    for (kind, namespace), of_stream in found.items():
        yield Stream(_KINDS[kind], Namespace(namespace)), of_stream


def _fail(batches: Sequence[_Batch], error: LayerError) -> None:
    for batch in batches:
        if not batch.durable.done():
            batch.durable.set_exception(error)
