"""The parts of scans: throttle, sorting, results, counts by histograms, snapshots remembered."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from layer.snapshots.v1 import snapshots_pb2
from layer_gateway.adapters.latest_snapshots import FRESH_S, STALE_S, LatestSnapshotsClient
from layer_gateway.adapters.spool_file import SpoolFile
from layer_gateway.application.scanning import throttle as throttling
from layer_gateway.application.scanning.pages import Page
from layer_gateway.application.scanning.results import BLOCK_ITEMS, Results
from layer_gateway.application.scanning.sorted_ids import IdsTaking
from layer_gateway.application.scanning.throttle import REFUSALS_MAX, Throttle
from layer_gateway.application.scanning.values import ValuesTaking
from layer_gateway.domain.facet_counts import facet_count, facet_question
from layer_kit.errors import UnavailableError, UpstreamError
from layer_kit.names import Namespace
from layer_objects import ObjectStore, open_object_store
from layer_wire.jsontext import raw

BOOKS = Namespace("books")


@pytest_asyncio.fixture
async def objects(tmp_path: Path) -> AsyncIterator[ObjectStore]:
    store = open_object_store((tmp_path / "objects").as_uri())
    yield store
    await store.aclose()


async def test_no_more_requests_run_than_there_are_threads() -> None:
    throttle, running, most = Throttle(3), 0, 0

    async def ask() -> None:
        nonlocal running, most
        async with throttle.slot():
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    await asyncio.gather(*(ask() for _ in range(20)))

    assert most == 3


async def test_refusals_halve_the_threads_and_answers_bring_them_back() -> None:
    throttle = Throttle(8, random_share=lambda: 0.0)
    async with throttle.slot() as sent_at_s:
        await asyncio.sleep(0.005)  # the store takes its time
    assert throttle.refused(sent_at_s, 0.0)
    assert throttle.limit == 4
    assert throttle.refused(sent_at_s, 0.0), "one that was on its way at the same time"
    assert throttle.limit == 4

    for _ in range(4 + 5 + 6 + 7):
        throttle.answered()

    assert throttle.limit == 8


async def test_a_store_that_goes_on_refusing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling, "PAUSE_S", 0.0)
    throttle = Throttle(8)
    told = []
    for _ in range(REFUSALS_MAX + 1):
        async with throttle.slot() as sent_at_s:
            told.append(throttle.refused(sent_at_s))

    assert told == [True] * REFUSALS_MAX + [False]
    assert throttle.limit == 1


async def test_a_pause_holds_up_what_has_not_been_sent() -> None:
    throttle = Throttle(2, random_share=lambda: 0.0)
    async with throttle.slot() as sent_at_s:
        throttle.refused(sent_at_s, 0.05)

    async with throttle.slot() as sent_again_s:
        assert sent_again_s - sent_at_s > 0.0499  # short of it by what floats leave out


@given(
    st.lists(
        st.one_of(st.sets(st.integers(0, 2**64 - 1)), st.sets(st.integers(0, 300))), max_size=6
    ),
    st.integers(1, 7),
)
def test_parts_are_merged_as_if_they_had_been_sorted_in_memory(
    parts: list[set[int]], size: int
) -> None:
    spool = SpoolFile("", bytes_max=2**20)
    taking = IdsTaking(spool)
    for number, part in enumerate(parts):
        ids = sorted(part)
        for start in range(0, len(ids), size):
            taking.take(number, Page(ids=ids[start : start + size]))

    merged = [id_ for some in taking.merged() for id_ in some]

    spool.close()
    assert merged == sorted(id_ for part in parts for id_ in part)
    assert taking.rows_count == len(merged)


def test_texts_are_sorted_by_their_bytes_and_a_scan_may_begin_anew() -> None:
    spool = SpoolFile("", bytes_max=2**20)
    taking = IdsTaking(spool)
    taking.take(0, Page(ids=["forgotten"]))
    taking.reset()
    taking.take(0, Page(ids=["a", "é"]))
    taking.take(1, Page(ids=[]))
    taking.take(1, Page(ids=["Z", "z", "\U0001f600"]))

    assert [id_ for some in taking.merged() for id_ in some] == ["Z", "a", "z", "é", "\U0001f600"]
    spool.close()


def test_a_spool_has_a_bound() -> None:
    spool = SpoolFile("", bytes_max=100)
    taking = IdsTaking(spool)
    taking.take(0, Page(ids=["an-id-of-some-length"] * 4))
    with pytest.raises(UnavailableError) as full:
        taking.take(0, Page(ids=["an-id-of-some-length"]))

    assert full.value.reason == "SPOOL_FULL"
    spool.close()


def test_values_beyond_the_bound_are_left_out_and_estimated() -> None:
    taking = ValuesTaking("kind", "string", distinct_max=10)
    ids = list(range(5000))
    taking.take(0, Page(ids=ids, values=[raw(f"value-{id_}") for id_ in ids]))

    assert taking.rows_count == 5000
    assert (len(taking.facet.ordered()), taking.facet.is_truncated) == (10, True)
    assert taking.facet.distinct_count == pytest.approx(5000, rel=0.05)


@pytest.mark.parametrize("count", [0, 1, BLOCK_ITEMS, 3 * BLOCK_ITEMS + 1])
async def test_results_are_read_from_any_place(
    objects: ObjectStore, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr("layer_gateway.application.scanning.results.OBJECT_BYTES", 8000)
    results, items = Results(objects), [f"item-{n}" for n in range(count)]
    writer = results.writer("scan-results/books/1/")
    for start in range(0, count, 700):
        await writer.add(items[start : start + 700])
    assert await writer.finish() == count

    chosen = random.Random(7)  # noqa: S311 -- the same in every run
    places = [(0, count), (count, 5), (0, 0), (max(0, count - 1), 10_000)]
    places += [(chosen.randrange(count + 1), chosen.randrange(2500)) for _ in range(20)]
    for offset, limit in places:
        found = await Results(objects).page("scan-results/books/1/", offset, limit)
        assert found == (items[offset : offset + limit], count)


async def test_results_that_are_gone_say_so(objects: ObjectStore) -> None:
    results = Results(objects)
    writer = results.writer("scan-results/books/1/1/")
    await writer.add(["a"])
    await writer.finish()
    await results.delete_job(BOOKS, "1")

    with pytest.raises(UpstreamError) as gone:
        await results.page("scan-results/books/1/1/", 0, 1)

    assert gone.value.reason == "RESULT_UNREADABLE"
    assert [key async for key in objects.iter_keys()] == []


HISTOGRAMS: dict[str, dict[str, int]] = {
    "string": {"saw": 3, "5": 1},
    "int": {"4": 1, "5": 3},
    "float": {"4.5": 1, "5.0": 3},
    "bool": {"true": 2},
    "[]string": {"wood": 2, "hand": 2},
    "datetime": {"2024-01-01": 1},
}


@pytest.mark.parametrize(
    ("type_", "operator", "operand", "count"),
    [
        ("string", "Eq", "saw", 3),
        ("string", "eq", "hoe", 0),
        ("string", "IN", ["saw", "saw", "5"], 4),
        ("string", "Eq", 5, None),
        ("string", "Eq", None, None),
        ("string", "In", ["saw", None], None),
        ("string", "In", [], None),
        ("string", "NotEq", "saw", None),
        ("int", "Eq", 5, 3),
        ("int", "Eq", 5.0, 3),
        ("int", "Eq", 4.5, None),
        ("int", "Eq", "5", None),
        ("int", "Eq", True, None),
        ("float", "In", [5, 4.5], 4),
        ("bool", "Eq", True, 2),
        ("[]string", "In", ["wood"], 2),
        ("[]string", "In", ["wood", "wood"], 2),
        ("[]string", "In", ["wood", "hand"], None),
        ("[]string", "Eq", "wood", None),
        ("datetime", "Eq", "2024-01-01", None),
        ("", "Eq", "saw", None),
    ],
)
def test_a_histogram_counts_what_the_store_would_and_nothing_else(
    type_: str, operator: str, operand: Any, count: int | None
) -> None:
    question = facet_question(raw(["field", operator, operand]))
    found = None
    if question is not None:
        found = facet_count(question, type_, HISTOGRAMS.get(type_, {"saw": 3}))

    assert found == count


@pytest.mark.parametrize("filter_", [b"{", b'["And",[["a","Eq",1]]]', b'["a","Eq",1,{}]', b"3"])
def test_only_a_bare_comparison_is_asked_of_a_histogram(filter_: bytes) -> None:
    assert facet_question(filter_) is None  # type: ignore[arg-type]


class Service:
    """The snapshots service, as far as its newest snapshot goes."""

    def __init__(self) -> None:
        self.sha = "a" * 64
        self.error: Exception | None = None
        self.asked: list[snapshots_pb2.GetSnapshotRequest] = []

    async def GetSnapshot(  # noqa: N802 -- the proto names it
        self, request: snapshots_pb2.GetSnapshotRequest, **_: object
    ) -> snapshots_pb2.GetSnapshotResponse:
        self.asked.append(request)
        if self.error is not None:
            raise self.error
        fields = [
            snapshots_pb2.FacetHistogram(
                name=name, values=[snapshots_pb2.FacetCount(value="saw", row_count=len(self.asked))]
            )
            for name in request.field_names
            if name == "kind"
        ]
        snapshot = snapshots_pb2.Snapshot(sha=self.sha, watermark_ms=7, fields=fields)
        return snapshots_pb2.GetSnapshotResponse(snapshot=snapshot)


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def remembering(service: Service, clock: Clock) -> LatestSnapshotsClient:
    return LatestSnapshotsClient(service, monotonic=clock)  # type: ignore[arg-type]


async def settled() -> None:
    """Let what is asked in the background end."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_snapshot_in_use_is_asked_for_once_and_then_only_whether_it_is_the_latest() -> None:
    service, clock = Service(), Clock()
    snapshots = remembering(service, clock)
    first = await asyncio.gather(*(snapshots.latest(BOOKS, "kind") for _ in range(3)))
    assert [dict(one.counts or {}) for one in first if one] == [{"saw": 1}] * 3
    assert len(service.asked) == 1

    clock.now_s += FRESH_S
    assert await snapshots.latest(BOOKS, "kind") == first[0]
    await settled()

    assert [request.without_fields for request in service.asked] == [False, True]
    await snapshots.aclose()


async def test_a_newer_snapshot_takes_the_place_of_the_one_that_is_remembered() -> None:
    service, clock = Service(), Clock()
    snapshots = remembering(service, clock)
    await snapshots.latest(BOOKS, "kind")
    service.sha = "b" * 64

    clock.now_s += STALE_S
    found = await snapshots.latest(BOOKS, "kind")

    assert found is not None
    assert found.sha == "b" * 64


async def test_a_field_that_a_snapshot_does_not_have_is_no_field_of_it() -> None:
    found = await remembering(Service(), Clock()).latest(BOOKS, "colour")

    assert found is not None
    assert found.counts is None


async def test_a_service_that_is_away_is_an_error_only_once_nothing_is_remembered() -> None:
    service, clock = Service(), Clock()
    snapshots = remembering(service, clock)
    await snapshots.latest(BOOKS, "kind")
    service.error = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata()
    )

    clock.now_s += FRESH_S
    assert await snapshots.latest(BOOKS, "kind") is not None
    await settled()
    clock.now_s += STALE_S
    with pytest.raises(UpstreamError) as away:
        await snapshots.latest(BOOKS, "kind")

    assert away.value.reason == "SNAPSHOTS_FAILED"
    await snapshots.aclose()
