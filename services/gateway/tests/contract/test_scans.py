"""Scans: each case once over HTTP and once over gRPC, with one expectation."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc.aio
import pytest
import pytest_asyncio

from layer.common.v1 import common_pb2
from layer.gateway.v1 import gateway_pb2
from layer_testing.edge_calls import EdgeCaller
from layer_testing.gateway_calls import compare, integer, text, vector
from layer_testing.namespace_transports import RefusedError
from layer_testing.processes import ServiceProcess
from layer_testing.scan_transports import (
    ScansOverHttp,
    ScansOverRpc,
    ScanTransport,
    Selection,
    ended,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME = "tools"
KINDS = ["saw", "saw", "drill", "saw", "rasp"]
IDS = [f"t-{at}" for at in range(len(KINDS))]

ORIGIN = gateway_pb2.SCAN_SOURCE_ORIGIN
CACHE = gateway_pb2.SCAN_SOURCE_CACHE
SNAPSHOT = gateway_pb2.SCAN_SOURCE_SNAPSHOT
EVERY_ROW = Selection()
BY_STORE = Selection(
    http={"source": "origin", "page_size": 2, "threads": 3},
    rpc=gateway_pb2.ScanSelection(source=ORIGIN, page_size=2, threads=3),
)
SAWS = Selection(
    http={"filters": ["kind", "Eq", "saw"]},
    rpc=gateway_pb2.ScanSelection(
        filter=compare("kind", common_pb2.COMPARISON_OPERATOR_EQUAL, text("saw"))
    ),
)
LATE = Selection(
    http={"filters": ["n", "Gte", 2], "as_of": 2**50},
    rpc=gateway_pb2.ScanSelection(
        filter=compare("n", common_pb2.COMPARISON_OPERATOR_GREATER_OR_EQUAL, integer(2)),
        as_of_ms=2**50,
    ),
)
NEVER = Selection(
    http={"between": [1, 2]},
    rpc=gateway_pb2.ScanSelection(between=common_pb2.TimeRange(after_ms=1, through_ms=2)),
)
BY_TEXT = Selection(
    http={"fts": {"field": "text", "query": "hand"}, "exhaustive": True},
    rpc=gateway_pb2.ScanSelection(
        text=gateway_pb2.TextSelector(attribute="text", text="hand"), is_exhaustive=True
    ),
)
ALIKE = Selection(
    http={"hybrid_text": {"field": "text", "query": "powwer", "fuzziness": 1}},
    rpc=gateway_pb2.ScanSelection(
        hybrid_text=gateway_pb2.HybridTextSelector(
            attribute="text", text="powwer", edit_distance_max=1
        )
    ),
)
NEAR = Selection(
    http={"ann": {"vector": [1.0, 0.0], "radius": 1.0}},
    rpc=gateway_pb2.ScanSelection(
        distance=gateway_pb2.DistanceSelector(vector=vector(1.0, 0.0), radius=1.0)
    ),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def tools(edge: EdgeCaller) -> None:
    rows = [
        {
            "id": id_,
            "kind": kind,
            "n": at,
            "tags": ["all", kind],
            "text": "hand tool" if kind == "saw" else "power tool",
            "vector": [float(at), 0.0],
        }
        for at, (id_, kind) in enumerate(zip(IDS, KINDS, strict=True))
    ]
    schema = {"text": {"type": "string", "full_text_search": True, "fuzzy": True}}
    body = {"upsert_rows": rows, "distance_metric": "euclidean_squared", "schema": schema}
    assert (await edge("POST", f"/v2/namespaces/{NAME}", body)).status == 200


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["http", "grpc"])
async def scans(
    request: pytest.FixtureRequest, gateway: ServiceProcess
) -> AsyncIterator[ScanTransport]:
    if request.param == "http":
        yield ScansOverHttp(gateway.addresses["http"])
    else:
        async with grpc.aio.insecure_channel(gateway.addresses["grpc"]) as channel:
            yield ScansOverRpc(channel)


@pytest.mark.parametrize(
    ("selection", "count"),
    [(EVERY_ROW, 5), (BY_STORE, 5), (SAWS, 3), (LATE, 3), (NEVER, 0), (BY_TEXT, 3), (ALIKE, 2)],
    ids=["all", "store", "filter", "as-of", "between", "text", "alike"],
)
async def test_rows_are_counted(scans: ScanTransport, selection: Selection, count: int) -> None:
    found = await scans.count(NAME, selection)

    assert (found.count, found.served_by, found.is_approximate) == (count, "origin", False)
    assert found.details == {
        "bounded": False,
        "timed_out": False,
        "shards_saturated": 0,
        "shards_total": 1,
        "threads": 3 if selection is BY_STORE else 8,
    }


async def test_rows_within_a_distance_are_counted_approximately(scans: ScanTransport) -> None:
    found = await scans.count(NAME, NEAR)

    assert (found.count, found.is_approximate) == (3, True)


async def test_ids_are_listed_by_a_job_and_read_from_any_place(scans: ScanTransport) -> None:
    job_id = await scans.start(NAME, BY_STORE)

    assert await ended(scans, NAME, job_id) == {
        "status": "completed",
        "progress": 1.0,
        "scanned": 5,
        "distinct": None,
        "source": "origin",
        "effective": "origin",
        "attribute": "",
        "has_ended": True,
        "error": "",
    }
    assert await scans.results(NAME, job_id) == (IDS, 5)
    assert await scans.results(NAME, job_id, offset=3, limit=1) == (["t-3"], 5)
    assert await scans.results(NAME, job_id, offset=9) == ([], 5)


async def test_values_are_listed_by_a_job(scans: ScanTransport) -> None:
    job_id = await scans.start(NAME, LATE, "tags")

    job = await ended(scans, NAME, job_id)

    assert (job["distinct"], job["attribute"]) == (4, "tags")
    assert await scans.results(NAME, job_id) == (
        [("all", 3), ("drill", 1), ("rasp", 1), ("saw", 1)],
        4,
    )


async def test_jobs_are_listed_in_order_and_deleted(scans: ScanTransport) -> None:
    started = [await scans.start(NAME, EVERY_ROW) for _ in range(3)]
    for job_id in started:
        await ended(scans, NAME, job_id)
    assert [id_ for id_ in await scans.job_ids(NAME) if id_ in started] == started

    await scans.delete(NAME, started[1])

    assert started[1] not in await scans.job_ids(NAME)
    for call in (scans.job, scans.results, scans.delete):
        with pytest.raises(RefusedError, match="not_found"):
            await call(NAME, started[1])


def selection(rpc: gateway_pb2.ScanSelection, **http: object) -> Selection:
    return Selection(http=http, rpc=rpc)


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (selection(gateway_pb2.ScanSelection(threads=-1), threads=-1), "validation_error"),
        (selection(gateway_pb2.ScanSelection(page_size=-1), page_size=-1), "validation_error"),
        (
            selection(gateway_pb2.ScanSelection(timeout_s=-1), timeout_seconds=-1),
            "validation_error",
        ),
        (
            selection(gateway_pb2.ScanSelection(source=SNAPSHOT), source="snapshot"),
            "precondition_failed",
        ),
        (
            selection(
                gateway_pb2.ScanSelection(text=BY_TEXT.rpc.text, source=CACHE),
                fts=BY_TEXT.http["fts"],
                source="cache",
            ),
            "validation_error",
        ),
        (
            selection(
                gateway_pb2.ScanSelection(text=gateway_pb2.TextSelector(attribute="text")),
                fts={"field": "text", "query": ""},
            ),
            "validation_error",
        ),
        (
            selection(
                gateway_pb2.ScanSelection(distance=gateway_pb2.DistanceSelector()),
                ann={"vector": [], "radius": 0},
            ),
            "validation_error",
        ),
        (
            selection(
                gateway_pb2.ScanSelection(between=common_pb2.TimeRange(after_ms=2)),
                between=[2, 0],
            ),
            "validation_error",
        ),
    ],
)
async def test_what_cannot_be_counted_is_refused(
    scans: ScanTransport, wrong: Selection, kind: str
) -> None:
    with pytest.raises(RefusedError, match=kind):
        await scans.count(NAME, wrong)


async def test_a_cache_that_is_not_there_cannot_be_insisted_on(scans: ScanTransport) -> None:
    insisting = selection(gateway_pb2.ScanSelection(source=CACHE), source="cache")

    for call in (scans.count, scans.start):
        with pytest.raises(RefusedError, match=r"cache_cold|service_unavailable"):
            await call(NAME, insisting)


async def test_a_ranking_lists_no_ids(scans: ScanTransport) -> None:
    with pytest.raises(RefusedError, match="validation_error"):
        await scans.start(NAME, BY_TEXT)


async def test_a_namespace_that_does_not_exist_has_no_rows_to_count(scans: ScanTransport) -> None:
    with pytest.raises(RefusedError, match="not_found"):
        await scans.count("nowhere", EVERY_ROW)
