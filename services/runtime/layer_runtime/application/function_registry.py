"""Registering functions, and telling how they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from layer_kit.errors import InvalidRequestError
from layer_runtime.domain.functions import (
    FunctionSpec,
    parse_function_id,
    parse_new_function_id,
)
from layer_runtime.domain.items import FailedItem, ItemKey
from layer_runtime.domain.spec_checks import check_spec
from layer_runtime.ports.functions import Function, FunctionStore
from layer_runtime.ports.items import ItemQueue, QueueFigures

RATE_WINDOW_S: Final = 60
COMPLETIONS_KEPT_S: Final = 600
PAUSE_REASON_DEFAULT: Final = "requested"
PAUSE_REASON_LENGTH_MAX: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How much work a function has."""

    function: Function
    figures: QueueFigures

    @property
    def counts(self) -> Mapping[str, int]:
        """Items by state, without those of which there are none."""
        counts = {
            "pending": self.figures.pending_count,
            "processing": self.figures.processing_count,
            "failed": self.figures.failed_count,
        }
        return {state: count for state, count in counts.items() if count}

    @property
    def completed_per_minute(self) -> float:
        return self.figures.completed_count * 60 / RATE_WINDOW_S

    @property
    def pending_query_count(self) -> int:
        """Queries that the work left will cost the store, by what the function says of an item."""
        left_count = self.figures.pending_count + self.figures.processing_count
        return left_count * self.function.spec.queries_per_item


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionRegistry:
    """Keeps functions and answers about them."""

    functions: FunctionStore
    items: ItemQueue

    async def create(self, function_id: str, spec: FunctionSpec, *, is_paused: bool) -> Function:
        """Register a function.

        Raises:
            InvalidRequestError: ``FUNCTION_ID_INVALID`` or ``SPEC_INVALID``.
            AlreadyExistsError: ``FUNCTION_EXISTS`` or ``MARKER_TAKEN``.
        """
        name = parse_new_function_id(function_id)
        check_spec(name, spec)
        return await self.functions.create(name, spec, is_paused=is_paused)

    async def update(self, function_id: str, spec: FunctionSpec) -> Function:
        """Replace what a function does, or register it; errors as for :meth:`create`."""
        name = parse_new_function_id(function_id)
        check_spec(name, spec)
        return await self.functions.upsert(name, spec)

    async def get(self, function_id: str) -> Function:
        """Return a function.

        Raises:
            NotFoundError: ``FUNCTION_NOT_FOUND``.
        """
        return await self.functions.get(parse_function_id(function_id))

    async def page(self, after: str, limit: int) -> Sequence[Function]:
        """Return functions by id, those after one."""
        return await self.functions.page(after, limit)

    async def delete(self, function_id: str) -> None:
        """Remove a function with its queue; what it wrote stays."""
        await self.functions.delete(parse_function_id(function_id))

    async def pause(self, function_id: str, reason: str) -> Function:
        """Stop a function; an empty reason means ``requested``.

        Raises:
            InvalidRequestError: ``REASON_TOO_LONG``.
            NotFoundError: ``FUNCTION_NOT_FOUND``.
        """
        if len(reason) > PAUSE_REASON_LENGTH_MAX:
            raise InvalidRequestError(
                "REASON_TOO_LONG",
                f"reason has more than {PAUSE_REASON_LENGTH_MAX} characters.",
                field="reason",
            )
        return await self.functions.set_paused(
            parse_function_id(function_id), is_paused=True, reason=reason or PAUSE_REASON_DEFAULT
        )

    async def resume(self, function_id: str) -> Function:
        """Let a function go on."""
        return await self.functions.set_paused(parse_function_id(function_id), is_paused=False)

    async def status(self, function_id: str) -> Status:
        """Count the items of a function."""
        function = await self.get(function_id)
        figures = await self.items.figures(function.number, window_s=RATE_WINDOW_S)
        return Status(function=function, figures=figures)

    async def reset_failed(self, function_id: str) -> int:
        """Let failed items wait again; return how many those were."""
        return await self.items.reset_failed((await self.get(function_id)).number)

    async def failed(
        self, function_id: str, *, after: ItemKey | None, limit: int
    ) -> Sequence[FailedItem]:
        """Return items that were given up."""
        function = await self.get(function_id)
        return await self.items.failed(function.number, after=after, limit=limit)

    async def statuses(self) -> Sequence[Status]:
        """Count the items of every function, and sum up what was noted."""
        await self.items.fold(older_than_s=COMPLETIONS_KEPT_S)
        counted = await self.items.all_figures(window_s=RATE_WINDOW_S)
        return [
            Status(function=function, figures=counted.get(function.number, QueueFigures()))
            for function in await self.functions.all()
        ]
