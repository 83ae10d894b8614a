"""History at the edge: what is told of requests, and how it is asked for."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio

from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer_kit.errors import InvalidRequestError
from layer_testing.edge_calls import EdgeCaller
from layer_testing.gateway_calls import KEY, Caller, gateway_over, integer_id, vector
from layer_testing.history_calls import history_path, search, told
from layer_testing.processes import ServiceProcess, running
from layer_testing.scripted_store import ScriptedStore
from layer_testing.scripted_store import answer as answer_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told_gateway(
    store: ScriptedStore, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ServiceProcess]:
    """Run a gateway that has a history service."""
    async with (
        running(
            "layer_history",
            LAYER_HISTORY_GRPC_ADDRESS="127.0.0.1:0",
            LAYER_HISTORY_DATA_DIRECTORY=str(tmp_path_factory.mktemp("history")),
        ) as history,
        gateway_over(store.url, LAYER_GATEWAY_HISTORY_ADDRESS=history.addresses["grpc"]) as gateway,
    ):
        yield gateway


@pytest.fixture
def told_edge(told_gateway: ServiceProcess) -> EdgeCaller:
    return EdgeCaller(told_gateway.addresses["http"], key=KEY)


@pytest.fixture
def name(store: ScriptedStore) -> str:
    """Return a namespace that no other test uses."""
    name = f"test-{secrets.token_hex(6)}"
    rows = ({"id": 7, "$dist": 0.1, "title": "x"}, {"id": 8, "$dist": 0.2})
    store.namespace(name, rows=rows, id="uint")
    return name


async def test_a_query_is_told_with_its_text_tags_and_best_rows(
    told_edge: EdgeCaller, name: str
) -> None:
    await search(
        told_edge,
        3,
        name,
        **{
            "traceparent": TRACEPARENT.upper().replace("X", "x"),
            "x-hevlayer-search-query": "  red shoes ",
            "x-hevlayer-tags": "b, a,b",
            "x-hevlayer-tag": "c",
        },
    )
    (entry,) = await told(told_edge, 1, history_path(name))
    aliased = await told_edge("GET", history_path(name).replace("/v2/", "/v1/"))
    assert aliased.json["entries"] == [entry]
    assert entry.pop("timestamp").endswith("Z")
    assert entry.pop("timestamp_nanos") > 0
    assert entry == {
        "namespace": name,
        "trace_id": TRACE,
        "raw_query": "red shoes",
        "query": {"vector_len": 3, "top_k": 4, "filters": ["n", "Eq", 3]},
        "top_result_ids": ["7", "8"],
        "tags": ["a", "b", "c"],
    }


async def test_a_query_is_told_alike_whichever_way_it_goes(
    told_edge: EdgeCaller, name: str
) -> None:
    path = f"/v2/namespaces/{name}/query"
    body = {"filters": ["n", "In", [1, 2]], "vector": [at / 512 for at in range(256)], "top_k": 2}
    told_by_caller = {"x-hevlayer-search-query": "red", "x-hevlayer-tags": "b,a"}
    await told_edge("POST", path, body)  # after which the namespace is known
    by_errand = await told_edge("POST", path, body, told_by_caller)
    text = json.dumps(body).encode()
    fields = {"content-type": "application/json", "transfer-encoding": "chunked"} | told_by_caller
    head = told_edge.request("POST", path, headers=fields)
    ordinary = await told_edge.send(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(text), text))
    entries = await told(told_edge, 3, history_path(name))
    for entry, answer in zip(entries, (ordinary, by_errand), strict=False):
        assert entry.pop("trace_id") == answer["traceparent"].split("-")[1]
        assert entry.pop("timestamp")
        assert entry.pop("timestamp_nanos") > 0
    assert entries[0] == entries[1]
    assert entries[0]["query"] == {"vector_len": 256, "top_k": 2, "filters": body["filters"]}
    assert (entries[0]["raw_query"], entries[0]["tags"]) == ("red", ["a", "b"])


async def test_a_row_that_several_legs_find_is_told_once(
    told_edge: EdgeCaller, store: ScriptedStore, name: str
) -> None:
    found = [{"rows": [{"id": 7, "$dist": 0.1}]}, {"rows": [{"id": 7}, {"id": 8}]}]
    store.answers[f"POST /v2/namespaces/{name}/query"] = answer_of({"results": found})
    legs = {"queries": [{"vector": [n], "top_k": 2} for n in (1, 2)]}
    answer = await told_edge("POST", f"/v2/namespaces/{name}/query", legs)
    assert answer.status == 200
    (entry,) = await told(told_edge, 1, history_path(name))
    assert entry["top_result_ids"] == ["7", "8"]
    assert entry["query"]["leg_count"] == 2


async def test_fetches_with_a_trace_are_told_and_lead_back_to_their_query(
    told_edge: EdgeCaller, name: str
) -> None:
    trace = (await search(told_edge, 1, name))["traceparent"]
    await told(told_edge, 1, history_path(name))
    one, many = f"/v2/namespaces/{name}/documents/7", f"/v2/namespaces/{name}/documents"
    await told_edge("GET", one)
    await told_edge("GET", one, headers={"traceparent": f"00-{'0' * 32}-{'1' * 16}-01"})
    await told_edge("GET", one, headers={"traceparent": trace})
    ids = {"ids": ["8", "7", "9"]}
    await told_edge("POST", many, ids, {"traceparent": trace, "x-hevlayer-tags": "t"})
    clicks = await told(told_edge, 3, f"/v2/namespaces/{name}/clickstream")
    session = (await told_edge("GET", f"{history_path(name)}/{trace.split('-')[1]}")).json
    missing = await told_edge("GET", f"{history_path(name)}/{'7' * 32}")
    assert [(click["doc_id"], click["source"], click["tags"]) for click in clicks] == [
        ("7", "batch", ["t"]),
        ("8", "batch", ["t"]),
        ("7", "single", []),
    ]
    assert {click["served_from"] for click in clicks} == {"upstream"}
    assert [len(session["queries"]), session["clicks"]] == [1, clicks[::-1]]
    assert missing.status == 404


async def test_what_was_not_carried_out_or_is_passed_on_is_not_told(
    told_edge: EdgeCaller, name: str
) -> None:
    auto = {"rank_by": ["title", "Auto", "one two three four"], "top_k": 1}
    path = f"/v2/namespaces/{name}/query"
    assert not (await told_edge("POST", path, auto)).json["routing"]["executed"]
    native = {"rank_by": ["id", "asc"], "limit": 1}
    assert (await told_edge("POST", path, native)).status == 200
    assert (await told_edge("POST", path, {"vector": []})).status == 422
    await search(told_edge, 5, name)
    (entry,) = await told(told_edge, 1, history_path(name))
    assert entry["query"]["top_k"] == 6


async def test_a_query_that_cannot_be_told_takes_no_other_with_it(
    told_edge: EdgeCaller, name: str
) -> None:
    ranking: list[Any] = ["title", "BM25", "x"]
    for _ in range(300):
        ranking = ["Sum", [ranking]]
    filters: list[Any] = ["n", "Eq", 1]
    for _ in range(100):
        filters = ["Not", filters]
    path = f"/v2/namespaces/{name}/query"
    deep = ({"rank_by": ranking, "top_k": 1}, {"vector": [1.0], "filters": filters})
    answers = await asyncio.gather(
        search(told_edge, 1, name),
        *(told_edge("POST", path, body) for body in deep),
        search(told_edge, 2, name),
    )
    assert [answer.status for answer in answers] == [200] * 4
    entries = await told(told_edge, 2, history_path(name))
    assert sorted(entry["query"]["top_k"] for entry in entries) == [2, 3]
    metrics = (await told_edge("GET", "/metrics")).body.decode()
    assert 'layer_history_edge_events_total{result="refused"} 2.0' in metrics


@pytest.mark.parametrize(
    "headers",
    [
        {"x-hevlayer-tags": "a b"},
        {"x-hevlayer-tag": "ä"},
        {"x-hevlayer-tags": "a" * 129},
        {"x-hevlayer-tags": ",".join(f"t{n}" for n in range(32)), "x-hevlayer-tag": "one-more"},
    ],
    ids=["a space", "beyond ASCII", "too long", "too many"],
)
async def test_bad_tags_are_refused_even_without_history(
    edge: EdgeCaller, store: ScriptedStore, name: str, headers: dict[str, str]
) -> None:
    refused = await edge("POST", f"/v2/namespaces/{name}/query", {"vector": [1]}, headers)
    assert (refused.status, refused.json["error"]) == (422, "validation_error")
    assert store.asked(f"POST /v2/namespaces/{name}/query") == []


async def test_thirty_two_tags_are_not_too_many(edge: EdgeCaller, name: str) -> None:
    tags = ",".join(f"t{n}" for n in range(32))
    headers = {"x-hevlayer-tags": f"{tags},t1, ,", "x-hevlayer-tag": "t2"}
    assert (
        await edge("POST", f"/v2/namespaces/{name}/query", {"vector": [1]}, headers)
    ).status == 200


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=x", "before=x", "from=yesterday", "to=2026", "tag=a%20b", "trace_id=12"],
)
async def test_a_bad_parameter_is_refused_by_name(edge: EdgeCaller, query: str) -> None:
    refused = await edge("GET", f"/v2/namespaces/books/clickstream?{query}")
    assert refused.status == 422
    assert query.partition("=")[0] in refused.json["message"].lower()


async def test_the_timestamp_of_an_entry_finds_it_and_repeated_tags_add_up(
    told_edge: EdgeCaller, name: str
) -> None:
    for n, tags in enumerate(("a,b", "a", "b")):
        await search(told_edge, n, name, **{"x-hevlayer-tags": tags})
    entries = await told(told_edge, 3, history_path(name))
    path = history_path(name)
    for entry in entries:
        moment = entry["timestamp"]
        found = (await told_edge("GET", f"{path}?from={moment}&to={moment}")).json["entries"]
        assert entry in found
        assert {one["timestamp"] for one in found} == {moment}
    both = (await told_edge("GET", f"{path}?tag=a&tag=b")).json["entries"]
    assert both == [entries[2]]


async def test_without_a_history_service_its_routes_say_so(edge: EdgeCaller) -> None:
    off = await edge("GET", history_path())
    assert (off.status, off.json["reason"]) == (503, "HISTORY_OFF")


async def test_policies_are_set_and_kept_to(told_edge: EdgeCaller, name: str) -> None:
    path = f"/v2/namespaces/{name}/history-policy"
    policy = {
        "query_retention_s": 3600,
        "click_retention_s": 0,
        "raw_query": "keep",
        "redaction_patterns": ["[0-9]+"],
        "filters": "drop",
    }
    assert (await told_edge("PUT", path, policy)).json == policy
    assert (await told_edge("GET", path)).json == policy
    for seconds in (-1, 2**40, 2**63, 10**20):
        refused = await told_edge("PUT", path, {"click_retention_s": seconds})
        assert (refused.status, "click_retention_s" in refused.json["message"]) == (422, True)
    bad = await told_edge("PUT", path, {"raw_query": "burn"})
    no_key = await told_edge("PUT", path, {"raw_query": "hash"})
    await search(told_edge, 1, name, **{"x-hevlayer-search-query": "card 1234"})
    (entry,) = await told(told_edge, 1, history_path(name))
    assert (bad.status, no_key.status) == (422, 412)
    assert entry["raw_query"] == "card [redacted]"
    assert "filters" not in entry["query"]


async def test_a_typed_lookup_with_a_trace_is_told_as_opened(
    told_gateway: ServiceProcess, told_edge: EdgeCaller, name: str
) -> None:
    trace = (await search(told_edge, 1, name))["traceparent"]
    said = (("traceparent", trace), ("x-hevlayer-tags", "b,a"))
    ids = [integer_id(8), integer_id(999)]
    async with grpc.aio.insecure_channel(told_gateway.addresses["grpc"]) as channel:
        lookup = gateway_pb2_grpc.GatewayServiceStub(channel).LookupRows
        metadata = (("authorization", f"Bearer {KEY}"),)
        for ids_only, more in ((False, ()), (True, said), (False, said)):
            request = gateway_pb2.LookupRowsRequest(namespace=name, ids=ids, ids_only=ids_only)
            await lookup(request, metadata=metadata + more)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await lookup(request, metadata=(*metadata, ("x-hevlayer-tags", "{")))
    (click,) = await told(told_edge, 1, f"/v2/namespaces/{name}/clickstream")
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (click["doc_id"], click["source"], click["tags"]) == ("8", "batch", ["a", "b"])
    assert click["trace_id"] == trace.split("-")[1]


async def test_a_typed_query_is_told_as_well(
    told_gateway: ServiceProcess, told_edge: EdgeCaller, name: str
) -> None:
    fields: dict[str, Any] = {
        "vector": gateway_pb2.VectorRanking(vector=vector(0.5)),
        "top_k": 1,
        "raw_query": "red shoes",
    }
    async with grpc.aio.insecure_channel(told_gateway.addresses["grpc"]) as channel:
        caller = Caller(channel)
        await caller.query(name, tags=["b", "a"], **fields)
        for reason, wrong in (
            ("TAG_INVALID", {"tags": ["a,b"]}),
            ("TAG_INVALID", {"tags": [""]}),
            ("TOO_MANY_TAGS", {"tags": [f"t{at}" for at in range(33)]}),
            ("RAW_QUERY_TOO_LONG", {"raw_query": "x" * 8193}),
        ):
            with pytest.raises(InvalidRequestError) as refusal:
                await caller.query(name, **(fields | wrong))
            assert refusal.value.reason == reason
    (entry,) = await told(told_edge, 1, history_path(name))
    assert (entry["raw_query"], entry["tags"]) == ("red shoes", ["a", "b"])
    assert entry["top_result_ids"] == ["7"]
