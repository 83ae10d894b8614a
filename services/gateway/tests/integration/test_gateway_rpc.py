"""The typed API of a real gateway over the real embedded store."""

from __future__ import annotations

from typing import Any

import aiohttp
import grpc.aio
import pytest

from layer.common.v1 import common_pb2
from layer.common.v1.common_pb2 import Value
from layer.gateway.v1 import gateway_pb2
from layer_kit.errors import InvalidRequestError, NotFoundError
from layer_testing.edge_calls import EdgeCaller
from layer_testing.gateway_calls import (
    KEY,
    Caller,
    compare,
    gateway_over,
    integer,
    integer_id,
    row,
    string_id,
    text,
    vector,
    write_numbered,
)
from layer_testing.grpc_calls import is_serving, reflected_services
from layer_testing.processes import running

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICE = gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"]


def texts_of(rows: Any) -> list[str]:
    return [found.row.id.text for found in rows]


def own(found: common_pb2.Row) -> common_pb2.Row:
    """Leave out what layer itself keeps in a row."""
    kept = common_pb2.Row()
    kept.CopyFrom(found)
    for name in list(kept.attributes):
        if name.startswith("_hevlayer_"):
            del kept.attributes[name]
    return kept


async def test_it_is_healthy_and_reflection_lists_it(channel: grpc.aio.Channel) -> None:
    assert await is_serving(channel, SERVICE.full_name)
    assert SERVICE.full_name in await reflected_services(channel)


async def test_every_type_comes_back_as_it_was_written(caller: Caller) -> None:
    attributes = {
        "vector": Value(vector_value=vector(0.7, -1.0)),
        "s": text("\N{SNOWMAN} and more"),
        "i": integer(-(2**63)),
        "u": Value(large_int_value=str(2**64 - 1)),
        "f": Value(double_value=3.0),
        "b": Value(bool_value=True),
        "d": Value(date_time_value=common_pb2.DateTime(epoch_ms=1_704_164_645_678)),
        "g": Value(uuid_value=common_pb2.Uuid(text="0f0e0d0c-0000-0000-0000-000000000001")),
        "many": Value(
            list_value=common_pb2.ValueList(
                values=[
                    Value(date_time_value=common_pb2.DateTime(epoch_ms=at)) for at in (-1, 0, 1)
                ]
            )
        ),
        "words": Value(list_value=common_pb2.ValueList(values=[text("a"), text("b")])),
    }
    types = {"u": "uint", "f": "float", "d": "datetime", "g": "uuid", "many": "[]datetime"}
    uuid = common_pb2.DocumentId(
        kind=common_pb2.DOCUMENT_ID_KIND_UUID, text="0f0e0d0c-0000-0000-0000-000000000002"
    )
    written = row(uuid, **attributes)
    answer = await caller.write(
        "types",
        upserts=[written],
        schema={name: gateway_pb2.AttributeSchema(type=type_) for name, type_ in types.items()},
        distance_metric=common_pb2.DISTANCE_METRIC_COSINE_DISTANCE,
        with_affected_ids=True,
    )
    assert list(answer.upserted_ids) == [uuid]
    looked_up = await caller.lookup("types", [uuid], with_vectors=True)
    assert own(looked_up.rows[0].row) == written
    [message] = await caller.stream("types", with_vectors=True)
    assert own(message.rows[0]) == written
    found = await caller.query(
        "types",
        vector=gateway_pb2.VectorRanking(vector=vector(0.7, -1.0)),
        with_all_attributes=True,
    )
    without_vector = own(written)
    del without_vector.attributes["vector"]
    assert own(found.rows[0].row) == without_vector


async def test_an_attribute_that_is_new_is_read_by_its_type_at_once(caller: Caller) -> None:
    id_ = integer_id(2**64 - 1)
    await caller.write("growing", upserts=[row(id_, n=integer(1))])
    assert (await caller.lookup("growing", [id_])).rows[0].row.id == id_
    moment = Value(date_time_value=common_pb2.DateTime(epoch_ms=7))
    await caller.write(
        "growing",
        patches=[row(id_, at=moment)],
        schema={"at": gateway_pb2.AttributeSchema(type="datetime")},
    )
    [message] = await caller.stream("growing", attribute_names=["at"])
    assert message.rows == [row(id_, at=moment)]


async def test_conditions_see_the_row_being_written(caller: Caller) -> None:
    await caller.write("versions", upserts=[row(string_id("a"), version=integer(2))])
    newer = common_pb2.Filter(
        comparison=common_pb2.Comparison(
            attribute="version",
            operator=common_pb2.COMPARISON_OPERATOR_LESS,
            new_attribute="version",
        )
    )
    for version, upserted_count in ((1, 0), (3, 1)):
        answer = await caller.write(
            "versions",
            upserts=[row(string_id("a"), version=integer(version))],
            upsert_condition=newer,
        )
        assert (answer.upserted_count, list(answer.upserted_ids)) == (upserted_count, [])


async def test_patches_and_deletes_by_id_and_by_filter(caller: Caller) -> None:
    await write_numbered(caller, "changes", 6)
    odd = compare("word", common_pb2.COMPARISON_OPERATOR_EQUAL, text("odd"))
    low = compare("n", common_pb2.COMPARISON_OPERATOR_LESS, integer(2))
    answer = await caller.write(
        "changes",
        delete_by_filter=gateway_pb2.DeleteByFilter(filter=low),
        patch_by_filter=gateway_pb2.PatchByFilter(filter=odd, attributes={"n": integer(100)}),
        patches=[row(string_id("r2"), n=integer(200))],
        deletes=[string_id("r4")],
        with_affected_ids=True,
    )
    assert (answer.deleted_count, answer.patched_count, answer.has_remaining) == (3, 3, False)
    assert {id_.text for id_ in answer.deleted_ids} == {"r0", "r1", "r4"}
    assert {id_.text for id_ in answer.patched_ids} == {"r2", "r3", "r5"}
    rows = [found for message in await caller.stream("changes") for found in message.rows]
    assert [(one.id.text, one.attributes["n"].int_value) for one in rows] == [
        ("r2", 200),
        ("r3", 100),
        ("r5", 100),
    ]


async def test_each_ranking_orders_rows_its_own_way(caller: Caller) -> None:
    await write_numbered(caller, "rankings", 4)
    nearest = await caller.query(
        "rankings", vector=gateway_pb2.VectorRanking(vector=vector(3.0, 1.0)), top_k=2
    )
    assert [(one.row.id.text, one.distance) for one in nearest.rows] == [("r3", 0.0), ("r2", 1.0)]
    example = gateway_pb2.NearestRanking(ids=[string_id("r0"), string_id("r2")])
    assert texts_of((await caller.query("rankings", nearest=example, top_k=1)).rows) == ["r1"]
    exact = gateway_pb2.VectorRanking(vector=vector(0.0, 1.0), is_exhaustive=True)
    above = compare("n", common_pb2.COMPARISON_OPERATOR_GREATER, integer(1))
    found = await caller.query("rankings", vector=exact, filter=above, top_k=1)
    assert (texts_of(found.rows), bool(found.next_page_token)) == (["r2"], True)
    scored = await caller.query(
        "rankings", text=gateway_pb2.TextRanking(attribute="word", query="odd")
    )
    assert sorted(texts_of(scored.rows)) == ["r1", "r3"]
    assert all(one.score > 0 and not one.HasField("distance") for one in scored.rows)
    keys = [
        gateway_pb2.SortKey(attribute="word"),
        gateway_pb2.SortKey(attribute="n", direction=gateway_pb2.SORT_DIRECTION_DESCENDING),
    ]
    ordered = await caller.query(
        "rankings", attributes=gateway_pb2.AttributeRanking(keys=keys), attribute_names=["n"]
    )
    assert texts_of(ordered.rows) == ["r2", "r0", "r3", "r1"]
    assert set(ordered.rows[0].row.attributes) == {"n"}


async def test_pages_of_a_query_join_up(caller: Caller) -> None:
    await write_numbered(caller, "pages", 5)
    ranking = gateway_pb2.VectorRanking(vector=vector(0.0, 1.0))
    seen: list[str] = []
    token = ""
    for _ in range(3):
        page = await caller.query("pages", vector=ranking, top_k=2, page_token=token)
        seen += texts_of(page.rows)
        token = page.next_page_token
    assert (seen, token) == (["r0", "r1", "r2", "r3", "r4"], "")


async def test_rows_are_told_apart_by_when_they_were_written(caller: Caller) -> None:
    await write_numbered(caller, "times", 1)
    stamp = "_hevlayer_upserted_at"
    order = gateway_pb2.AttributeRanking(keys=[gateway_pb2.SortKey(attribute="id")])
    found = await caller.query("times", attributes=order, attribute_names=[stamp])
    written_ms = found.rows[0].row.attributes[stamp].int_value
    for as_of_ms, count in ((written_ms - 1, 0), (written_ms, 1)):
        found = await caller.query("times", attributes=order, as_of_ms=as_of_ms)
        assert len(found.rows) == count
        [message] = await caller.stream("times", as_of_ms=as_of_ms)
        assert len(message.rows) == count
    span = common_pb2.TimeRange(after_ms=written_ms - 1, through_ms=written_ms)
    assert len((await caller.query("times", attributes=order, between=span)).rows) == 1


async def test_a_lookup_keeps_order_repeats_and_kinds(caller: Caller) -> None:
    await caller.write("lookups", upserts=[row(string_id(f"{at}"), n=integer(at)) for at in (1, 2)])
    asked = [string_id("2"), string_id("9"), string_id("2"), integer_id(1), string_id("1")]
    found = await caller.lookup("lookups", asked, attribute_names=["n"])
    assert [(one.row.id.text, one.row.attributes["n"].int_value) for one in found.rows] == [
        ("2", 2),
        ("2", 2),
        ("1", 1),
    ]
    assert list(found.missing_ids) == [string_id("9"), integer_id(1)]
    outcomes = {one.cache_outcome for one in found.rows}
    assert outcomes == {gateway_pb2.CACHE_OUTCOME_MISS}
    present = await caller.lookup("lookups", asked[:1], ids_only=True, with_vectors=True)
    assert not present.rows[0].row.attributes


async def test_rows_from_before_layer_are_of_any_moment_and_of_no_span(
    caller: Caller, store_url: str
) -> None:
    store = EdgeCaller(store_url.removeprefix("http://"), key=KEY)
    written = await store("POST", "/v2/namespaces/before", {"upsert_rows": [{"id": "a"}]})
    assert written.status == 200
    [message] = await caller.stream("before", as_of_ms=7)
    assert [found.id.text for found in message.rows] == ["a"]
    between = common_pb2.TimeRange(after_ms=5, through_ms=7)
    [message] = await caller.stream("before", between=between)
    assert list(message.rows) == []


async def test_a_stream_pages_through_all_rows_and_resumes(caller: Caller) -> None:
    ids = [integer_id(number) for number in (2**64 - 1, 10, 9, 2**63, 0)]
    await caller.write("streams", upserts=[row(id_, n=integer(1)) for id_ in ids])
    messages = await caller.stream("streams", page_size=2, ids_only=True)
    assert [len(message.rows) for message in messages] == [2, 2, 1]
    numbers = [int(found.id.text) for message in messages for found in message.rows]
    assert numbers == [0, 9, 10, 2**63, 2**64 - 1]
    [rest] = await caller.stream("streams", after_id=integer_id(10))
    assert [found.id.text for found in rest.rows] == [str(2**63), str(2**64 - 1)]
    exactly = await caller.stream("streams", page_size=5)
    assert [len(message.rows) for message in exactly] == [5]


async def test_a_stream_leaves_out_the_marker_and_what_does_not_match(caller: Caller) -> None:
    marker = row(string_id("_hevlayer:namespace_meta"), n=integer(1))
    await caller.write("marked", upserts=[marker, row(string_id("a"), n=integer(1))])
    one = compare("n", common_pb2.COMPARISON_OPERATOR_EQUAL, integer(1))
    messages = await caller.stream("marked", filter=one, page_size=1)
    assert [found.id.text for message in messages for found in message.rows] == ["a"]
    two = compare("n", common_pb2.COMPARISON_OPERATOR_EQUAL, integer(2))
    assert [len(message.rows) for message in await caller.stream("marked", filter=two)] == [0]


async def test_a_namespace_is_listed_described_and_deleted(caller: Caller) -> None:
    for name in ("shelf-a", "shelf-b", "shelf-b-shadow"):
        await write_numbered(caller, name, 2)
    first = await caller.list(name_prefix="shelf-", page_size=2)
    assert [found.name for found in first.namespaces] == ["shelf-a", "shelf-b"]
    second = await caller.list(name_prefix="shelf-", page_size=2, page_token=first.next_page_token)
    assert [(one.name, one.is_shadow) for one in second.namespaces] == [("shelf-b-shadow", True)]
    assert (second.next_page_token, second.namespaces[0].row_count) == ("", 2)
    found = await caller.get("shelf-a")
    assert (found.name, found.row_count, found.is_shadow) == ("shelf-a", 2, False)
    assert found.schema["word"].full_text_search.tokenizer
    assert (found.schema["vector"].type, found.schema["vector"].is_vector_indexed) == (
        "[2]f32",
        True,
    )
    assert found.index.status == gateway_pb2.INDEX_STATUS_UP_TO_DATE
    assert found.create_time.ToMilliseconds() > 0
    await caller.delete("shelf-a")
    await caller.delete("shelf-a")
    with pytest.raises(NotFoundError) as missing:
        await caller.get("shelf-a")
    assert missing.value.reason == "NAMESPACE_NOT_FOUND"


async def test_http_and_grpc_see_the_same_rows(store_url: str) -> None:
    async with (
        gateway_over(store_url) as process,
        grpc.aio.insecure_channel(process.addresses["grpc"]) as channel,
        aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as session,
    ):
        base = f"http://{process.addresses['http']}/v2/namespaces/both"
        body = {"upsert_rows": [{"id": 7, "n": 1.5}]}
        async with session.post(base, json=body) as answer:
            assert answer.status == 200
        found = await Caller(channel).lookup("both", [integer_id(7)])
        assert own(found.rows[0].row) == row(integer_id(7), n=Value(double_value=1.5))
        await Caller(channel).write("both", patches=[row(integer_id(7), n=integer(2))])
        async with session.get(f"{base}/documents/7") as answer:
            assert (await answer.json())["attributes"]["n"] == 2


async def test_a_row_is_a_hit_once_the_cache_has_it(store_url: str) -> None:
    async with (
        running(
            "layer_cache", LAYER_CACHE_GRPC_ADDRESS="127.0.0.1:0", LAYER_CACHE_BACKEND="memory"
        ) as cache,
        gateway_over(store_url, LAYER_GATEWAY_CACHE_ADDRESS=cache.addresses["grpc"]) as process,
        grpc.aio.insecure_channel(process.addresses["grpc"]) as channel,
    ):
        caller = Caller(channel)
        await write_numbered(caller, "cached", 2)
        ids = [string_id("r1"), string_id("r0")]
        await caller.lookup("cached", ids, with_vectors=True)
        found = await caller.lookup("cached", ids, with_vectors=True)
        outcomes = {one.cache_outcome for one in found.rows}
        assert outcomes == {gateway_pb2.CACHE_OUTCOME_HIT}
        assert found.rows[0].row.attributes["vector"].vector_value == vector(1.0, 1.0)
        await cache.kill()
        found = await caller.lookup("cached", ids)
        outcomes = {one.cache_outcome for one in found.rows}
        assert outcomes == {gateway_pb2.CACHE_OUTCOME_ERROR}


async def test_values_come_as_columns_of_json(caller: Caller) -> None:
    await caller.write(
        "columns",
        upserts=[
            row(string_id("a"), kind=text("saw"), size=integer(5)),
            row(string_id("b"), kind=text("râpe")),
            row(string_id("c"), size=integer(7)),
        ],
    )

    pages = await caller.stream_values(
        "columns", attribute_names=["size", "kind", "unheard"], page_size=2
    )

    assert [page.row_count for page in pages] == [2, 1]
    assert [[column.values_json.decode() for column in page.columns] for page in pages] == [
        ["[5]", '["saw","râpe"]', "[]"],
        ["[7]", "[]", "[]"],
    ]
    assert [column.type for column in pages[0].columns] == ["int", "string", ""]
    assert [page.last_id.text for page in pages] == ["b", "c"]

    [rest] = await caller.stream_values(
        "columns", attribute_names=["kind"], after_id=string_id("b")
    )
    assert rest.row_count == 1

    large = compare("size", common_pb2.COMPARISON_OPERATOR_GREATER, integer(5))
    [matching] = await caller.stream_values("columns", attribute_names=["size"], filter=large)
    assert matching.columns[0].values_json == b"[7]"

    [none] = await caller.stream_values("columns", attribute_names=["size"], as_of_ms=1)
    assert (none.row_count, none.HasField("last_id")) == (0, False)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([], "NO_ATTRIBUTES"),
        ([""], "NO_ATTRIBUTES"),
        ([f"a{n}" for n in range(65)], "TOO_MANY_ATTRIBUTES"),
    ],
)
async def test_a_stream_of_values_names_its_attributes(
    caller: Caller, names: list[str], reason: str
) -> None:
    await caller.write("columns", upserts=[row(string_id("a"), kind=text("saw"))])
    with pytest.raises(InvalidRequestError) as refused:
        await caller.stream_values("columns", attribute_names=names)
    assert refused.value.reason == reason
