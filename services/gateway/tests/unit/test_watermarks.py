"""Watermarks: what polls teach, in which order, and what a clock or a slow write may not do."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import pytest

from layer_gateway.application import watermarks as module
from layer_gateway.application.cuts import Cut
from layer_gateway.application.stamps import Stamps
from layer_gateway.application.watched import WatchSettings
from layer_gateway.application.watermarks import Watermarks
from layer_gateway.ports.stores import Caller, Headers, Store, StoreAnswer
from layer_gateway.ports.watching import Mark, SharedMarks
from layer_kit.errors import UpstreamError
from layer_kit.names import Namespace
from layer_wire.metadata import IndexStatus

TOOLS = Namespace("tools")
ANN = Caller(headers=[(b"authorization", b"Bearer ann"), (b"traceparent", b"00-1-2-01")])
BOB = Caller(headers=[(b"authorization", b"Bearer bob")])
UP_TO_DATE = {"index": {"status": "up-to-date"}}
UPDATING = {"index": {"status": "updating", "unindexed_bytes": 812}}


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: Headers = ()


class Table(dict[Namespace, Mark]):
    """What several processes share."""

    def read(self, namespace: Namespace) -> Mark | None:
        return self.get(namespace)

    def publish(self, mark: Mark) -> None:
        self[mark.namespace] = mark

    def forget(self, namespace: Namespace, at_ms: int) -> None:
        self[namespace] = Mark(
            namespace=namespace,
            status=IndexStatus.UNKNOWN,
            watermark_ms=None,
            polled_at_ms=at_ms,
            is_deleted=True,
        )


@dataclass
class World:
    """A store that says what a test lets it say, and clocks that a test moves."""

    metadata_body: object = field(default_factory=lambda: UP_TO_DATE)
    status: int = 200
    fault: Exception | None = None
    wall_ms: int = 1_780_000_000_000
    monotonic_s: float = 100.0
    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[tuple[Namespace, Headers]] = field(default_factory=list)
    asking_max: int = 0
    shared: SharedMarks | None = None
    results: Counter[str] = field(default_factory=Counter)
    advanced: list[tuple[Namespace, int, bytes]] = field(default_factory=list)
    _asking: int = 0

    def __post_init__(self) -> None:
        self.is_open.set()
        self.stamps = Stamps(lambda: self.wall_ms)
        self.watermarks = Watermarks(
            cast("Store", self),
            self.stamps,
            WatchSettings(),
            monotonic=lambda: self.monotonic_s,
            polled=lambda result: self.results.update([result]),
            advanced=lambda *told: self.advanced.append(told),
            shared=self.shared,
            random_share=lambda: 0.0,
        )

    async def metadata(self, namespace: Namespace, caller: Caller) -> StoreAnswer:
        self.asked.append((namespace, caller.headers))
        self.was_asked.set()
        self._asking += 1
        self.asking_max = max(self.asking_max, self._asking)
        try:
            await self.is_open.wait()
        finally:
            self._asking -= 1
        if self.fault is not None:
            raise self.fault
        body = self.metadata_body
        return Answer(self.status, body if isinstance(body, bytes) else json.dumps(body).encode())

    async def poll(self) -> None:
        await self.watermarks.poll()
        await self.watermarks.settled()

    async def polls_after(self, seconds: float) -> int:
        """Tell how many polls a turn makes that comes ``seconds`` later."""
        self.monotonic_s += seconds
        self.wall_ms += round(seconds * 1000)
        before = len(self.asked)
        await self.poll()
        return len(self.asked) - before

    def is_updating(self) -> bool:
        return self.watermarks.cut(TOOLS).is_updating

    def stable_as_of(self) -> int | None:
        return self.watermarks.cut(TOOLS).stable_as_of_ms


async def started(world: World) -> Callable[[], None]:
    """Start a poll that the store does not answer until the returned call."""
    world.is_open.clear()
    await world.watermarks.poll()
    await world.was_asked.wait()
    return world.is_open.set


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
    world = World()
    world.watermarks.seen(TOOLS, ANN)
    await world.poll()
    world.status = 404
    assert await world.polls_after(60) == 1
    assert world.watermarks.cut(TOOLS) == Cut()
    assert await world.polls_after(60) == 0


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
