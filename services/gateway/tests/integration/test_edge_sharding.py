"""Namespaces in shards, over the real store: how they get there, and that nobody sees it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layer_testing.edge_calls import EdgeAnswer, EdgeCaller
from layer_testing.gateway_calls import KEY, embedded_store, gateway_over

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHARDS: Final = 4
BATCH: Final = 20
WORDS: Final = ("saw", "drill", "hammer", "rasp", "file")
SCHEMA: Final = {"text": {"type": "string", "full_text_search": True, "filterable": True}}


class Store:
    """The edge, and the store behind it for what goes around layer."""

    def __init__(self, edge: EdgeCaller, store: EdgeCaller) -> None:
        self.edge = edge
        self.store = store

    async def write(self, name: str, rows: list[Any], *, around: bool = False) -> None:
        body = {"upsert_rows": rows, "distance_metric": "euclidean_squared", "schema": SCHEMA}
        caller = self.store if around else self.edge
        received = await caller("POST", f"/v2/namespaces/{name}", body)
        assert received.status == 200, received.body

    async def init(self, name: str, **body: Any) -> EdgeAnswer:
        return await self.edge("POST", f"/v2/namespaces/{name}/init", body)

    async def migrate(self, name: str, body: Any = b"") -> EdgeAnswer:
        return await self.edge("POST", f"/v2/namespaces/{name}/shard/migrate", body)

    async def layer(self, name: str) -> Any:
        return (await self.edge("GET", f"/v2/namespaces/{name}/metadata")).json["layer"]

    async def query(self, name: str, **body: Any) -> Any:
        received = await self.edge("POST", f"/v2/namespaces/{name}/query", body)
        assert received.status == 200, received.body
        return received.json

    async def rows_behind(self, name: str) -> dict[str, Any]:
        """Return all rows as they are in the store, by id."""
        body = {"rank_by": ["id", "asc"], "top_k": 10_000, "include_attributes": True}
        received = await self.store("POST", f"/v2/namespaces/{name}/query", body)
        return {row["id"]: row for row in received.json["rows"]}


def tool(at: int, **more: Any) -> dict[str, Any]:
    vector = [float(at % 7), float(at % 3)]
    words = " ".join(WORDS[(at * step) % len(WORDS)] for step in range(1, 2 + at % 3))
    return {"id": f"t-{at}", "vector": vector, "text": words, "n": at % 5} | more


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Store]:
    directory = tmp_path_factory.mktemp("vectorstore")
    async with (
        embedded_store(directory) as store_url,
        gateway_over(
            store_url,
            LAYER_INIT_BACKFILL_BATCH_SIZE=str(BATCH),
            LAYER_INIT_BACKFILL_RPS="1000",
            LAYER_GATEWAY_FACTS_TTL_S="1",
            LAYER_GATEWAY_OBJECTS_DIRECTORY=str(tmp_path_factory.mktemp("objects")),
        ) as process,
    ):
        store = EdgeCaller(store_url.removeprefix("http://"), key=KEY)
        yield Store(EdgeCaller(process.addresses["http"], key=KEY), store)


async def test_a_migration_gives_every_row_its_shard_and_says_so(world: Store) -> None:
    await world.write("moved", [tool(at) for at in range(3 * BATCH)], around=True)
    await world.write("moved", [tool(at) for at in range(1000, 1000 + BATCH)])
    answer = await world.migrate("moved", {"shard_count": 16})
    assert answer.status == 200, answer.body
    assert answer.json == {
        "namespace": "moved",
        "shard_count": 16,
        "completed_at": answer.json["completed_at"],
        "documents_migrated": 3 * BATCH,
    }
    assert datetime.fromisoformat(answer.json["completed_at"]).tzinfo is not None
    layer = await world.layer("moved")
    assert (layer["shard_state"], layer["shard_count"]) == ("ready", 16)
    rows = await world.rows_behind("moved")
    assert all("_hevlayer_shard" in row for id_, row in rows.items() if id_.startswith("t-"))

    assert (await world.migrate("moved")).json == answer.json
    other = await world.migrate("moved", {"shard_count": 4})
    assert (other.status, other.json["reason"]) == (409, "SHARD_COUNT_DIFFERS")


async def test_a_migration_without_a_count_takes_that_of_the_settings(world: Store) -> None:
    await world.write("by-default", [tool(at) for at in range(5)], around=True)
    answer = await world.migrate("by-default")
    assert (answer.json["shard_count"], answer.json["documents_migrated"]) == (16, 5)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"shard_count": 0}, 422),
        ({"shard_count": 1025}, 422),
        ({"shard_count": "4"}, 422),
        ({"shard_count": 4.5}, 422),
        ([], 422),
        (b"{", 415),
    ],
)
async def test_a_migration_that_cannot_be_changes_nothing(
    world: Store, body: Any, status: int
) -> None:
    await world.write("unmoved", [tool(1)])
    refused = await world.migrate("unmoved", body)
    assert refused.status == status, refused.body
    assert (await world.migrate("no-such-namespace")).status == 404
    assert (await world.layer("unmoved"))["shard_state"] == "unsharded"


async def test_rows_of_before_and_after_are_given_their_shards(world: Store) -> None:
    await world.write("filled", [tool(at) for at in range(3 * BATCH)], around=True)
    await world.write("filled", [tool(at) for at in range(1000, 1000 + BATCH)])
    stamps = {
        id_: row.get("_hevlayer_upserted_at")
        for id_, row in (await world.rows_behind("filled")).items()
    }
    assert (await world.layer("filled"))["shard_state"] == "unsharded"

    received = await world.init("filled", shard_count=SHARDS)
    assert received.json == {
        "namespace": "filled",
        "layer": {
            "stable_as_of": received.json["layer"]["stable_as_of"],
            "is_stable": received.json["layer"]["is_stable"],
            "indexed": None,
            "index_lag_rows": None,
            "schema_version": 1,
            "init_state": "ready",
            "init_lag_rows": 0,
            "shard_count": SHARDS,
            "shard_state": "ready",
            "shard_lag_rows": 0,
            "scatter_gather_active": True,
        },
    }
    rows = await world.rows_behind("filled")
    marker = rows.pop("_hevlayer:namespace_meta")
    assert {name: value for name, value in marker.items() if value is not None} == {
        "id": "_hevlayer:namespace_meta",
        "_hevlayer_shard_count": SHARDS,
        "_hevlayer_schema_version": 1,
        "vector": [1.0, 0.0],  # without which this store would not take it
    }
    assert (rows["t-1"]["_hevlayer_shard"], rows["t-2"]["_hevlayer_shard"]) == (2, 1)
    assert {row["_hevlayer_shard"] for row in rows.values()} == set(range(SHARDS))
    assert {id_: row.get("_hevlayer_upserted_at") for id_, row in rows.items()} == stamps
    assert (await world.layer("filled")) == received.json["layer"]


async def test_initialising_again_changes_nothing(world: Store) -> None:
    await world.write("again", [tool(at) for at in range(5)])
    first = await world.init("again", shard_count=SHARDS, schema_version=3)
    rows = await world.rows_behind("again")
    for body in ({}, {"shard_count": SHARDS}, {"shard_count": SHARDS, "schema_version": 9}):
        received = await world.init("again", **body)
        assert received.json["layer"]["shard_count"] == SHARDS
        assert received.json["layer"]["schema_version"] == 3
    assert first.status == 200
    assert await world.rows_behind("again") == rows
    other = await world.init("again", shard_count=SHARDS + 1)
    assert (other.status, other.json["error"]) == (409, "conflict")


async def test_of_two_that_disagree_one_is_refused(world: Store) -> None:
    await world.write("raced", [tool(at) for at in range(5)])
    answers = await asyncio.gather(*(world.init("raced", shard_count=count) for count in (2, 3)))
    assert sorted(answer.status for answer in answers) == [200, 409]


async def test_nothing_is_begun_without_a_count(world: Store) -> None:
    await world.write("plain", [tool(1)])
    for received in (
        await world.init("plain"),
        await world.init("plain", schema_version=None, shard_count=None),
        await world.edge("POST", "/v2/namespaces/plain/init", b"", {}),
    ):
        layer = received.json["layer"]
        assert (layer["shard_state"], layer["init_state"]) == ("unsharded", "ready")
        assert (layer["shard_count"], layer["scatter_gather_active"]) == (None, False)
    assert list(await world.rows_behind("plain")) == ["t-1"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"shard_count": 0}, "shard_count"),
        ({"shard_count": 1025}, "shard_count"),
        ({"shard_count": -1}, "shard_count"),
        ({"shard_count": "4"}, "shard_count"),
        ({"schema_version": 0}, "schema_version"),
        ({"schema_version": 2**31}, "schema_version"),
    ],
)
async def test_values_out_of_range_are_refused(world: Store, body: Any, field: str) -> None:
    received = await world.init("plain", **body)
    assert (received.status, received.json["error"]) == (422, "validation_error")
    assert field in received.json["message"]


async def test_what_does_not_exist_is_not_found(world: Store) -> None:
    received = await world.init("nowhere", shard_count=2)
    assert (received.status, received.json["error"]) == (404, "not_found")


async def test_ids_that_are_numbers_cannot_be_sharded(world: Store) -> None:
    await world.write("numbered", [{"id": 42, "vector": [1.0, 2.0], "text": "saw"}])
    received = await world.init("numbered", shard_count=2)
    assert (received.status, "strings" in received.json["message"]) == (422, True)
    received = await world.init("numbered")
    assert (received.status, received.json["layer"]["shard_state"]) == (200, "unsharded")


async def test_the_marker_is_seen_by_nobody_who_does_not_ask_for_it(world: Store) -> None:
    await world.write("hidden", [tool(at) for at in range(3)])
    await world.init("hidden", shard_count=2)
    await world.write("hidden", [tool(9)], around=True)  # so that queries are whole
    await _unsharded(world, "hidden")
    found = await world.query("hidden", rank_by=["id", "asc"], top_k=2)
    assert [row["id"] for row in found["rows"]] == ["t-0", "t-1"]
    marker = "_hevlayer:namespace_meta"
    fetched = await world.edge("GET", f"/v2/namespaces/hidden/documents/{marker}")
    assert fetched.json["attributes"]["_hevlayer_shard_count"] == 2


async def test_writes_by_filter_leave_the_marker_alone(world: Store) -> None:
    """It has no attribute that is the caller's, and what is missing is less than anything."""
    await world.write("kept", [tool(at) for at in range(6)])
    await world.init("kept", shard_count=2)
    marker = "_hevlayer:namespace_meta"
    before = (await world.rows_behind("kept"))[marker]
    for write, name, count in (
        ({"patch_by_filter": {"filters": ["n", "Lt", 9], "patch": {"text": "saw"}}}, "patched", 6),
        ({"delete_by_filter": ["text", "NotEq", "drill"]}, "deleted", 6),
    ):
        received = await world.edge("POST", "/v2/namespaces/kept", write)
        assert received.json[f"rows_{name}"] == len(received.json[f"{name}_ids"]) == count
        assert (await world.rows_behind("kept"))[marker] == before
    assert (await world.layer("kept"))["shard_count"] == 2


async def test_a_row_written_around_layer_is_found_and_taken_in_by_the_next_call(
    world: Store,
) -> None:
    await world.write("around", [tool(at) for at in range(3)])
    await world.init("around", shard_count=SHARDS)
    await world.write("around", [tool(7)], around=True)
    layer = await _unsharded(world, "around")
    assert (layer["shard_state"], layer["shard_lag_rows"]) == ("backfilling", 1)
    assert (layer["init_state"], layer["init_lag_rows"]) == ("running", 1)
    found = await world.query("around", vector=[0, 0])
    assert {row["id"] for row in found["rows"]} == {"t-0", "t-1", "t-2", "t-7"}
    assert (await world.init("around")).json["layer"]["scatter_gather_active"]


async def test_rows_stamped_for_more_shards_are_counted_and_taken_in(world: Store) -> None:
    """A gateway that has not heard of the marker yet stamps into as many as its settings say."""
    await world.write("wide", [tool(at) for at in range(3)])
    await world.init("wide", shard_count=2)
    await world.write("wide", [tool(5, _hevlayer_shard=15)], around=True)
    assert (await _unsharded(world, "wide"))["shard_lag_rows"] == 1
    await world.init("wide")
    assert (await world.rows_behind("wide"))["t-5"]["_hevlayer_shard"] in (0, 1)


async def test_a_deleted_namespace_starts_anew(world: Store) -> None:
    await world.write("remade", [tool(1)])
    await world.init("remade", shard_count=2)
    await world.edge("DELETE", "/v2/namespaces/remade")
    await world.write("remade", [tool(1)])
    assert (await world.layer("remade"))["shard_state"] == "unsharded"
    assert (await world.rows_behind("remade"))["t-1"]["_hevlayer_shard"] == 10


async def _unsharded(world: Store, name: str) -> Any:
    """Wait until the gateway has noticed a row outside; return the layer block."""
    async with asyncio.timeout(20):
        while True:
            layer = await world.layer(name)
            if not layer["scatter_gather_active"]:
                return layer
            await asyncio.sleep(0.05)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def twins(world: Store) -> Store:
    """Fill two namespaces with the same rows, one of them in shards."""
    rows = [tool(at) | ({"n": None} if at % 11 == 0 else {}) for at in range(200) if at % 13 != 5]
    await world.write("whole", rows)
    await world.write("spread", rows)
    received = await world.init("spread", shard_count=SHARDS)
    assert received.json["layer"]["scatter_gather_active"]
    return world


class TestSameAnswers:
    """A sharded namespace answers as one that is not."""

    @settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(data=st.data())
    async def test_whatever_is_asked(self, twins: Store, data: st.DataObject) -> None:
        body = data.draw(queries())
        whole, spread = await asyncio.gather(
            twins.query("whole", **body), twins.query("spread", **body)
        )
        assert _written(spread["rows"]) == _written(whole["rows"]), json.dumps(body)
        assert (spread["next_cursor"] is None) == (whole["next_cursor"] is None)

    async def test_pages_follow_each_other_through_ties(self, twins: Store) -> None:
        seen: dict[str, list[str]] = {"whole": [], "spread": []}
        for name, ids in seen.items():
            cursor = None
            while True:
                page = await twins.query(name, vector=[1, 1], top_k=17, cursor=cursor)
                ids += [row["id"] for row in page["rows"]]
                cursor = page["next_cursor"]
                if cursor is None:
                    break
        assert len(seen["spread"]) == len(set(seen["spread"])) > 180
        assert seen["spread"] == seen["whole"]


def _written(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows without what layer adds to them, which differs."""
    return [
        {name: value for name, value in row.items() if not name.startswith("_hevlayer_")}
        for row in rows
    ]


def queries() -> st.SearchStrategy[dict[str, Any]]:
    small = st.integers(0, 6)
    vectors = st.lists(small, min_size=2, max_size=2)
    directions = st.sampled_from(["asc", "desc"])
    order_keys = st.sampled_from(["id", "n", "text"])
    ranked = st.one_of(
        vectors.map(lambda vector: {"vector": vector}),
        st.lists(st.integers(0, 4).map(lambda at: f"t-{at}"), min_size=1, max_size=3).map(
            lambda ids: {"nearest_to_id": ids}
        ),
        st.sampled_from(WORDS).map(lambda word: {"rank_by": ["text", "BM25", f"{word} saw"]}),
        st.tuples(order_keys, directions).map(lambda key: {"rank_by": [list(key), ["id", "asc"]]}),
        directions.map(lambda direction: {"rank_by": ["id", direction]}),
    )
    filtered: st.SearchStrategy[dict[str, Any]] = st.one_of(
        st.just({}),
        small.map(lambda n: {"filters": ["n", "Gte", n]}),
        st.just({"filters": ["n", "Eq", None]}),
    )
    included = st.sampled_from(
        [{}, {"include_attributes": True}, {"include_attributes": ["text"]},
         {"include_attributes": []}]
    )  # fmt: skip
    return st.builds(
        lambda top_k, *parts: {"top_k": top_k} | {k: v for part in parts for k, v in part.items()},
        st.integers(1, 250),
        ranked,
        filtered,
        included,
    )
