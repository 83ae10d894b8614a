"""The service as a process: events in over gRPC, lists out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from layer.history.v1 import history_pb2
from layer_history_testing.client import MOMENT_NS, TRACE, HistoryClient, click, lines_under, query
from layer_kit.errors import InvalidRequestError, NotFoundError
from layer_testing.edge_calls import eventually
from layer_testing.grpc_calls import is_serving, reflected_services
from layer_testing.hostile_requests import internal_errors
from layer_testing.processes import ServiceProcess

Running = tuple[HistoryClient, ServiceProcess]

pytestmark = pytest.mark.asyncio(loop_scope="module")


def moment(time_ns: int) -> Timestamp:
    stamp = Timestamp()
    stamp.FromNanoseconds(time_ns)
    return stamp


def write_single(folder: Path, at: int) -> None:
    """Write an event as other gateways do, in an object of its own."""
    day = datetime.fromtimestamp(at // 10**9, UTC).date().isoformat()
    line = {"timestamp": "", "timestamp_nanos": at, "namespace": "n", "query": {}}
    path = folder / day / f"{at}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(line | {"top_result_ids": [], "tags": []}) + "\n")


async def test_an_acknowledged_event_is_listed_at_once(history: HistoryClient) -> None:
    await history.append(query(MOMENT_NS, tags=["a", "b"], stable_as_of_ms=7))
    page = await history.list_queries()
    (found,) = page.queries
    assert (found.namespace, found.raw_query, list(found.tags), found.stable_as_of_ms) == (
        history.namespace,
        "red shoes",
        ["a", "b"],
        7,
    )
    assert page.next_page_token == ""


async def test_events_reach_the_bucket_as_lines_within_seconds(
    history: HistoryClient, store: Path
) -> None:
    await history.append(query(MOMENT_NS, tags=["t"]), click(MOMENT_NS + 1))

    objects = store / "objects"
    queries = f"search-history/{history.namespace}/2026-05-28"
    clicks = f"clickstream/{history.namespace}/2026-05-28"

    async def is_shipped() -> bool:
        return bool(lines_under(objects, queries) and lines_under(objects, clicks))

    await eventually(is_shipped)
    assert lines_under(objects, queries) == [
        {
            "timestamp": "2026-05-28T20:26:40.123Z",
            "timestamp_nanos": MOMENT_NS,
            "namespace": history.namespace,
            "trace_id": f"{MOMENT_NS:032x}",
            "raw_query": "red shoes",
            "query": {"top_k": 10},
            "top_result_ids": ["b", "a"],
            "tags": ["t"],
        }
    ]
    assert lines_under(objects, clicks) == [
        {
            "timestamp": "2026-05-28T20:26:40.123Z",
            "timestamp_nanos": MOMENT_NS + 1,
            "trace_id": TRACE,
            "namespace": history.namespace,
            "doc_id": "a",
            "tags": [],
            "source": "single",
            "served_from": "cache",
        }
    ]
    (name,) = [path.name for path in (objects / queries).iterdir()]
    assert name.startswith(f"{MOMENT_NS}-{MOMENT_NS}-")


async def test_two_searches_of_one_nanosecond_are_both_kept(history: HistoryClient) -> None:
    await history.append(query(trace_id="1" * 32), query(trace_id="2" * 32), query(MOMENT_NS - 1))
    first = await history.list_queries(page_size=1)
    assert [one.trace_id for one in first.queries] == ["1" * 32, "2" * 32]
    assert await history.queries(page_token=first.next_page_token) == [MOMENT_NS - 1]


async def test_moments_that_no_calendar_has_are_before_or_after_everything(
    history: HistoryClient,
) -> None:
    await history.append(query())
    first, last = Timestamp(seconds=-(2**62)), Timestamp(seconds=2**62)

    assert await history.queries(start_time=first, end_time=last) == [MOMENT_NS]
    assert await history.queries(start_time=last) == []


async def test_lists_select_by_time_and_by_tags(history: HistoryClient) -> None:
    tags = [["x"], ["x", "y"], ["y"], ["x", "y", "z"]]
    await history.append(*(query(MOMENT_NS + n, tags=tags[n]) for n in range(4)))
    assert await history.queries(tags=["x", "y"]) == [MOMENT_NS + 3, MOMENT_NS + 1]
    inclusive: dict[str, Any] = {
        "start_time": moment(MOMENT_NS + 1),
        "end_time": moment(MOMENT_NS + 2),
    }
    assert await history.queries(**inclusive) == [MOMENT_NS + 2, MOMENT_NS + 1]
    assert await history.queries(before_ns=MOMENT_NS + 1) == [MOMENT_NS]


async def test_a_trace_has_its_search_and_its_clicks(history: HistoryClient) -> None:
    await history.append(
        query(trace_id=TRACE),
        click(MOMENT_NS + 5, document_id="b"),
        click(MOMENT_NS + 3),
        click(trace_id="9" * 32),
    )
    found = await history.trace(TRACE.upper())
    assert [one.event_time_ns for one in found.queries] == [MOMENT_NS]
    assert [one.document_id for one in found.clicks] == ["a", "b"]
    assert await history.clicks(trace_id="9" * 32) == [(MOMENT_NS, "a")]
    with pytest.raises(NotFoundError) as missing:
        await history.trace("5" * 32)
    assert missing.value.reason == "TRACE_NOT_FOUND"


async def test_objects_of_one_event_each_are_read_and_stay(
    history: HistoryClient, store: Path
) -> None:
    folder = store / "objects" / "search-history" / history.namespace
    moments = [MOMENT_NS + n * 3600 * 10**9 for n in range(60)]
    for at in moments:
        write_single(folder, at)
    (folder / "2026-05-28" / "1.jsonl").write_text("{}")  # where it does not belong
    (folder / "2026-05-28" / f"{MOMENT_NS + 1}.jsonl").write_text("no event")

    async def are_noticed() -> bool:
        return await history.queries() == moments[:9:-1]

    await eventually(are_noticed)
    assert await history.all_queries(page_size=7) == moments[::-1]
    assert len(list(folder.rglob("*.jsonl"))) == 62


async def test_a_refused_event_takes_no_other_with_it(history: HistoryClient) -> None:
    deep = b'{"filters":' + b"[" * 64 + b"]" * 64 + b"}"
    fine = b'{"filters":["a","Eq","' + b"[" * 99 + b'\\""]}'
    bad = {
        "trace_id": query(trace_id="XY"),
        "namespace": query(namespace="a b"),
        "event_time_ns": query(-1),
        "raw_query": query(raw_query="x" * 8193),
        "top_result_ids": query(top_result_ids=["x"] * 11),
        "tags": query(tags=["a b"]),
        "document_id": click(document_id=""),
        "source or served_from": click(source=9),
        "kind": history_pb2.Event(),
    }
    summaries = (b"", b"[]", b"{", b'{"a":"\xff"}', b'{"\xff":1}', deep, b'{"a":' + b"[" * 60_000)
    bad_summaries = [query(summary_json=summary) for summary in summaries]
    batch = [query(), *bad.values(), *bad_summaries, query(MOMENT_NS + 1, summary_json=fine)]

    (answer,) = await history.send([batch])

    assert answer.accepted_count == 2
    refused = [(one.position, one.field) for one in answer.refusals]
    assert refused == list(enumerate([*bad, *["summary_json"] * len(summaries)], start=1))
    assert {one.reason for one in answer.refusals} == {"EVENT_INVALID", "NAMESPACE_INVALID"}
    assert all(one.message for one in answer.refusals)
    assert await history.queries() == [MOMENT_NS + 1, MOMENT_NS]


async def test_a_batch_of_no_size_ends_the_stream_after_those_before_it(
    history: HistoryClient,
) -> None:
    for batch in ([], [query(MOMENT_NS + n) for n in range(1001)]):
        with pytest.raises(InvalidRequestError) as refused:
            await history.send([[query()], batch])
        assert refused.value.reason == "EVENT_COUNT_INVALID"
    assert await history.queries() == [MOMENT_NS]


async def test_a_policy_decides_what_is_kept_of_a_search(history: HistoryClient) -> None:
    summary = b'{"filters":["And",[["mail","Eq","a@b.c"],["n","Gt",1]]],"top_k":3}'
    await history.set_policy(
        raw_query_redaction=history_pb2.REDACTION_KEEP,
        redaction_patterns=["[0-9]{4,}"],
        filter_redaction=history_pb2.REDACTION_HASH,
    )
    await history.append(query(raw_query="card 12345678", summary_json=summary))
    await history.set_policy(raw_query_redaction=history_pb2.REDACTION_HASH)
    await history.append(query(MOMENT_NS + 1), query(MOMENT_NS + 2))
    await history.set_policy(
        raw_query_redaction=history_pb2.REDACTION_DROP,
        filter_redaction=history_pb2.REDACTION_DROP,
    )
    await history.append(query(MOMENT_NS + 3, summary_json=summary))
    dropped, same, hashed, masked = (await history.list_queries()).queries
    assert masked.raw_query == "card [redacted]"
    kept = json.loads(masked.summary_json)["filters"]
    assert [kept[0], kept[1][0][:2], kept[1][1][:2]] == ["And", ["mail", "Eq"], ["n", "Gt"]]
    assert b"a@b.c" not in masked.summary_json
    assert hashed.raw_query.startswith("hmac-sha256:")
    assert hashed.raw_query == same.raw_query
    assert (dropped.raw_query, json.loads(dropped.summary_json)) == ("", {"top_k": 3})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"page_size": -1}, "PAGE_SIZE_NEGATIVE"),
        ({"page_token": "x"}, "PAGE_TOKEN_INVALID"),
        ({"tags": ["a b"]}, "TAG_INVALID"),
        ({"start_time": moment(2), "end_time": moment(1)}, "TIME_RANGE_INVALID"),
        ({"namespace": "a b"}, "NAMESPACE_INVALID"),
    ],
)
async def test_a_bad_list_is_refused(history: HistoryClient, fields: Any, reason: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        await history.list_queries(**fields)
    assert refused.value.reason == reason


async def test_no_request_is_an_internal_error(history: HistoryClient, shared: Running) -> None:
    assert await internal_errors(shared[1].addresses["grpc"], history_pb2.DESCRIPTOR) == []
    await history.append(query())
    assert await history.queries() == [MOMENT_NS]
    assert "Traceback" not in shared[1].stderr


async def test_it_is_healthy_and_reflects_its_api(shared: Running) -> None:
    service = "layer.history.v1.HistoryService"
    async with grpc.aio.insecure_channel(shared[1].addresses["grpc"]) as channel:
        assert await is_serving(channel, service)
        assert service in await reflected_services(channel)
