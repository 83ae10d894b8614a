"""Legs: what the store is asked on the way to one list of rows, and asked again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest

from layer_gateway.application.cuts import Cut
from layer_gateway.application.facts import Facts
from layer_gateway.application.legs import Leg, LegAnswer, RunLegs
from layer_gateway.application.plans import MakePlans
from layer_gateway.application.sharding import Shards
from layer_gateway.application.stamps import Stamps
from layer_gateway.application.strong import StrongNamespaces
from layer_gateway.application.watched import WatchSettings
from layer_gateway.application.watermarks import Watermarks
from layer_gateway.ports.stores import Caller, Headers, Store, StoreAnswer
from layer_kit.errors import DeadlineError, LayerError, UpstreamError
from layer_kit.names import Namespace
from layer_wire.filters import Written
from layer_wire.jsontext import Raw, raw

TOOLS = Namespace("tools")
STAMPED = {"id": "string", "_hevlayer_upserted_at": "int", "_hevlayer_shard": "int"}
MARKER = {"id": "_hevlayer:namespace_meta", "_hevlayer_shard_count": 4}
USER = ["kind", "Eq", "saw"]
WATERMARK = ["_hevlayer_upserted_at", "Lte", 500]
BEHIND = Cut(stable_as_of_ms=500, is_updating=True)
STABLE = Cut(stable_as_of_ms=500)
ANN = ["vector", "ANN", [0.1, 0.2]]


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b'{"rows":[]}'
    headers: Headers = ()


Script = Callable[[dict[str, Any]], StoreAnswer]


def rows(*found: object) -> Answer:
    return Answer(body=json.dumps({"rows": found}).encode())


@dataclass
class World:
    """A store that knows a schema and a marker, and answers legs as a script says."""

    script: Script = lambda _: rows()
    schema_types: dict[str, str] = field(default_factory=lambda: dict(STAMPED))
    schema_status: int = 200
    marker: dict[str, Any] | None = None
    stray: bool = False
    strong_patterns: str = ""
    now_s: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)
    """The queries of legs."""
    schemas_count: int = 0
    looks_count: int = 0
    """How often the index was looked at."""

    def __post_init__(self) -> None:
        store = cast("Store", self)

        def clock() -> float:
            return self.now_s

        shards = Shards(store, None, shard_count_default=16, monotonic=clock)
        self.watermarks = Watermarks(store, Stamps(lambda: 0), WatchSettings(), monotonic=clock)
        facts = Facts(store, shards, ttl_s=30.0, monotonic=clock)
        plans = MakePlans(facts=facts, strong_namespaces=StrongNamespaces(self.strong_patterns))
        self.run_legs = RunLegs(store=store, plans=plans, watermarks=self.watermarks)

    async def metadata(self, namespace: Namespace, caller: Caller) -> StoreAnswer:
        self.looks_count += 1
        return Answer(body=b'{"index":{"status":"up-to-date"}}')

    async def schema(self, namespace: Namespace, caller: Caller) -> StoreAnswer:
        self.schemas_count += 1
        return Answer(self.schema_status, json.dumps(self.schema_types).encode())

    async def query(self, namespace: Namespace, body: bytes, caller: Caller) -> StoreAnswer:
        query = json.loads(body)
        if query.get("filters") == ["id", "Eq", "_hevlayer:namespace_meta"]:
            return rows(self.marker) if self.marker else rows()
        if b'["_hevlayer_shard","Eq",null]' in body:
            return rows({"id": "stray"}) if self.stray else rows()
        self.asked.append(query)
        return self.script(query)

    async def run(self, rank_by: object = ANN, cut: Cut = STABLE, **fields: Any) -> LegAnswer:
        threads = fields.pop("threads", None)
        filter_ = raw(fields.pop("filter")) if "filter" in fields else None
        leg = Leg(rank_by=raw(rank_by), row_count=3, filter=filter_, **fields)
        return await self.run_legs(TOOLS, leg, cut, Caller(), threads=threads)

    def filters(self) -> list[Any]:
        return [query.get("filters") for query in self.asked]


def ids(answer: LegAnswer) -> list[object]:
    return [msgspec.json.decode(row["id"]) for row in answer.rows]


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


class TestScatter:
    """A namespace whose rows are all in shards is read shard by shard."""

    async def test_the_worked_example(self) -> None:
        parts: list[list[dict[str, Any]]] = [
            [{"id": "t-4", "$dist": 0.25}],
            [{"id": "t-2", "$dist": 0.1}],
            [{"id": "t-5", "$dist": 0.25}, {"id": "t-1", "$dist": 0.3}, {"id": "t-3", "$dist": 4}],
            [{"id": "t-6", "$dist": 0.55}],
        ]
        world = World(script=lambda query: rows(*parts[query["filters"][2]]), marker=MARKER)
        answer = await world.run()
        assert ids(answer) == ["t-2", "t-4", "t-5"]
        assert answer.scatter_count == 4
        assert world.filters() == [["_hevlayer_shard", "Eq", shard] for shard in range(4)]
        assert [query["top_k"] for query in world.asked] == [3] * 4

    async def test_one_cut_is_in_every_leg(self) -> None:
        world = World(marker=MARKER)
        await world.run(cut=BEHIND, filter=USER)
        inner = ["And", [USER, WATERMARK]]
        assert world.filters() == [
            ["And", [inner, ["_hevlayer_shard", "Eq", shard]]] for shard in range(4)
        ]

    async def test_a_row_outside_of_all_shards_makes_queries_whole(self) -> None:
        world = World(marker=MARKER, stray=True)
        answer = await world.run()
        assert (world.filters(), answer.scatter_count) == ([["id", "NotEq", MARKER["id"]]], 1)

    async def test_what_is_known_of_shards_is_renewed(self) -> None:
        world = World(marker=MARKER)
        await world.run()
        world.stray = True
        world.now_s += 31
        answer = await world.run()
        assert answer.scatter_count == 1

    async def test_without_shards_in_the_schema_nothing_is_in_them(self) -> None:
        world = World(marker=MARKER, schema_types={"id": "string"})
        assert (await world.run()).scatter_count == 1

    @pytest.mark.parametrize("kind", ["uint", "uuid"])
    async def test_ids_that_are_no_strings_stay_unsharded(self, kind: str) -> None:
        world = World(marker=MARKER, schema_types=STAMPED | {"id": kind})
        assert (await world.run()).scatter_count == 1

    @pytest.mark.parametrize(
        ("rank_by", "expected"),
        [
            (["text", "BM25", "saw"], ["c", "b", "a"]),
            (["Sum", [["text", "BM25", "saw"], ["text", "BM25", "axe"]]], ["c", "b", "a"]),
            (["emb", "SparseKNN", {"1": 1.0}], ["c", "b", "a"]),
            (["emb", "kNN", [1.0]], ["a", "b", "c"]),
        ],
    )
    async def test_distances_ascend_and_scores_descend(
        self, rank_by: object, expected: list[str]
    ) -> None:
        found = [{"id": "a", "$dist": 1}, {"id": "b", "$dist": 2.5}, {"id": "c", "$dist": 10}]
        world = World(
            marker=MARKER,
            script=lambda query: rows(*found[query["filters"][2] : query["filters"][2] + 1]),
        )
        assert ids(await world.run(rank_by)) == expected

    @pytest.mark.parametrize(
        ("rank_by", "expected"),
        [
            (["n", "asc"], ["absent", "none", "two"]),
            (["n", "desc"], ["twenty", "ten", "ten-b"]),
            ([["n", "desc"], ["id", "desc"]], ["twenty", "ten-b", "ten"]),
            (["id", "asc"], ["absent", "none", "ten"]),
            (["id", "desc"], ["two", "twenty", "ten-b"]),
        ],
    )
    async def test_orders_by_attribute_are_kept(
        self, rank_by: list[Any], expected: list[str]
    ) -> None:
        values: dict[str, dict[str, object]] = {
            "none": {"n": None}, "absent": {}, "two": {"n": 2}, "ten": {"n": 10.0},
            "ten-b": {"n": 10}, "twenty": {"n": 20},
        }  # fmt: skip
        keys = rank_by if isinstance(rank_by[0], list) else [rank_by]

        def script(query: dict[str, Any]) -> StoreAnswer:
            """Order the rows of one shard as the store does: stably, last key first."""
            shard = query["filters"][2]
            mine = [
                {"id": name, **value} for at, (name, value) in enumerate(values.items())
                if at % 4 == shard
            ]  # fmt: skip
            for name, direction in reversed(keys):
                mine.sort(
                    key=lambda row: (row.get(name) is not None, row.get(name)),
                    reverse=direction == "desc",
                )
            return rows(*mine)

        world = World(marker=MARKER, script=script)
        answer = await world.run(rank_by)
        assert ids(answer) == expected

    async def test_what_rows_are_merged_by_is_asked_for_and_not_returned(self) -> None:
        world = World(marker=MARKER, script=lambda _: rows({"id": "a", "n": 1, "k": 2}))
        answer = await world.run(["n", "asc"], include_attributes=["k"])
        assert [query["include_attributes"] for query in world.asked] == [["k", "n"]] * 4
        assert [sorted(row) for row in answer.rows] == [["id", "k"]] * 3

    async def test_ids_that_are_numbers_are_ordered_as_numbers(self) -> None:
        world = World(
            marker=MARKER,
            script=lambda query: rows({"id": [10, 9, 100, 8][query["filters"][2]], "$dist": 0.5}),
        )
        assert ids(await world.run()) == [8, 9, 10]

    async def test_a_row_without_a_rank_is_a_fault_of_the_store(self) -> None:
        world = World(marker=MARKER, script=lambda _: rows({"id": "a"}))
        with pytest.raises(UpstreamError) as unreadable:
            await world.run()
        assert unreadable.value.reason == "UPSTREAM_UNREADABLE"

    async def test_one_shards_refusal_is_the_answer(self) -> None:
        world = World(
            marker=MARKER,
            script=lambda query: Answer(503, b"no") if query["filters"][2] == 2 else rows(),
        )
        answer = await world.run()
        assert answer.refusal is not None
        assert answer.refusal.status == 503

    async def test_one_shards_fault_gives_up_the_others(self) -> None:
        def script(query: dict[str, Any]) -> StoreAnswer:
            if query["filters"][2] == 0:
                raise DeadlineError("UPSTREAM_TIMEOUT", "The store took too long.")
            return rows()

        world = World(marker=MARKER, script=script)
        with pytest.raises(LayerError):
            await world.run()
        assert len(asyncio.all_tasks()) == 1

    async def test_so_many_shards_at_once_as_are_asked_for(self) -> None:
        world = World(marker=MARKER)
        running = running_max = 0
        plain = world.query

        async def query(namespace: Namespace, body: bytes, caller: Caller) -> StoreAnswer:
            nonlocal running, running_max
            running += 1
            running_max = max(running_max, running)
            await asyncio.sleep(0)
            running -= 1
            return await plain(namespace, body, caller)

        world.query = query  # type: ignore[method-assign]
        await world.run(threads=2)
        assert (running_max, len(world.asked)) == (2, 4)


class TestMarker:
    """The marker row is nobody's."""

    async def test_it_is_filtered_out_of_an_order_and_dropped(self) -> None:
        world = World(
            marker=MARKER, stray=True, script=lambda _: rows({"id": MARKER["id"]}, {"id": "a"})
        )
        answer = await world.run(["id", "asc"], filter=USER)
        assert world.filters() == [["And", [USER, ["id", "NotEq", MARKER["id"]]]]]
        assert ids(answer) == ["a"]
