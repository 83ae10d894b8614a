"""Queries of every form: each case once over HTTP and once over gRPC, with one expectation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from layer.common.v1 import common_pb2
from layer.gateway.v1 import gateway_pb2
from layer_testing.edge_calls import EdgeCaller
from layer_testing.gateway_calls import compare, string_id, text, vector
from layer_testing.tool_rows import write_tools
from layer_testing.transports import Call, Transport

pytestmark = pytest.mark.asyncio(loop_scope="module")

IS_SAW = compare("kind", common_pb2.COMPARISON_OPERATOR_EQUAL, text("saw"))


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def namespaces(edge: EdgeCaller, store: EdgeCaller) -> None:
    await write_tools(edge, store)


def hybrid(query: str, **options: Any) -> gateway_pb2.HybridTextRanking:
    return gateway_pb2.HybridTextRanking(attribute="text", query=query, **options)


def auto(query: str, **options: Any) -> gateway_pb2.AutoRanking:
    return gateway_pb2.AutoRanking(attribute="text", query=query, **options)


def asked(http: dict[str, object], **rpc: Any) -> Call:
    return Call(http=http, rpc=gateway_pb2.QueryRowsRequest(**rpc))


@dataclass(frozen=True, kw_only=True)
class Case:
    """A query of the namespace ``tools``, and of ``sharded`` with the same answer."""

    title: str
    call: Call
    ids: Sequence[str] = ()
    hybrid: dict[str, object] = field(default_factory=dict)
    routing: dict[str, object] | None = None
    has_next: bool = False


CASES = [
    Case(
        title="by vector",
        call=asked(
            {"vector": [1.0, 0.0], "top_k": 3},
            vector=gateway_pb2.VectorRanking(vector=vector(1.0, 0.0)),
            top_k=3,
        ),
        ids=["t-5", "t-1", "t-2"],
        has_next=True,
    ),
    Case(
        title="by example",
        call=asked(
            {"nearest_to_id": ["t-5"], "top_k": 9},
            nearest=gateway_pb2.NearestRanking(ids=[string_id("t-5")]),
            top_k=9,
        ),
        ids=["t-5", "t-1", "t-2", "t-3", "t-4"],
    ),
    Case(
        title="by text",
        call=asked(
            {"rank_by": ["text", "BM25", "hand"], "top_k": 10},
            text=gateway_pb2.TextRanking(attribute="text", query="hand"),
        ),
        ids=["t-2", "t-1", "t-5"],
    ),
    Case(
        title="by attribute",
        call=asked(
            {"rank_by": ["rating", "desc"], "top_k": 10, "filters": ["kind", "Eq", "saw"]},
            attributes=gateway_pb2.AttributeRanking(
                keys=[
                    gateway_pb2.SortKey(
                        attribute="rating", direction=gateway_pb2.SORT_DIRECTION_DESCENDING
                    )
                ]
            ),
            filter=IS_SAW,
        ),
        ids=["t-1", "t-2", "t-5"],
    ),
    Case(
        title="by hybrid text",
        call=asked(
            {"rank_by": ["text", "HybridText", "Hand hammar, a hand"], "top_k": 2,
             "include_leg_breakdown": True},
            hybrid_text=hybrid("Hand hammar, a hand"),
            top_k=2,
            with_leg_breakdown=True,
        ),
        ids=["t-1", "t-2"],
        hybrid={
            "tokens": ["hand", "hammar"], "tokens_dropped": 0, "stopwords_dropped": 0,
            "rank_constant": 60, "legs": 3, "per_leg_limit": 50, "surfaced": False,
        },
        has_next=True,
    ),
    Case(
        title="by hybrid text with options",
        call=asked(
            {"rank_by": ["text", "HybridText", "the hand and hammar",
                         {"fuzziness": 1, "stopwords": ["HAND"], "rank_constant": 7,
                          "per_leg_limit": 9, "threads": 2}],
             "filters": ["kind", "Eq", "saw"]},
            hybrid_text=hybrid(
                "the hand and hammar",
                edit_distance_max=1,
                own_stop_words=gateway_pb2.StopWords(words=["HAND"]),
                rank_constant=7,
                per_leg_limit=9,
                thread_count=2,
            ),
            filter=IS_SAW,
        ),
        ids=["t-1", "t-2", "t-5"],
        hybrid={
            "tokens": ["the", "and", "hammar"], "tokens_dropped": 0, "stopwords_dropped": 1,
            "rank_constant": 7, "legs": 4, "per_leg_limit": 9, "surfaced": False,
        },
    ),
    Case(
        title="by a misspelling alone",
        call=asked(
            {"rank_by": ["text", "HybridText", "hammar"]}, hybrid_text=hybrid("hammar")
        ),
        ids=["t-1"],
        hybrid={
            "tokens": ["hammar"], "tokens_dropped": 0, "stopwords_dropped": 0,
            "rank_constant": 60, "legs": 1, "per_leg_limit": 50, "surfaced": True,
        },
    ),
    Case(
        title="a short text that finds its own way",
        call=asked(
            {"rank_by": ["text", "Auto", "hand tool", {"fuzziness": 0, "stopwords": False}]},
            auto=auto("hand tool", edit_distance_max=0, without_stop_words=True),
        ),
        ids=["t-2", "t-1", "t-5"],
        hybrid={
            "tokens": ["hand", "tool"], "tokens_dropped": 0, "stopwords_dropped": 0,
            "rank_constant": 60, "legs": 3, "per_leg_limit": 50, "surfaced": False,
        },
        routing={"route": "hybrid_text", "policy": "v1", "tokens": 2, "executed": True},
    ),
    Case(
        title="a longer text with a vector",
        call=asked(
            {"rank_by": ["text", "Auto", "rasp for wood", {"vector": [0.0, 1.0]}], "top_k": 2},
            auto=auto("rasp for wood", vector=vector(0.0, 1.0)),
            top_k=2,
        ),
        ids=["t-4", "t-3"],
        hybrid={
            "tokens": ["rasp", "wood"], "tokens_dropped": 0, "stopwords_dropped": 1,
            "rank_constant": 60, "legs": 4, "per_leg_limit": 50, "surfaced": False,
        },
        routing={"route": "fused", "policy": "v1", "tokens": 3, "executed": True},
        has_next=True,
    ),
    Case(
        title="a route insisted on",
        call=asked(
            {"rank_by": ["text", "Auto", "rasp", {"route": "semantic", "vector": [1.0, 0.0]}],
             "top_k": 2},
            auto=auto(
                "rasp", route=gateway_pb2.SEARCH_ROUTE_SEMANTIC, vector=vector(1.0, 0.0)
            ),
            top_k=2,
        ),
        ids=["t-5", "t-1"],
        routing={"route": "semantic", "policy": "forced", "tokens": 1, "executed": True},
        has_next=True,
    ),
    Case(
        title="a search that needs a vector and has none",
        call=asked({"rank_by": ["text", "Auto", "a fine rasp for wood"]},
                   auto=auto("a fine rasp for wood")),
        routing={"route": "fused", "policy": "v1", "tokens": 4, "executed": False},
    ),
]  # fmt: skip


def call_of(title: str) -> Call:
    return next(case.call for case in CASES if case.title == title)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
@pytest.mark.parametrize("namespace", ["tools", "sharded"])
async def test_a_query_has_one_answer(transport: Transport, namespace: str, case: Case) -> None:
    told = await transport.query(namespace, case.call)
    assert (told.reason, told.ids) == ("", list(case.ids))
    assert bool(told.next_page) is case.has_next
    assert told.routing == case.routing
    if case.hybrid:
        is_sharded = namespace == "sharded"
        threads = min(4, 2 if case.hybrid["rank_constant"] == 7 else 8) if is_sharded else None
        assert told.hybrid == case.hybrid | {"threads": threads}
    else:
        assert told.hybrid is None


async def test_fused_rows_say_what_each_leg_made_of_them(transport: Transport) -> None:
    told = await transport.query("tools", call_of("by hybrid text"))
    first, second = told.rows
    assert first.legs == [("bm25", 2), ("fuzzy:hand", 2), ("fuzzy:hammar", 1)]
    assert first.value == pytest.approx(1 / 62 + 1 / 62 + 1 / 61)
    assert second.legs == [("bm25", 1), ("fuzzy:hand", 1), ("fuzzy:hammar", None)]


@pytest.mark.parametrize("title", ["by vector", "by hybrid text", "a route insisted on"])
@pytest.mark.parametrize("namespace", ["tools", "sharded"])
async def test_pages_follow_one_another(transport: Transport, namespace: str, title: str) -> None:
    call = call_of(title)
    told = await transport.query(namespace, call)
    seen = list(told.ids)
    while told.next_page:
        told = await transport.query(namespace, call.next(told.next_page))
        seen += told.ids
    assert len(seen) == len(set(seen)) == (3 if title == "by hybrid text" else 5)


@pytest.mark.parametrize("namespace", ["tools", "sharded"])
async def test_attributes_come_as_asked(transport: Transport, namespace: str) -> None:
    call = asked(
        {"rank_by": ["text", "HybridText", "drill"], "include_attributes": ["rating"]},
        hybrid_text=hybrid("drill"),
        attribute_names=["rating"],
    )
    assert [row.attributes for row in (await transport.query(namespace, call)).rows] == [
        {"rating": 5}
    ]
    surfaced = asked(
        {"rank_by": ["text", "HybridText", "drilll"], "include_attributes": ["rating"]},
        hybrid_text=hybrid("drilll"),
        attribute_names=["rating"],
    )
    assert [row.attributes for row in (await transport.query(namespace, surfaced)).rows] == [
        {"rating": 5}
    ]


@pytest.mark.parametrize("namespace", ["tools", "sharded"])
async def test_queries_run_together(transport: Transport, namespace: str) -> None:
    titles = ["by text", "by vector", "by example", "by attribute"]
    calls = [call_of(title) for title in titles]
    reason, results = await transport.query_together(namespace, calls)
    assert reason == ""
    for call, result in zip(calls, results, strict=True):
        assert result == (await transport.query(namespace, call)).rows
    _, results = await transport.query_together(namespace, calls, as_of_ms=7)
    assert results == [[], [], [], []]


@pytest.mark.parametrize(
    ("reason", "calls"),
    [
        ("LEGS_COUNT_RANGE", [call_of("by text")]),
        ("LEGS_COUNT_RANGE", [call_of("by text")] * 17),
        ("LEG_FIELD", [call_of("by text"), call_of("by hybrid text with options")]),
        ("LEG_FIELD", [call_of("by text"), call_of("by vector").next("x")]),
        ("QUERY_SOURCE", [call_of("by text"), asked({})]),
        (
            "EXAMPLES_NOT_FOUND",
            [
                call_of("by text"),
                asked(
                    {"nearest_to_id": ["nope"]},
                    nearest=gateway_pb2.NearestRanking(ids=[string_id("nope")]),
                ),
            ],
        ),
        (
            "UPSTREAM_REFUSED",
            [
                call_of("by text"),
                asked(
                    {"rank_by": ["kind", "BM25", "saw"], "top_k": 10},
                    text=gateway_pb2.TextRanking(attribute="kind", query="saw"),
                ),
            ],
        ),
    ],
)
async def test_bad_queries_together_are_refused_for_one_reason(
    transport: Transport, reason: str, calls: list[Call]
) -> None:
    assert await transport.query_together("tools", calls) == (reason, [])


REFUSED = [
    ("TEXT_WITHOUT_TOKENS", asked({"rank_by": ["text", "HybridText", "a é"]},
                                  hybrid_text=hybrid("a é"))),
    ("TEXT_WITHOUT_TOKENS", asked({"rank_by": ["text", "Auto", "…"]}, auto=auto("…"))),
    ("ROUTE_WITHOUT_VECTOR",
     asked({"rank_by": ["text", "Auto", "saw", {"route": "fused"}]},
           auto=auto("saw", route=gateway_pb2.SEARCH_ROUTE_FUSED))),
    ("JSON_SHAPE", asked({"rank_by": ["text", "HybridText", "saw", {"fuzziness": 3}]},
                         hybrid_text=hybrid("saw", edit_distance_max=3))),
    ("JSON_SHAPE", asked({"rank_by": ["text", "HybridText", "saw", {"rank_constant": -1}]},
                         hybrid_text=hybrid("saw", rank_constant=-1))),
    ("JSON_SHAPE", asked({"rank_by": ["", "HybridText", "saw"]},
                         hybrid_text=gateway_pb2.HybridTextRanking(query="saw"))),
    ("STOP_WORDS_INVALID",
     asked({"rank_by": ["text", "HybridText", "saw", {"stopwords": ["a"] * 1001}]},
           hybrid_text=hybrid("saw", own_stop_words=gateway_pb2.StopWords(words=["a"] * 1001)))),
    ("CURSOR_INVALID", asked({"rank_by": ["text", "HybridText", "saw"], "cursor": "x"},
                             hybrid_text=hybrid("saw"), page_token="x")),
    ("PAGE_TOO_DEEP",
     asked({"rank_by": ["text", "HybridText", "saw"], "cursor": "eyJvZmZzZXQiOjk5OTV9"},
           hybrid_text=hybrid("saw"), page_token="eyJvZmZzZXQiOjk5OTV9")),
    ("UPSTREAM_REFUSED", asked({"rank_by": ["kind", "HybridText", "saw"]},
                               hybrid_text=gateway_pb2.HybridTextRanking(
                                   attribute="kind", query="saw"))),
    ("EXAMPLES_NOT_FOUND", asked({"nearest_to_id": ["nope"]},
                                 nearest=gateway_pb2.NearestRanking(ids=[string_id("nope")]))),
    *(
        (reason, asked({"nearest_to_id": ids},
                       nearest=gateway_pb2.NearestRanking(ids=[string_id(id_) for id_ in ids])))
        for reason, ids in (
            ("NEAREST_IDS_RANGE", []),
            ("NEAREST_IDS_RANGE", ["nope"] * 1001),
            ("EXAMPLES_NOT_FOUND", [f"nope-{at}" for at in range(1000)]),
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "call"), REFUSED, ids=[f"{at}-{reason}" for at, (reason, _) in enumerate(REFUSED)]
)
async def test_a_bad_query_is_refused_for_one_reason(
    transport: Transport, reason: str, call: Call
) -> None:
    assert (await transport.query("tools", call)).reason == reason


async def test_a_namespace_that_does_not_exist_is_not_found(transport: Transport) -> None:
    call = asked({"rank_by": ["text", "HybridText", "saw"]}, hybrid_text=hybrid("saw"))
    assert (await transport.query("nowhere", call)).reason == "NAMESPACE_NOT_FOUND"


@pytest.mark.parametrize(
    ("http", "rpc"),
    [
        ({"vector": [1.0, 0.0]}, {"vector": gateway_pb2.VectorRanking(vector=vector(1.0, 0.0))}),
        ({"rank_by": ["text", "HybridText", "hand"]}, {"hybrid_text": hybrid("hand")}),
        ({"rank_by": ["text", "HybridText", "hamner"]}, {"hybrid_text": hybrid("hamner")}),
    ],
    ids=["vector", "hybrid", "misspelt"],
)
async def test_rows_from_before_layer_are_of_any_moment_and_of_no_span(
    transport: Transport, http: dict[str, object], rpc: dict[str, Any]
) -> None:
    as_of = asked(http | {"as_of": 7}, **rpc, as_of_ms=7)
    between = common_pb2.TimeRange(after_ms=5, through_ms=7)
    span = asked(http | {"between": [5, 7]}, **rpc, between=between)
    assert (await transport.query("bare", as_of)).ids == ["b-1"]
    found = await transport.query("bare", span)
    assert (found.reason, found.ids) == ("", [])
