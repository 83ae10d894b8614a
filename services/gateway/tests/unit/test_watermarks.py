"""Watermarks: what polls teach, and what a clock or a slow write may not do."""

from __future__ import annotations

import json

import pytest

from layer_gateway.application import watermarks as module
from layer_gateway.application.cuts import Cut
from layer_gateway.application.stamps import Stamps
from layer_gateway_testing.watched_store import (
    ANN,
    TOOLS,
    UP_TO_DATE,
    UPDATING,
    World,
    started,
)
from layer_kit.names import Namespace
from layer_wire.metadata import IndexStatus


async def test_the_worked_example() -> None:
    world = World()
    world.watermarks.seen(TOOLS, ANN)
    await world.poll()
    assert world.watermarks.cut(TOOLS) == Cut(stable_as_of_ms=1_779_999_999_500)
    assert world.watermarks.cut(TOOLS).filter is None

    world.wall_ms, world.monotonic_s = 1_780_000_002_000, 102.0
    world.watermarks.written(TOOLS, ANN)
    assert not world.is_updating()
    world.metadata_body = UPDATING
    assert await world.polls_after(1) == 1
    cut = world.watermarks.cut(TOOLS)
    assert cut == Cut(stable_as_of_ms=1_779_999_999_500, is_updating=True)
    assert json.loads(bytes(cut.filter or b"")) == [
        "_hevlayer_upserted_at",
        "Lte",
        1_779_999_999_500,
    ]

    world.metadata_body = UP_TO_DATE
    world.wall_ms = 1_780_000_008_000
    assert await world.polls_after(1) == 1
    assert world.watermarks.cut(TOOLS) == Cut(stable_as_of_ms=1_780_000_008_500)
    assert world.advanced == [
        (TOOLS, 1_779_999_999_500, b"Bearer ann"),
        (TOOLS, 1_780_000_008_500, b"Bearer ann"),
    ]


async def test_a_registered_namespace_is_looked_at_though_nobody_uses_it() -> None:
    world = World()
    world.watermarks.registered(TOOLS)
    await world.poll()
    assert world.asked == [(TOOLS, [])]
    assert world.advanced == [(TOOLS, 1_779_999_999_500, b"")]
    for _ in range(2):  # longer than namespaces are looked at that are not registered again
        world.watermarks.registered(TOOLS)
        assert await world.polls_after(3000) == 1
    assert await world.polls_after(3000) == 0


async def test_a_registered_namespace_keeps_its_key_until_that_is_refused() -> None:
    world = World()
    world.watermarks.seen(TOOLS, ANN)
    world.watermarks.registered(TOOLS)
    world.status = 403
    await world.poll()
    assert world.asked[-1][1] == [(b"authorization", b"Bearer ann")]
    world.status = 200
    world.watermarks.registered(TOOLS)
    assert await world.polls_after(1) == 1
    assert world.asked[-1][1] == []


async def test_a_registered_namespace_takes_the_place_of_none_that_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "NAMESPACES_WATCHED_MAX", 1)
    world = World()
    world.watermarks.seen(TOOLS, ANN)
    world.watermarks.registered(Namespace("other"))
    await world.poll()
    assert [namespace for namespace, _ in world.asked] == [TOOLS]


async def test_nothing_is_known_before_the_first_stable_poll() -> None:
    world = World(metadata_body=UPDATING)
    assert world.watermarks.cut(TOOLS) == Cut()
    world.watermarks.seen(TOOLS, ANN)
    assert world.watermarks.cut(TOOLS) == Cut()
    await world.poll()
    cut = world.watermarks.cut(TOOLS)
    assert (cut.is_updating, cut.filter, cut.at_watermark) == (True, None, None)
    assert not world.watermarks.is_stable(TOOLS)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (UP_TO_DATE, IndexStatus.UP_TO_DATE),
        ({"index": {"status": "up-to-date", "unindexed_bytes": 5}}, IndexStatus.UP_TO_DATE),
        (UPDATING, IndexStatus.UPDATING),
        ({"index": {"status": "building"}}, IndexStatus.UNKNOWN),
        ({"index": {"status": "building", "unindexed_bytes": 0}}, IndexStatus.UNKNOWN),
        ({"index": {"status": "building", "unindexed_bytes": 1}}, IndexStatus.UPDATING),
        ({"parts": [{"a": [{"unindexed_bytes": 1.0}]}]}, IndexStatus.UPDATING),
        ({"index": "updating"}, IndexStatus.UNKNOWN),
        ({"unindexed_bytes": "9"}, IndexStatus.UNKNOWN),
        ([], IndexStatus.UNKNOWN),
    ],
)
async def test_the_index_is_as_the_store_says(body: object, status: IndexStatus) -> None:
    world = World(metadata_body=body)
    world.watermarks.seen(TOOLS, ANN)
    await world.poll()
    assert world.results == {status: 1}
    assert (world.stable_as_of() is not None) == (status is IndexStatus.UP_TO_DATE)
    assert world.is_updating() == (status is IndexStatus.UPDATING)


async def test_a_watermark_does_not_follow_a_clock_that_goes_back() -> None:
    world = World()
    world.watermarks.seen(TOOLS, ANN)
    await world.poll()
    before = world.stable_as_of()
    world.wall_ms -= 3_600_000
    assert await world.polls_after(60) == 1
    assert world.stable_as_of() == before
    with world.stamps.writing(TOOLS) as stamp_ms:
        assert before is not None
        assert stamp_ms > before


async def test_a_watermark_stays_before_what_is_on_its_way() -> None:
    world = World()
    world.watermarks.seen(TOOLS, ANN)
    with world.stamps.writing(TOOLS) as stamp_ms:
        world.wall_ms += 60_000
        with world.stamps.writing(TOOLS):
            await world.poll()
        assert world.stable_as_of() == stamp_ms - 1
        assert await world.polls_after(60) == 1
        assert world.stable_as_of() == stamp_ms - 1
    assert await world.polls_after(60) == 1
    assert world.stable_as_of() == world.wall_ms - 500


async def test_a_write_that_ends_while_the_store_is_asked_counts_as_on_its_way() -> None:
    """The store may have looked at its index before that write came in."""
    world = World()
    world.watermarks.seen(TOOLS, ANN)
    with world.stamps.writing(TOOLS) as stamp_ms:
        world.wall_ms += 60_000
        let_go = await started(world)
    let_go()
    await world.watermarks.settled()
    assert world.stable_as_of() == stamp_ms - 1


async def test_what_was_deleted_is_forgotten_and_a_late_answer_does_not_bring_it_back() -> None:
    world = World()
    world.watermarks.seen(TOOLS, ANN)
    let_go = await started(world)
    world.watermarks.forget(TOOLS)
    let_go()
    await world.watermarks.settled()
    assert world.watermarks.cut(TOOLS) == Cut()
    assert world.advanced == []
    assert await world.polls_after(60) == 0


async def test_a_namespace_that_another_gateway_deleted_is_forgotten() -> None:
    world = World(status=404)
    world.watermarks.seen(TOOLS, ANN)
    await world.poll()
    assert world.deleted == []  # nothing was known of it
    world.status = 200
    world.watermarks.seen(TOOLS, ANN)
    await world.poll()
    world.status = 404
    assert await world.polls_after(60) == 1
    assert world.watermarks.cut(TOOLS) == Cut()
    assert world.deleted == [TOOLS]
    assert await world.polls_after(60) == 0


def test_stamps_never_go_back() -> None:
    clock = iter([5, 7, 6, 8])
    stamps = Stamps(lambda: next(clock))
    assert [stamps.now_ms() for _ in range(4)] == [5, 7, 7, 8]


def test_stamps_in_flight_are_known_until_their_writes_end() -> None:
    clock = iter([5, 7])
    stamps = Stamps(lambda: next(clock))
    with stamps.writing(TOOLS):
        with stamps.writing(TOOLS):
            assert stamps.earliest_in_flight(TOOLS) == 5
        assert stamps.earliest_in_flight(Namespace("others")) is None
    assert stamps.earliest_in_flight(TOOLS) is None


class Flights:
    """What the processes of one gateway are writing to one namespace."""

    def __init__(self) -> None:
        self.told: list[int | None] = []
        self.earliest_ms: int | None = None

    def begun(self, namespace: Namespace, stamp_ms: int) -> None:
        self.told.append(stamp_ms)

    def ended(self, namespace: Namespace) -> None:
        self.told.append(None)

    def earliest(self, namespace: Namespace) -> int | None:
        return self.earliest_ms


def test_other_processes_are_told_of_writes_before_they_are_stamped_until_they_end() -> None:
    clock, flights = iter([5, 6, 7]), Flights()
    stamps = Stamps(lambda: next(clock), shared=flights)
    first, second = stamps.writing(TOOLS), stamps.writing(TOOLS)
    assert first.__enter__() == 6
    assert second.__enter__() == 7
    assert flights.told == [5]
    first.__exit__(None, None, None)
    assert flights.told == [5, 7]
    second.__exit__(None, None, None)
    assert flights.told == [5, 7, None]
    flights.earliest_ms = 4
    assert stamps.earliest_in_flight(TOOLS) == 4
