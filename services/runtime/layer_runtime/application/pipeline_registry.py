"""Pipelines come and go, and say how much work they have."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from layer_kit.clock import Monotonic
from layer_kit.errors import AlreadyExistsError
from layer_runtime.domain.pipelines import (
    Distance,
    Figures,
    Pipeline,
    PipelineId,
    parse_pipeline_id,
    pipeline_not_found,
)
from layer_runtime.domain.schedules import check_cron
from layer_runtime.ports.pipelines import Documents, Pipelines, TargetRows, Transitions

ALL_PAGE_SIZE = 1000
FIRINGS_AT_ONCE: Final = 100
WINDOW_S_MIN: Final = 300.0
"""For this long a window stays open without work: who stages it may be one of the workers."""


class WorkState(StrEnum):
    """Whether a pipeline has work."""

    IDLE = "idle"
    PENDING = "pending"
    WAITING_ON_UPSTREAM = "waiting_on_upstream"


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineStatus:
    """What a pipeline says of its work."""

    pipeline: Pipeline
    state: WorkState
    figures: Figures


@dataclass(slots=True, kw_only=True)
class PipelineRegistry:
    """Which pipelines there are. A status may be ``status_ttl_s`` old; it is counted once for all.

    Attributes:
        documents: Read over connections that the work of queues never takes.
    """

    pipelines: Pipelines
    documents: Documents
    rows: TargetRows
    transitions: Transitions
    monotonic: Monotonic
    status_ttl_s: float
    _statuses: dict[int, tuple[float, asyncio.Task[PipelineStatus]]] = field(default_factory=dict)

    async def create(
        self, pipeline_id: str, namespace: str, distance: Distance, *, cron: str = ""
    ) -> Pipeline:
        """Create a pipeline.

        Args:
            cron: When it fires; empty for never.

        Raises:
            AlreadyExistsError: ``PIPELINE_EXISTS``.
            InvalidRequestError: ``SPEC_INVALID``.
        """
        name = parse_pipeline_id(pipeline_id)
        if cron:
            check_cron(cron, "schedule.cron")
        created = await self.pipelines.create(name, namespace, distance, cron)
        if created is None:
            raise AlreadyExistsError(
                "PIPELINE_EXISTS",
                f"There is a pipeline {pipeline_id!r} already.",
                pipeline_id=pipeline_id,
            )
        return created

    async def get(self, pipeline_id: str) -> Pipeline:
        """Return a pipeline.

        Raises:
            NotFoundError: ``PIPELINE_NOT_FOUND``.
        """
        found = await self.pipelines.get(parse_pipeline_id(pipeline_id))
        if found is None:
            raise pipeline_not_found(pipeline_id)
        return found

    async def page(self, *, after: str, limit: int) -> Sequence[Pipeline]:
        return await self.pipelines.page(after=after, limit=limit)

    async def delete(self, pipeline_id: str) -> None:
        """Delete a pipeline; what belongs to it goes in the background."""
        if not await self.pipelines.delete(parse_pipeline_id(pipeline_id)):
            raise pipeline_not_found(pipeline_id)

    async def status(self, pipeline_id: str) -> PipelineStatus:
        """Return how much work a pipeline has."""
        pipeline = await self.get(pipeline_id)
        counted_s, task = self._statuses.get(pipeline.number, (0.0, None))
        is_stale = task is None or self.monotonic() - counted_s > self.status_ttl_s
        if task is None or (task.done() and (is_stale or task.exception() is not None)):
            task = asyncio.create_task(self._count(pipeline))
            self._statuses[pipeline.number] = self.monotonic(), task
        # Shielded: whoever asked first may go away, and the others still want it.
        counted = await asyncio.shield(task)
        return PipelineStatus(pipeline=pipeline, state=counted.state, figures=counted.figures)

    async def fire(self) -> None:
        """Open the windows that are due, and close those in which nothing is left to do."""
        while await self.pipelines.fire(FIRINGS_AT_ONCE) == FIRINGS_AT_ONCE:
            pass
        await self.pipelines.close_windows(open_s_min=WINDOW_S_MIN)

    async def look(self) -> None:
        """Show the figures of all pipelines as metrics; forget statuses of those that are gone."""
        figures: dict[PipelineId, Figures] = {}
        windows: dict[PipelineId, bool] = {}
        numbers: set[int] = set()
        after = ""
        while page := await self.pipelines.page(after=after, limit=ALL_PAGE_SIZE):
            numbers_of_page = [pipeline.number for pipeline in page]
            await self.documents.fold(numbers_of_page)
            counted = await self.documents.figures(numbers_of_page)
            figures |= {pipeline.id: counted[pipeline.number] for pipeline in page}
            windows |= {one.id: one.is_window_open for one in page if one.cron}
            numbers.update(numbers_of_page)
            after = page[-1].id
        self.transitions.show(figures, windows)
        for number in self._statuses.keys() - numbers:
            del self._statuses[number]

    async def free_expired(self) -> None:
        """Free documents whose lease has run out, in every pipeline."""
        after = ""
        while page := await self.pipelines.page(after=after, limit=ALL_PAGE_SIZE):
            for pipeline in page:
                while await self.documents.expire(pipeline.number):
                    pass
            after = page[-1].id

    async def _count(self, pipeline: Pipeline) -> PipelineStatus:
        figures = (await self.documents.figures([pipeline.number]))[pipeline.number]
        state = WorkState.IDLE
        if figures.open_count:
            state = WorkState.PENDING
        elif figures.stage_counts and await self.rows.is_indexing(pipeline.target_namespace):
            state = WorkState.WAITING_ON_UPSTREAM
        return PipelineStatus(pipeline=pipeline, state=state, figures=figures)
