"""Sweeps: namespaces read for the rows that a function has not processed."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

import msgspec
import structlog

from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import InvalidRequestError, LayerError, NotFoundError
from layer_kit.names import parse_namespace
from layer_runtime.application.namespaces import namespaces_of
from layer_runtime.domain.functions import parse_function_id
from layer_runtime.domain.items import parent_of
from layer_runtime.domain.markers import PARENT, due, markers_of
from layer_runtime.ports.functions import Function, FunctionStore
from layer_runtime.ports.items import ItemQueue
from layer_runtime.ports.rows import Rows

log = structlog.get_logger(__name__)

PAGE_SIZE_DEFAULT: Final = 10_000
PAGES_DEFAULT: Final = 10
DUTY: Final = "sweep"
DUTY_S: Final = 60.0
"""A replica that dies leaves a sweep to the others after this; each page renews it."""

SWEEPS_AT_ONCE: Final = 4
PAUSE_S_MAX: Final = 600.0
"""Where a sweep goes on: after an id of a namespace, or with the namespace after one."""
_CURSOR: Final[msgspec.json.Decoder[tuple[str, str | None]]] = msgspec.json.Decoder(
    tuple[str, str | None]
)


@dataclass(slots=True, kw_only=True)
class Sweep:
    """How far a sweep has come."""

    enqueued_count: int = 0
    page_count: int = 0
    namespaces: list[str] = field(default_factory=list)
    cursor: str = ""
    """Where it goes on; empty when it is complete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepNamespaces:
    """Finds due rows and enqueues them, a page at a time."""

    functions: FunctionStore
    items: ItemQueue
    rows: Rows
    now_ms: EpochMilliseconds
    replica: str

    async def discover(
        self,
        function_id: str,
        *,
        namespaces: Sequence[str],
        page_size: int,
        page_count_max: int,
        cursor: str,
    ) -> Sweep:
        """Sweep because somebody asks for it, paused or not.

        Args:
            namespaces: Empty means all of the function's.
            page_size: Rows of one read; 0 means 10,000.
            page_count_max: Reads before it returns; 0 means 10.
            cursor: Where an earlier sweep stopped.

        Raises:
            InvalidRequestError: ``PAGE_SIZE_OUT_OF_RANGE``, ``CURSOR_INVALID`` or
                ``NAMESPACE_INVALID``.
            UnavailableError: ``GATEWAY_DOWN``.
        """
        if not 0 <= page_size <= PAGE_SIZE_DEFAULT:
            raise InvalidRequestError(
                "PAGE_SIZE_OUT_OF_RANGE",
                f"A page has 1 to {PAGE_SIZE_DEFAULT} rows.",
                field="page_size",
            )
        function = await self.functions.get(parse_function_id(function_id))
        names = sorted(
            {str(parse_namespace(name)) for name in namespaces}
        ) or await self._namespaces(function)
        sweep = Sweep(namespaces=names)
        start = _read_cursor(cursor)
        pages_max = max(0, page_count_max) or PAGES_DEFAULT
        for name in names:
            if start is not None and (name < start[0] or start == (name, None)):
                continue  # done before
            after = start[1] if start is not None and name == start[0] else None
            last = await self._namespace(
                function,
                name,
                sweep,
                after=after,
                page_size=page_size,
                pages_max=pages_max - sweep.page_count,
            )
            if last is not None:
                sweep.cursor = _cursor(name, last)
                return sweep
            if sweep.page_count >= pages_max and name != names[-1]:
                sweep.cursor = _cursor(name, None)
                return sweep
        if not namespaces:
            interval_s = function.spec.schedule.discovery_interval_s
            await self.functions.swept(
                function.number,
                names,
                interval_s,
                # What was read before a cursor may be from before a firing.
                firing_count=0 if cursor else function.firing_count,
            )
        return sweep

    async def due(self) -> int:
        """Sweep for every function whose time has come and that no other replica sweeps for."""
        functions = await self.functions.due_sweeps(SWEEPS_AT_ONCE)
        await asyncio.gather(*map(self._scheduled, functions))
        return len(functions)

    async def _scheduled(self, function: Function) -> None:
        if not await self.functions.take_duty(function.number, DUTY, self.replica, DUTY_S):
            return
        schedule = function.spec.schedule
        try:
            names = await self._namespaces(function)
            room = asyncio.Semaphore(schedule.concurrent_scan_count_max)
            sweep = Sweep(namespaces=names)

            async def scan(name: str) -> None:
                async with room:
                    await self._namespace(function, name, sweep)

            async with asyncio.TaskGroup() as group:
                for name in names:
                    group.create_task(scan(name))
            await self.functions.swept(
                function.number,
                names,
                schedule.discovery_interval_s,
                firing_count=function.firing_count,
            )
        except* LayerError as group_of_errors:
            error = group_of_errors.exceptions[0]
            log.warning("sweep_failed", function=function.id, cause=str(error))
            pause_s = schedule.discovery_interval_s * 2.0 ** min(function.sweep_failures, 10)
            await self.functions.sweep_failed(function.number, min(pause_s, PAUSE_S_MAX))
        finally:
            await self.functions.give_up_duty(function.number, DUTY, self.replica)

    async def _namespaces(self, function: Function) -> list[str]:
        return await namespaces_of(function.spec, self.rows)

    async def _namespace(
        self,
        function: Function,
        name: str,
        sweep: Sweep,
        *,
        after: str | None = None,
        page_size: int = 0,
        pages_max: int | None = None,
    ) -> str | None:
        """Sweep one namespace; return the last id read where it stopped before the end."""
        try:
            having = PARENT if function.spec.is_grouped_by_parent else ""
            types = await self.rows.types(name, having=having)
        except NotFoundError:  # not there yet, or no more
            return None
        return await self._pages(
            function, name, types, sweep, after=after, page_size=page_size, pages_max=pages_max
        )

    async def _pages(
        self,
        function: Function,
        name: str,
        types: Mapping[str, str],
        sweep: Sweep,
        *,
        after: str | None,
        page_size: int,
        pages_max: int | None,
    ) -> str | None:
        condition = due(
            markers_of(function.id),
            function.spec.version,
            now_ms=self.now_ms(),
            attributes=types.keys(),
        )
        pages = 0
        is_grouped = function.spec.is_grouped_by_parent and PARENT in types
        stream = self.rows.stream(
            name,
            own_filter=function.spec.filter,
            condition=condition,
            scalars=(PARENT,) if is_grouped else (),
            after=after,
            page_size=page_size or PAGE_SIZE_DEFAULT,
        )
        async with aclosing(stream):
            async for page in stream:
                ids = [parent_of(row) if is_grouped else row.id for row in page]
                sweep.enqueued_count += await self.items.enqueue(function.number, name, ids)
                sweep.page_count += 1
                pages += 1
                if pages_max is None:
                    await self.functions.take_duty(function.number, DUTY, self.replica, DUTY_S)
                elif pages >= pages_max and len(page) >= (page_size or PAGE_SIZE_DEFAULT):
                    return page[-1].id
        return None


def _cursor(namespace: str, after: str | None) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode((namespace, after))).decode()


def _read_cursor(text: str) -> tuple[str, str | None] | None:
    if not text:
        return None
    try:
        return _CURSOR.decode(base64.urlsafe_b64decode(text))
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise InvalidRequestError(
            "CURSOR_INVALID", "The cursor is none that a sweep has given.", field="cursor"
        ) from error
