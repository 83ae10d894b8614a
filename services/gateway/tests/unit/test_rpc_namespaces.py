"""Schemas and what is known of a namespace, between typed messages and JSON."""

from __future__ import annotations

import msgspec
import pytest

from layer.gateway.v1 import gateway_pb2
from layer_gateway.domain.warmth import NamespaceWarmth, WarmState
from layer_gateway.rpc.namespaces import described, list_query
from layer_gateway.rpc.schema import fill_schema, schema_json
from layer_kit.errors import InvalidRequestError
from layer_kit.names import Namespace
from layer_wire.jsontext import RawObject, encode


def raw_row(**fields: object) -> RawObject:
    return {name: msgspec.Raw(encode(value)) for name, value in fields.items()}


SCHEMA: dict[str, gateway_pb2.AttributeSchema] = {
    "id": gateway_pb2.AttributeSchema(type="uint"),
    "n": gateway_pb2.AttributeSchema(type="int", is_filterable=False),
    "v": gateway_pb2.AttributeSchema(type="[2]f32", is_vector_indexed=True),
    "s": gateway_pb2.AttributeSchema(type="{}f16", is_vector_indexed=True),
    "t": gateway_pb2.AttributeSchema(
        type="string", full_text_search=gateway_pb2.FullTextSearch(language="german", k1=0.0)
    ),
    "u": gateway_pb2.AttributeSchema(
        type="string",
        full_text_search=gateway_pb2.FullTextSearch(),
        is_regex_enabled=True,
        is_glob_enabled=True,
        is_fuzzy_enabled=True,
    ),
}


def test_a_schema_survives_the_round_trip() -> None:
    shown = schema_json(SCHEMA)
    assert shown["s"] == {"type": "{}f16", "sparse_knn": {"distance_metric": "dot_product"}}
    assert shown["t"] == {"type": "string", "full_text_search": {"language": "german", "k1": 0.0}}
    target = gateway_pb2.Namespace()
    fill_schema(target.schema, raw_row(**shown))
    assert dict(target.schema) == SCHEMA


def test_the_spellings_of_the_stores_routes_are_read() -> None:
    target = gateway_pb2.Namespace()
    shown = raw_row(
        a="int",
        b={"type": "[2]f32", "ann": {"distance_metric": "cosine_distance"}, "filterable": None},
        c={"type": "string", "full_text_search": {"k3": 8, "language": None, "stemming": True}},
        d={"type": "string", "full_text_search": False, "ann": False, "filterable": True},
    )
    fill_schema(target.schema, shown)
    assert dict(target.schema) == {
        "a": gateway_pb2.AttributeSchema(type="int"),
        "b": gateway_pb2.AttributeSchema(type="[2]f32", is_vector_indexed=True),
        "c": gateway_pb2.AttributeSchema(
            type="string", full_text_search=gateway_pb2.FullTextSearch(is_stemming=True)
        ),
        "d": gateway_pb2.AttributeSchema(type="string", is_filterable=True),
    }


def test_a_listing_is_asked_for_within_its_bounds() -> None:
    request = gateway_pb2.ListNamespacesRequest
    assert list_query(request()) == "page_size=100"
    assert list_query(request(page_size=5000, name_prefix="a b", page_token="x=")) == (
        "page_size=1000&prefix=a+b&cursor=x%3D"
    )
    with pytest.raises(InvalidRequestError, match="page_size"):
        list_query(request(page_size=-1))


def test_a_namespace_is_described_with_what_is_known_of_it() -> None:
    found = described(
        Namespace("books-shadow"),
        raw_row(
            id="books-shadow",
            schema={"id": "string"},
            approx_row_count=3,
            created_at="1970-01-01T00:00:01.5Z",
            index={"status": "updating", "unindexed_bytes": 7},
            layer={"shard_count": 16, "is_stable": False, "init_state": "ready", "indexed": None},
        ),
        NamespaceWarmth(state=WarmState.WARMING, warmed_through_ms=5),
        {"team": "search"},
    )
    assert dict(found.labels) == {"team": "search"}
    assert (found.is_shadow, found.row_count, found.HasField("logical_bytes")) == (True, 3, False)
    assert (found.create_time.ToMilliseconds(), found.HasField("update_time")) == (1500, False)
    assert found.index == gateway_pb2.IndexState(
        status=gateway_pb2.INDEX_STATUS_UPDATING, unindexed_bytes=7
    )
    assert found.layer == gateway_pb2.LayerState(
        shard_count=16,
        init_state=gateway_pb2.INIT_STATE_READY,
        shard_state=gateway_pb2.SHARD_STATE_UNSHARDED,
    )
