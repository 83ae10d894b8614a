"""The status of a pipeline: counted once for all who ask, and again when it is old."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from layer_kit.errors import UnavailableError
from layer_runtime.application.pipeline_registry import PipelineRegistry, WorkState
from layer_runtime.domain.pipelines import Distance, Figures, Pipeline, PipelineId

BOOKS = Pipeline(
    number=1,
    id=PipelineId("books"),
    target_namespace="rows",
    distance=Distance.COSINE,
    created_ms=0,
)


class World:
    """A database with one pipeline, that counts how often it is asked to count."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.counted = 0
        self.is_away = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def get(self, pipeline_id: PipelineId) -> Pipeline | None:
        return BOOKS if pipeline_id == BOOKS.id else None

    async def figures(self, numbers: Sequence[int]) -> Mapping[int, Figures]:
        self.counted += 1
        await self.may_answer.wait()
        if self.is_away:
            raise UnavailableError("DATABASE_DOWN", "The database is away.")
        return {number: Figures(stage_counts={"pending": self.counted}) for number in numbers}

    async def is_indexing(self, namespace: str) -> bool:
        return False


@pytest.fixture
async def world() -> World:
    return World()


@pytest.fixture
def registry(world: World) -> PipelineRegistry:
    parts = cast("Any", world)
    return PipelineRegistry(
        pipelines=parts,
        documents=parts,
        rows=parts,
        transitions=parts,
        monotonic=lambda: world.now_s,
        status_ttl_s=15,
    )


async def test_all_who_ask_at_once_share_one_count(
    world: World, registry: PipelineRegistry
) -> None:
    world.may_answer.clear()
    asking = [asyncio.create_task(registry.status("books")) for _ in range(10)]
    while not world.counted:  # noqa: ASYNC110 -- the first one has begun then
        await asyncio.sleep(0)
    asking[0].cancel()
    world.may_answer.set()

    found = await asyncio.gather(*asking[1:])

    assert world.counted == 1
    assert {status.state for status in found} == {WorkState.PENDING}


async def test_a_count_serves_until_it_is_old(world: World, registry: PipelineRegistry) -> None:
    first = await registry.status("books")
    world.now_s += 14
    assert (await registry.status("books")).figures is first.figures
    world.now_s += 2
    assert (await registry.status("books")).figures.stage_counts == {"pending": 2}


async def test_a_count_that_failed_is_made_again(world: World, registry: PipelineRegistry) -> None:
    world.is_away = True
    with pytest.raises(UnavailableError):
        await registry.status("books")
    world.is_away = False
    assert (await registry.status("books")).state is WorkState.PENDING
