"""Queries of many namespaces: each case over HTTP and over gRPC, with one expectation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import pytest_asyncio

from layer.common.v1 import common_pb2
from layer.gateway.v1 import gateway_pb2
from layer_testing.edge_calls import EdgeCaller
from layer_testing.gateway_calls import compare, vector
from layer_testing.tool_rows import write_tools
from layer_testing.transports import Call, Transport

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def namespaces(edge: EdgeCaller, store: EdgeCaller) -> None:
    await write_tools(edge, store)


def federated(
    http: dict[str, object], namespaces: Sequence[str], federation: dict[str, object] | None = None,
    **rpc: Any,
) -> Call:  # fmt: skip
    return Call(
        http=http,
        rpc=gateway_pb2.QueryRowsRequest(**rpc),
        namespaces=namespaces,
        federation=federation or {},
    )


async def test_rows_of_many_namespaces_are_interleaved(transport: Transport) -> None:
    call = federated(
        {"vector": [1.0, 0.0], "top_k": 3},
        ["tools", "parts", "tools"],
        vector=gateway_pb2.VectorRanking(vector=vector(1.0, 0.0)),
        top_k=3,
    )
    told = await transport.query("", call)
    assert [(row.namespace, row.rank, row.id) for row in told.rows] == [
        ("parts", 1, "p-9"),
        ("tools", 1, "t-5"),
        ("parts", 2, "p-3"),
    ]
    assert told.merge == {
        "method": "rank-interleave",
        "route": "fused",
        "downgraded_reason": "missing_embedding_profile",
    }
    assert list(told.matched.items()) == [("tools", 5), ("parts", 2)]


async def test_searches_run_in_many_namespaces(transport: Transport) -> None:
    call = federated(
        {"rank_by": ["text", "HybridText", "hand"], "top_k": 10},
        ["tools", "parts", "sharded"],
        {"fusion": {"per_namespace_limit": 2}},
        hybrid_text=gateway_pb2.HybridTextRanking(attribute="text", query="hand"),
        top_k=10,
    )
    found = (await transport.query("", call)).rows
    assert [(row.namespace, row.rank) for row in found] == [
        ("parts", 1),
        ("sharded", 1),
        ("tools", 1),
        ("sharded", 2),
        ("tools", 2),
    ]


async def test_a_namespace_that_fails_is_told(transport: Transport) -> None:
    http: dict[str, object] = {
        "rank_by": ["id", "asc"],
        "top_k": 2,
        "filters": ["rating", "Gte", 5],
    }
    rpc: dict[str, Any] = {
        "attributes": gateway_pb2.AttributeRanking(keys=[gateway_pb2.SortKey(attribute="id")]),
        "top_k": 2,
        "filter": compare(
            "rating", common_pb2.COMPARISON_OPERATOR_GREATER_OR_EQUAL, common_pb2.Value(int_value=5)
        ),
    }
    names = ["nowhere", "parts", "tools"]
    told = await transport.query("", federated(http, names, **rpc))
    assert told.ids == ["t-1", "t-3"]
    assert told.failures == {"nowhere": "not_found", "parts": "filter_schema_mismatch"}
    assert list(told.matched) == ["tools"]
    strict = await transport.query("", federated(http, names[1:], {"strict": True}, **rpc))
    assert strict.reason == "FILTER_MISMATCH"
    gone = await transport.query("", federated(http, ["nowhere"], **rpc))
    assert gone.reason == "ALL_NAMESPACES_FAILED"


async def test_distances_that_do_not_compare_are_refused_when_strict(transport: Transport) -> None:
    call = federated(
        {"vector": [1.0, 0.0]},
        ["tools", "parts"],
        {"strict": True},
        vector=gateway_pb2.VectorRanking(vector=vector(1.0, 0.0)),
    )
    assert (await transport.query("", call)).reason == "EMBEDDING_PROFILES"
