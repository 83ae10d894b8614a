"""Legs over shards: which are asked, how their answers become one, and how a marker is found."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from layer_gateway.ports.stores import Caller, StoreAnswer
from layer_gateway_testing.legs_store import (
    BEHIND,
    MARKER,
    STAMPED,
    USER,
    WATERMARK,
    Answer,
    World,
    ids,
    rows,
)
from layer_kit.errors import DeadlineError, LayerError, UpstreamError
from layer_kit.names import Namespace


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
