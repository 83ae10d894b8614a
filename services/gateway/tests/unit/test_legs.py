"""Legs: what the store is asked on the way to one list of rows, and asked again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from layer_gateway.application.cuts import Cut
from layer_gateway.ports.stores import StoreAnswer
from layer_gateway_testing.legs_store import (
    ANN,
    BEHIND,
    MARKER,
    STABLE,
    STAMPED,
    USER,
    WATERMARK,
    Answer,
    World,
    ids,
    rows,
)
from layer_wire.filters import Written
from layer_wire.jsontext import Raw


async def test_filters_nest_from_the_callers_own_to_the_watermark() -> None:
    world = World()
    await world.run(filter=USER, cut=BEHIND, include_attributes=["kind"], extra={"k": Raw(b"1")})
    assert world.asked == [
        {
            "k": 1,
            "rank_by": ANN,
            "top_k": 3,
            "consistency": {"level": "eventual"},
            "filters": ["And", [USER, WATERMARK]],
            "include_attributes": ["kind"],
        }
    ]


@pytest.mark.parametrize(
    ("cut", "consistency", "filter_"),
    [
        (BEHIND, "eventual", WATERMARK),
        (STABLE, "eventual", None),
        (Cut(is_updating=True), "eventual", None),
        (BEHIND, "strong", None),
    ],
)
async def test_only_an_index_that_is_behind_is_cut(
    cut: Cut, consistency: str, filter_: object
) -> None:
    world = World()
    await world.run(cut=cut, consistency=consistency)
    assert world.filters() == [filter_]
    assert world.asked[0]["consistency"] == {"level": consistency}


@pytest.mark.parametrize(
    ("patterns", "level"),
    [("", "eventual"), ("tool", "eventual"), ("others, tools", "strong"), ("t*s", "strong")],
)
async def test_chosen_namespaces_are_read_strongly_and_never_cut(patterns: str, level: str) -> None:
    world = World(strong_patterns=patterns)
    await world.run(cut=BEHIND)
    assert world.asked[0]["consistency"] == {"level": level}
    assert world.filters() == [WATERMARK if level == "eventual" else None]


class TestBackpressure:
    """One refusal for load is answered with a lighter request."""

    @pytest.mark.parametrize(
        ("cut", "filters"),
        [
            (STABLE, [None, WATERMARK]),
            (Cut(), [None, None]),
            (Cut(is_updating=True), [None, None]),
            (BEHIND, [WATERMARK]),
        ],
    )
    async def test_the_retry_is_cut_where_it_can_be(self, cut: Cut, filters: object) -> None:
        world = World(script=lambda _: Answer(429, headers=[(b"retry-after", b"2")]))
        answer = await world.run(cut=cut)
        assert world.filters() == filters
        assert answer.refusal is not None
        assert (answer.refusal.status, answer.refusal.headers) == (429, [(b"retry-after", b"2")])

    async def test_the_retry_is_the_answer(self) -> None:
        answers = iter([Answer(429), rows({"id": "a", "$dist": 0.1})])
        world = World(script=lambda _: next(answers))
        answer = await world.run()
        assert (ids(answer), answer.refusal) == (["a"], None)

    async def test_a_strong_read_is_never_cut(self) -> None:
        world = World(script=lambda _: Answer(429))
        await world.run(consistency="strong")
        assert world.filters() == [None, None]

    async def test_each_shard_is_asked_once_more(self) -> None:
        refused: set[int | None] = set()

        def script(query: dict[str, Any]) -> StoreAnswer:
            shard = query["filters"][2] if query["filters"][0] != "And" else None
            if shard in (1, 3) and shard not in refused:
                refused.add(shard)
                return Answer(429)
            return rows()

        world = World(script=script, marker=MARKER)
        answer = await world.run()
        assert answer.refusal is None
        assert len(world.asked) == 6
        again = [filter_ for filter_ in world.filters() if filter_[0] == "And"]
        assert again == [["And", [WATERMARK, ["_hevlayer_shard", "Eq", shard]]] for shard in (1, 3)]


SINCE_7 = Written(after_ms=7, until_ms=9)
AS_OF_7 = Written(until_ms=7)


def no_stamps(query: dict[str, Any]) -> StoreAnswer:
    if "_hevlayer_upserted_at" in str(query):
        return Answer(400, b'{"error":"attribute \\"_hevlayer_upserted_at\\" not found"}')
    return rows({"id": "a"})


async def test_the_time_goes_around_the_callers_filter_and_inside_the_watermark() -> None:
    world = World()
    await world.run(filter=USER, written=AS_OF_7, cut=BEHIND)
    as_of = ["_hevlayer_upserted_at", "Lte", 7]
    assert world.filters() == [["And", [["And", [USER, as_of]], WATERMARK]]]


class TestUnstamped:
    """A namespace that was filled before layer came has nothing to cut by."""

    async def test_its_rows_are_of_any_moment(self) -> None:
        world = World(script=no_stamps, schema_types={"id": "string"})
        answer = await world.run(filter=USER, written=AS_OF_7)
        assert (ids(answer), world.filters()[-1]) == (["a"], USER)

    async def test_none_of_its_rows_was_written_in_a_span(self) -> None:
        world = World(script=no_stamps, schema_types={"id": "string"})
        answer = await world.run(written=SINCE_7)
        assert (answer.rows, answer.refusal, len(world.asked)) == ([], None, 1)

    @pytest.mark.parametrize("written", [AS_OF_7, SINCE_7])
    async def test_it_is_the_store_that_says_so(self, written: Written) -> None:
        world = World(schema_types={"id": "string"})  # as this gateway remembers it
        await world.run(written=written)
        assert world.filters() == [json.loads(bytes(written.filter))]

    async def test_it_is_read_whole(self) -> None:
        world = World(schema_types={"id": "string"})
        await world.run(cut=BEHIND)
        assert world.filters() == [None]

    async def test_first_stamps_of_another_gateway_are_soon_noticed(self) -> None:
        world = World(schema_types={"id": "string"})
        await world.run(cut=BEHIND)
        world.schema_types = STAMPED
        await world.run(cut=BEHIND)
        world.now_s += 1
        await world.run(cut=BEHIND)
        assert world.filters() == [None, None, WATERMARK]

    async def test_a_schema_that_was_made_anew_is_read_once_and_asked_again(self) -> None:
        refusal = Answer(400, b'{"error":"attribute \\"_hevlayer_upserted_at\\" not found"}')
        world = World(script=lambda query: refusal if "filters" in query else rows({"id": "a"}))
        await world.run(cut=STABLE)
        world.schema_types = {"id": "string"}
        answer = await world.run(cut=BEHIND)
        assert ids(answer) == ["a"]
        assert world.filters() == [None, WATERMARK, None]

    async def test_a_refusal_that_stays_is_the_answer(self) -> None:
        refusal = Answer(400, b'{"error":"attribute \\"_hevlayer_upserted_at\\" not found"}')
        world = World(script=lambda _: refusal)
        assert (await world.run(cut=BEHIND)).refusal is refusal
        assert (len(world.asked), world.schemas_count) == (1, 2)

    async def test_a_refusal_of_the_callers_own_doing_costs_nothing(self) -> None:
        world = World(script=lambda _: Answer(400, b'{"error":"unknown operator"}'))
        assert (await world.run(cut=BEHIND)).refusal is not None
        assert (len(world.asked), world.schemas_count) == (1, 1)


async def test_a_caller_that_the_store_refuses_hears_it_from_the_store() -> None:
    world = World(schema_status=403, script=lambda _: Answer(403, b"no"))
    answer = await world.run(cut=BEHIND)
    assert answer.refusal is not None
    assert (answer.refusal.status, answer.refusal.body) == (403, b"no")


async def test_only_what_was_answered_is_watched() -> None:
    world = World(script=lambda _: Answer(404))
    await world.run()
    await world.watermarks.poll()
    await world.watermarks.settled()
    assert world.looks_count == 0
    world.script = lambda _: rows()
    await world.run()
    await world.watermarks.poll()
    await world.watermarks.settled()
    assert world.looks_count == 1
