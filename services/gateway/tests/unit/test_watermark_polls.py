"""Polls of indexes: how often, with whose key, how many at a time, and shared by processes."""

from __future__ import annotations

import asyncio

import pytest

from layer_gateway.application import watermarks as module
from layer_gateway.application.cuts import Cut
from layer_gateway.ports.watching import Mark
from layer_gateway_testing.watched_store import (
    ANN,
    BOB,
    TOOLS,
    UP_TO_DATE,
    UPDATING,
    Table,
    World,
    started,
)
from layer_kit.errors import UpstreamError
from layer_kit.names import Namespace
from layer_wire.metadata import IndexStatus


async def test_an_index_is_looked_at_as_often_as_it_needs() -> None:
    world = World(metadata_body=UPDATING)
    world.watermarks.seen(TOOLS, ANN)
    await world.poll()
    assert [await world.polls_after(0.5), await world.polls_after(0.5)] == [0, 1]
    world.metadata_body = {}
    assert [await world.polls_after(1), await world.polls_after(1)] == [1, 1]
    world.metadata_body = UP_TO_DATE
    assert [await world.polls_after(1), await world.polls_after(59)] == [1, 0]
    world.watermarks.seen(TOOLS, ANN)
    assert [await world.polls_after(0.5), await world.polls_after(0.5)] == [0, 1]
    world.watermarks.written(TOOLS, ANN)
    assert await world.polls_after(0) == 1


async def test_an_index_is_looked_at_until_its_watermark_has_passed_the_latest_write() -> None:
    world = World()
    world.watermarks.written(TOOLS, ANN)
    written_ms = world.wall_ms
    await world.poll()
    assert (world.stable_as_of() or 0) < written_ms
    assert [await world.polls_after(0.5), await world.polls_after(0.5)] == [0, 1]
    assert (world.stable_as_of() or 0) >= written_ms
    assert [await world.polls_after(2), await world.polls_after(58)] == [0, 1]


async def test_a_write_during_a_poll_makes_another_one_due() -> None:
    world = World()
    world.watermarks.seen(TOOLS, ANN)
    let_go = await started(world)
    world.watermarks.written(TOOLS, ANN)
    await world.watermarks.poll()
    assert len(world.asked) == 1
    let_go()
    await world.watermarks.settled()
    assert await world.polls_after(0) == 1


@pytest.mark.parametrize(
    "fault", [UpstreamError("UPSTREAM_CLOSED", "The store hung up."), TimeoutError()]
)
async def test_errors_keep_what_is_known_and_make_polls_rarer(fault: Exception) -> None:
    world = World()
    world.watermarks.seen(TOOLS, ANN)
    await world.poll()
    known = world.watermarks.cut(TOOLS)
    world.fault = fault
    world.watermarks.written(TOOLS, ANN)
    assert await world.polls_after(1) == 1
    assert world.watermarks.cut(TOOLS) == known
    assert [await world.polls_after(1), await world.polls_after(1)] == [0, 1]
    assert [await world.polls_after(3), await world.polls_after(1)] == [0, 1]
    assert world.results["failed"] == 3
    world.fault = None
    assert await world.polls_after(8) == 1
    assert (world.stable_as_of() or 0) > (known.stable_as_of_ms or 0)


@pytest.mark.parametrize("body", [b"no JSON", b"\xff"])
async def test_an_answer_that_cannot_be_read_keeps_what_is_known(body: bytes) -> None:
    world = World()
    world.watermarks.seen(TOOLS, ANN)
    await world.poll()
    known = world.watermarks.cut(TOOLS)
    world.metadata_body = body
    assert await world.polls_after(60) == 1
    assert world.watermarks.cut(TOOLS) == known
    assert world.results["failed"] == 1


async def test_polls_use_the_key_that_last_worked_and_nothing_else_of_its_request() -> None:
    world = World()
    world.watermarks.seen(TOOLS, ANN)
    await world.poll()
    world.watermarks.written(TOOLS, BOB)
    await world.poll()
    assert [headers for _, headers in world.asked] == [
        [(b"authorization", b"Bearer ann")],
        [(b"authorization", b"Bearer bob")],
    ]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_not_tried_again(status: int) -> None:
    world = World()
    world.watermarks.seen(TOOLS, ANN)
    await world.poll()
    known = world.watermarks.cut(TOOLS)
    world.status = status
    assert [await world.polls_after(60), await world.polls_after(600)] == [1, 0]
    assert world.watermarks.cut(TOOLS) == known
    world.status = 200
    world.watermarks.seen(TOOLS, BOB)
    assert await world.polls_after(0) == 1


async def test_what_nobody_asks_for_rests_until_somebody_does() -> None:
    world = World()
    world.watermarks.seen(TOOLS, ANN)
    assert [await world.polls_after(3601), await world.polls_after(3601)] == [0, 0]
    world.watermarks.seen(TOOLS, ANN)
    assert await world.polls_after(0) == 1


async def test_many_namespaces_are_polled_some_at_a_time() -> None:
    world = World()
    names = [Namespace(f"n{at}") for at in range(3 * module.POLLS_AT_ONCE_MAX)]
    for name in names:
        world.watermarks.seen(name, ANN)
    world.is_open.clear()
    turn = asyncio.create_task(world.watermarks.poll())
    await world.was_asked.wait()
    world.is_open.set()
    await turn
    await world.watermarks.settled()
    assert [name for name, _ in world.asked] == names
    assert 1 < world.asking_max <= module.POLLS_AT_ONCE_MAX


async def test_as_many_namespaces_are_remembered_as_fit_and_the_last_used_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "NAMESPACES_WATCHED_MAX", 2)
    world = World()
    first, second, third = (Namespace(name) for name in ("first", "second", "third"))
    for name in (first, second, first, third):
        world.watermarks.seen(name, ANN)
    await world.poll()
    known = [world.watermarks.cut(name).stable_as_of_ms for name in (first, second, third)]
    assert [ms is not None for ms in known] == [True, False, True]


async def test_processes_of_one_host_learn_from_each_other() -> None:
    table = Table()
    teacher, pupil = World(shared=table), World(shared=table)
    pupil.wall_ms -= 5_000
    for world in (teacher, pupil):
        world.watermarks.seen(TOOLS, ANN)
    await teacher.poll()
    assert pupil.watermarks.is_stable(TOOLS)
    assert pupil.watermarks.cut(TOOLS) == teacher.watermarks.cut(TOOLS)
    assert await pupil.polls_after(1) == 0
    with pupil.stamps.writing(TOOLS) as stamp_ms:
        assert stamp_ms > (teacher.stable_as_of() or 0)


async def test_a_namespace_that_one_process_saw_deleted_is_forgotten_by_all() -> None:
    table = Table()
    teacher, pupil = World(shared=table), World(shared=table)
    for world in (teacher, pupil):
        world.watermarks.seen(TOOLS, ANN)
    await teacher.poll()
    assert pupil.watermarks.is_stable(TOOLS)

    teacher.wall_ms += 1
    teacher.watermarks.forget(TOOLS)

    for world in (teacher, pupil):
        assert world.watermarks.cut(TOOLS) == Cut()
        assert not world.watermarks.is_stable(TOOLS)
    assert pupil.deleted == [TOOLS]


async def test_a_namespace_that_was_made_anew_is_as_stable_as_a_poll_since_then() -> None:
    table = Table()
    teacher, pupil = World(shared=table), World(shared=table)
    for world in (teacher, pupil):
        world.watermarks.seen(TOOLS, ANN)
    await teacher.poll()
    assert pupil.stable_as_of() is not None
    pupil.watermarks.written(TOOLS, ANN)
    answered = await started(pupil)  # about what is deleted meanwhile
    teacher.wall_ms += 1
    teacher.watermarks.forget(TOOLS)

    pupil.wall_ms += 2
    pupil.watermarks.written(TOOLS, ANN)
    assert pupil.watermarks.cut(TOOLS) == Cut()
    answered()
    await pupil.watermarks.settled()
    assert pupil.watermarks.cut(TOOLS) == Cut()

    pupil.metadata_body = UPDATING
    assert await pupil.polls_after(1) == 1
    assert pupil.watermarks.cut(TOOLS) == Cut(is_updating=True)
    assert teacher.watermarks.cut(TOOLS) == Cut(is_updating=True)


async def test_old_lessons_teach_nothing() -> None:
    table = Table()
    world = World(shared=table)
    world.watermarks.seen(TOOLS, ANN)
    await world.poll()
    known = world.watermarks.cut(TOOLS)
    table[TOOLS] = Mark(
        namespace=TOOLS,
        status=IndexStatus.UPDATING,
        watermark_ms=5,
        polled_at_ms=world.wall_ms - 1,
    )
    assert world.watermarks.cut(TOOLS) == known
