"""Typed requests to what the use cases take, and their answers back."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from layer.common.v1 import common_pb2
from layer.common.v1.common_pb2 import Value
from layer.gateway.v1 import gateway_pb2
from layer_gateway.application.answers import QueryAnswer
from layer_gateway.application.facts import NamespaceFacts
from layer_gateway.application.fetching import CacheResult, Fetched
from layer_gateway.application.sharding import Sharding
from layer_gateway.ports.rows import CachedRow
from layer_gateway.ports.stores import Headers
from layer_gateway.rpc.querying import query_response, typed_query
from layer_gateway.rpc.reading import (
    STREAMED_BYTES_MAX,
    asked_ids,
    asked_names,
    lookup_response,
    row_stream,
    stream_messages,
)
from layer_gateway.rpc.rows import RowReader
from layer_gateway.rpc.writing import write_body, write_response
from layer_kit.errors import InvalidRequestError
from layer_wire.filters import Written
from layer_wire.ids import IdKind
from layer_wire.jsontext import RawObject, encode
from layer_wire.queries import LayerQuery

FACTS = NamespaceFacts(
    exists=True,
    id_kind=IdKind.STRING,
    types={},
    unmirrored=frozenset(),
    sharding=Sharding(shard_count=1),
)
READER = RowReader(FACTS)


@dataclass(frozen=True)
class Answer:
    """What the store said."""

    body: bytes
    status: int = 200
    headers: Headers = ()


def layer_query(request: gateway_pb2.QueryRowsRequest) -> LayerQuery:
    query, _ = typed_query(request)
    assert isinstance(query, LayerQuery)
    return query


def string_id(text: str) -> common_pb2.DocumentId:
    return common_pb2.DocumentId(kind=common_pb2.DOCUMENT_ID_KIND_STRING, text=text)


def integer_id(value: int) -> common_pb2.DocumentId:
    return common_pb2.DocumentId(kind=common_pb2.DOCUMENT_ID_KIND_INTEGER, text=str(value))


def uuid_id(text: str) -> common_pb2.DocumentId:
    return common_pb2.DocumentId(kind=common_pb2.DOCUMENT_ID_KIND_UUID, text=text)


def vector(*components: float) -> common_pb2.Vector:
    data = struct.pack(f"<{len(components)}f", *components)
    return common_pb2.Vector(dimension=len(components), data=data)


def base64_of(*components: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(components)}f", *components)).decode()


def equals(name: str, value: Value) -> common_pb2.Filter:
    return common_pb2.Filter(
        comparison=common_pb2.Comparison(
            attribute=name, operator=common_pb2.COMPARISON_OPERATOR_EQUAL, value=value
        )
    )


def raw_row(**fields: object) -> RawObject:
    return {name: msgspec.Raw(encode(value)) for name, value in fields.items()}


ONE = Value(int_value=1)
SAW = Value(string_value="saw")


def written(**fields: Any) -> Any:
    return msgspec.json.decode(write_body(gateway_pb2.WriteRowsRequest(**fields)))


def test_a_write_has_the_fields_that_were_set() -> None:
    row = common_pb2.Row(
        id=string_id("a"), attributes={"vector": Value(vector_value=vector(1.0)), "kind": SAW}
    )
    patch = common_pb2.Row(id=string_id("b"), attributes={"kind": SAW})
    assert written(
        upserts=[row],
        patches=[patch],
        deletes=[integer_id(2**64 - 1)],
        upsert_condition=equals("n", ONE),
        distance_metric=common_pb2.DISTANCE_METRIC_COSINE_DISTANCE,
        with_affected_ids=True,
    ) == {
        "upsert_rows": [{"id": "a", "vector": base64_of(1.0), "kind": "saw"}],
        "patch_rows": [{"id": "b", "kind": "saw"}],
        "deletes": [2**64 - 1],
        "upsert_condition": ["n", "Eq", 1],
        "distance_metric": "cosine_distance",
        "return_affected_ids": True,
    }


def test_a_write_by_filter_says_whether_a_part_will_do() -> None:
    assert written(
        delete_by_filter=gateway_pb2.DeleteByFilter(
            filter=equals("n", ONE), is_partial_allowed=True
        ),
        patch_by_filter=gateway_pb2.PatchByFilter(
            filter=equals("n", ONE), attributes={"kind": SAW}
        ),
    ) == {
        "delete_by_filter": ["n", "Eq", 1],
        "delete_by_filter_allow_partial": True,
        "patch_by_filter": {"filters": ["n", "Eq", 1], "patch": {"kind": "saw"}},
        "patch_by_filter_allow_partial": False,
    }


def test_a_write_of_nothing_is_an_empty_body_whatever_its_options() -> None:
    metric = common_pb2.DISTANCE_METRIC_COSINE_DISTANCE
    assert written(with_affected_ids=True, distance_metric=metric) == {}


def test_uuids_are_declared_to_the_store() -> None:
    row = common_pb2.Row(id=uuid_id("0f0e0d0c-0000-0000-0000-000000000000"))
    assert written(upserts=[row])["schema"] == {"id": {"type": "uuid"}}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"upserts": [common_pb2.Row()]}, "ID_INVALID"),
        ({"deletes": [common_pb2.DocumentId()]}, "ID_INVALID"),
        ({"schema": {"a": gateway_pb2.AttributeSchema()}}, "SCHEMA_INVALID"),
        ({"delete_by_filter": gateway_pb2.DeleteByFilter()}, "FILTER_INVALID"),
        ({"deletes": [string_id("a")], "distance_metric": 99}, "DISTANCE_METRIC_UNKNOWN"),
    ],
)
def test_a_bad_write_is_refused_before_it_is_sent(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        written(**fields)
    assert refusal.value.reason == reason


def test_affected_ids_are_told_to_those_who_asked() -> None:
    answer = Answer(
        encode(
            {
                "rows_affected": 2,
                "rows_upserted": 1,
                "rows_deleted": 1,
                "rows_remaining": True,
                "upserted_ids": ["a"],
                "deleted_ids": None,
                "billing": {"billable_logical_bytes_written": 9},
            }
        )
    )
    silent = write_response(gateway_pb2.WriteRowsRequest(), answer, IdKind.STRING)
    assert silent == gateway_pb2.WriteRowsResponse(
        affected_count=2,
        upserted_count=1,
        deleted_count=1,
        has_remaining=True,
        billable_written_bytes=9,
    )
    asked = gateway_pb2.WriteRowsRequest(with_affected_ids=True)
    assert list(write_response(asked, answer, IdKind.STRING).upserted_ids) == [string_id("a")]


@pytest.mark.parametrize(
    ("ranking", "rank_by"),
    [
        (
            {"vector": gateway_pb2.VectorRanking(vector=vector(1.0), attribute="v")},
            ["v", "ANN", base64_of(1.0)],
        ),
        (
            {"vector": gateway_pb2.VectorRanking(vector=vector(1.0), is_exhaustive=True)},
            ["vector", "kNN", base64_of(1.0)],
        ),
        (
            {"text": gateway_pb2.TextRanking(attribute="t", query="ANN")},
            ["t", "BM25", "ANN"],
        ),
        (
            {"text": gateway_pb2.TextRanking(attribute="t", query="sa", is_last_token_prefix=True)},
            ["t", "BM25", "sa", {"last_as_prefix": True}],
        ),
        (
            {
                "attributes": gateway_pb2.AttributeRanking(
                    keys=[gateway_pb2.SortKey(attribute="ANN")]
                )
            },
            ["ANN", "asc"],
        ),
        (
            {
                "attributes": gateway_pb2.AttributeRanking(
                    keys=[
                        gateway_pb2.SortKey(
                            attribute="a", direction=gateway_pb2.SORT_DIRECTION_DESCENDING
                        ),
                        gateway_pb2.SortKey(attribute="id"),
                    ]
                )
            },
            [["a", "desc"], ["id", "asc"]],
        ),
    ],
)
def test_rankings_are_spelled_as_the_store_does(
    ranking: dict[str, Any], rank_by: list[object]
) -> None:
    query = layer_query(gateway_pb2.QueryRowsRequest(**ranking))
    assert query.rank_by is not None
    assert msgspec.json.decode(query.rank_by) == rank_by
    assert query.is_nearest == ("vector" in ranking)


def test_a_query_is_the_one_that_would_come_over_http() -> None:
    query = layer_query(
        gateway_pb2.QueryRowsRequest(
            vector=gateway_pb2.VectorRanking(vector=vector(1.0)),
            filter=equals("n", ONE),
            top_k=3,
            attribute_names=["n", "vector"],
            as_of_ms=7,
            consistency_level=common_pb2.CONSISTENCY_LEVEL_STRONG,
        )
    )
    assert msgspec.json.decode(query.vector or b"") == base64_of(1.0)
    assert (query.top_k, query.include_attributes, query.consistency) == (3, ["n"], "strong")
    assert msgspec.json.decode(query.filter or b"") == ["n", "Eq", 1]
    assert query.written == Written(until_ms=7)


def test_what_is_left_out_takes_its_default() -> None:
    ids = [integer_id(2**64 - 1), string_id("a")]
    query = layer_query(gateway_pb2.QueryRowsRequest(nearest=gateway_pb2.NearestRanking(ids=ids)))
    assert query.nearest_to_id == [2**64 - 1, "a"]
    assert (query.top_k, query.include_attributes, query.filter) == (10, None, None)
    assert (query.consistency, query.cursor) == ("eventual", None)


ORDER = gateway_pb2.AttributeRanking(keys=[gateway_pb2.SortKey(attribute="n")])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "QUERY_SOURCE"),
        ({"vector": gateway_pb2.VectorRanking()}, "VECTOR_INVALID"),
        ({"nearest": gateway_pb2.NearestRanking()}, "NEAREST_IDS_RANGE"),
        ({"nearest": gateway_pb2.NearestRanking(ids=[string_id("a")] * 1001)}, "NEAREST_IDS_RANGE"),
        ({"nearest": gateway_pb2.NearestRanking(ids=[string_id("")])}, "ID_INVALID"),
        ({"text": gateway_pb2.TextRanking(attribute="t")}, "RANKING_INVALID"),
        ({"text": gateway_pb2.TextRanking(attribute="t", query="a" * 8193)}, "RANKING_INVALID"),
        ({"attributes": gateway_pb2.AttributeRanking()}, "RANKING_INVALID"),
        ({"attributes": ORDER, "top_k": -1}, "TOP_K_RANGE"),
        ({"attributes": ORDER, "top_k": 10_001}, "TOP_K_RANGE"),
        (
            {"attributes": ORDER, "with_all_attributes": True, "attribute_names": ["n"]},
            "ATTRIBUTES_AMBIGUOUS",
        ),
        ({"attributes": ORDER, "filter": common_pb2.Filter()}, "FILTER_INVALID"),
        ({"attributes": ORDER, "page_token": "%"}, "CURSOR_INVALID"),
        (
            {"attributes": ORDER, "between": common_pb2.TimeRange(after_ms=2, through_ms=2)},
            "BETWEEN_ORDER",
        ),
    ],
)
def test_a_bad_query_is_refused_with_the_reason_of_the_contract(
    fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        layer_query(gateway_pb2.QueryRowsRequest(**fields))
    assert refusal.value.reason == reason


def test_what_ranks_a_row_is_a_distance_a_score_or_nothing() -> None:
    ranked = QueryAnswer(rows=[raw_row(id="a", **{"$dist": 0})], next_cursor="next")
    near = gateway_pb2.QueryRowsRequest(nearest=gateway_pb2.NearestRanking())
    found = query_response(near, ranked, READER)
    assert (found.rows[0].HasField("distance"), found.rows[0].distance) == (True, 0.0)
    assert (found.rows[0].HasField("score"), found.next_page_token) == (False, "next")
    text = gateway_pb2.QueryRowsRequest(text=gateway_pb2.TextRanking())
    scored = query_response(text, ranked, READER).rows[0]
    assert (scored.HasField("score"), scored.HasField("distance")) == (True, False)
    ordered = QueryAnswer(rows=[raw_row(id="a", n=1)])
    row = query_response(gateway_pb2.QueryRowsRequest(attributes=ORDER), ordered, READER).rows[0]
    assert not row.HasField("score")
    assert not row.HasField("distance")


def test_ids_of_another_kind_are_not_asked_for() -> None:
    request = gateway_pb2.LookupRowsRequest(ids=[integer_id(5), string_id("5"), string_id("b")])
    asked = asked_ids(request, IdKind.STRING)
    assert (asked.texts, asked.positions) == (["5", "b"], [1, 2])
    fetched = Fetched(
        rows={0: CachedRow(body=b'{"n":1}', vectors=b'{"vector":[1]}')},
        cached=frozenset(),
        result=CacheResult.MISS_ON_ERROR,
    )
    found = lookup_response(request, asked, fetched, READER)
    assert [(row.row.id, row.cache_outcome) for row in found.rows] == [
        (string_id("5"), gateway_pb2.CACHE_OUTCOME_ERROR)
    ]
    assert set(found.rows[0].row.attributes) == {"n", "vector"}
    assert list(found.missing_ids) == [integer_id(5), string_id("b")]


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        ([], "NO_IDS"),
        ([string_id("a")] * 10_001, "TOO_MANY_IDS"),
        ([string_id("a"), integer_id(-1)], "ID_INVALID"),
    ],
)
def test_a_bad_lookup_is_refused(ids: list[common_pb2.DocumentId], reason: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        asked_ids(gateway_pb2.LookupRowsRequest(ids=ids), None)
    assert refusal.value.reason == reason


def test_names_are_all_some_or_none() -> None:
    assert asked_names(gateway_pb2.LookupRowsRequest()) is None
    assert asked_names(gateway_pb2.LookupRowsRequest(attribute_names=["a"])) == ["a"]
    assert asked_names(gateway_pb2.LookupRowsRequest(attribute_names=["a"], ids_only=True)) == []


def test_a_stream_is_asked_for_in_the_terms_of_its_use_case() -> None:
    wanted = row_stream(
        gateway_pb2.StreamRowsRequest(
            filter=equals("n", ONE),
            between=common_pb2.TimeRange(after_ms=1, through_ms=2),
            after_id=integer_id(5),
            with_vectors=True,
            ids_only=True,
            page_size=20_000,
        )
    )
    assert (wanted.names, wanted.with_vectors, wanted.after, wanted.page_size) == (
        [],
        False,
        5,
        10_000,
    )
    assert msgspec.json.decode(wanted.filter or b"") == ["n", "Eq", 1]
    assert wanted.written is not None
    assert row_stream(gateway_pb2.StreamRowsRequest()).page_size == 1000
    with pytest.raises(InvalidRequestError, match="page_size"):
        row_stream(gateway_pb2.StreamRowsRequest(page_size=-1))


def test_a_page_of_large_rows_is_cut_into_messages_without_losing_any() -> None:
    page = [raw_row(id=f"r{at}", text="x" * (STREAMED_BYTES_MAX // 3)) for at in range(5)]
    messages = list(stream_messages(page, READER))
    assert [len(message.rows) for message in messages] == [2, 2, 1]
    ids = [row.id.text for message in messages for row in message.rows]
    assert ids == ["r0", "r1", "r2", "r3", "r4"]
    assert [len(message.rows) for message in stream_messages([], READER)] == [0]
