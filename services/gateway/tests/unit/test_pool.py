"""What the workers of a pool share: watermarks in memory, and one page of metrics."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from layer_gateway.pool.expositions import summed
from layer_gateway.pool.flights import (
    PLACES_COUNT,
    FlightTable,
    clear_flights,
    new_flights,
)
from layer_gateway.pool.marks import PROBES_MAX, SLOTS_COUNT, MarkTable, new_table
from layer_gateway.pool.worker import Worker, this_worker
from layer_gateway.ports.watching import Mark
from layer_kit.names import Namespace
from layer_wire.metadata import IndexStatus


@pytest.fixture
def tables() -> Iterator[tuple[MarkTable, MarkTable]]:
    descriptor = new_table()
    both = MarkTable(descriptor), MarkTable(descriptor)
    yield both
    for table in both:
        table.close()
    os.close(descriptor)


def mark(name: str, watermark_ms: int | None, polled_at_ms: int = 1000) -> Mark:
    return Mark(
        namespace=Namespace(name),
        status=IndexStatus.UP_TO_DATE if watermark_ms else IndexStatus.UPDATING,
        watermark_ms=watermark_ms,
        polled_at_ms=polled_at_ms,
    )


def test_what_one_worker_publishes_the_others_read(tables: tuple[MarkTable, MarkTable]) -> None:
    ours, theirs = tables
    assert theirs.read(Namespace("ns")) is None
    ours.publish(mark("ns", 900))
    assert theirs.read(Namespace("ns")) == mark("ns", 900)
    ours.publish(mark("never-stable", None))
    assert theirs.read(Namespace("never-stable")) == mark("never-stable", None)


def test_a_watermark_never_goes_back(tables: tuple[MarkTable, MarkTable]) -> None:
    ours, theirs = tables
    ours.publish(mark("ns", 900, polled_at_ms=1000))
    theirs.publish(mark("ns", 800, polled_at_ms=900))
    assert ours.read(Namespace("ns")) == mark("ns", 900, polled_at_ms=1000)
    theirs.publish(mark("ns", None, polled_at_ms=2000))
    found = ours.read(Namespace("ns"))
    assert found is not None
    assert (found.watermark_ms, found.status) == (900, IndexStatus.UPDATING)


def test_a_deleted_namespace_is_so_for_all_until_it_is_polled_again(
    tables: tuple[MarkTable, MarkTable],
) -> None:
    ours, theirs = tables
    ours.forget(Namespace("never-seen"), 1)
    assert theirs.read(Namespace("never-seen")) is None
    ours.publish(mark("ns", 900, polled_at_ms=1000))
    ours.forget(Namespace("ns"), 999)
    assert theirs.read(Namespace("ns")) == mark("ns", 900, polled_at_ms=1000)

    ours.forget(Namespace("ns"), 1500)
    theirs.publish(mark("ns", 1400, polled_at_ms=1500))
    found = theirs.read(Namespace("ns"))
    assert found is not None
    assert found.is_deleted
    assert (found.watermark_ms, found.polled_at_ms) == (None, 1500)

    theirs.publish(mark("ns", None, polled_at_ms=1501))
    assert ours.read(Namespace("ns")) == mark("ns", None, polled_at_ms=1501)


def test_more_namespaces_than_places_push_out_the_oldest_and_mix_up_none(
    tables: tuple[MarkTable, MarkTable],
) -> None:
    ours, theirs = tables
    count = SLOTS_COUNT + SLOTS_COUNT // 4
    for at in range(count):
        ours.publish(mark(f"ns-{at}", at + 1, polled_at_ms=at + 1))
    found = [theirs.read(Namespace(f"ns-{at}")) for at in range(count)]
    assert all(one is None or one.watermark_ms == at + 1 for at, one in enumerate(found))
    assert all(one is not None for one in found[-PROBES_MAX:])
    assert sum(one is not None for one in found) > SLOTS_COUNT * 0.9


@pytest.fixture
def flights() -> Iterator[tuple[FlightTable, FlightTable]]:
    descriptor = new_flights(2)
    both = FlightTable(descriptor, 0), FlightTable(descriptor, 1)
    yield both
    for table in both:
        table.close()
    os.close(descriptor)


def test_what_one_worker_is_writing_the_others_know(
    flights: tuple[FlightTable, FlightTable],
) -> None:
    ours, theirs = flights
    name, other = Namespace("ns"), Namespace("other")
    ours.begun(name, 900)
    theirs.begun(name, 800)
    assert [table.earliest(name) for table in flights] == [800, 800]
    assert ours.earliest(other) is None
    theirs.begun(name, 950)
    assert ours.earliest(name) == 900
    ours.ended(name)
    assert ours.earliest(name) == 950
    theirs.ended(name)
    assert ours.earliest(name) is None


def test_writes_to_more_namespaces_than_places_are_taken_for_writes_to_any(
    flights: tuple[FlightTable, FlightTable],
) -> None:
    ours, theirs = flights
    names = [Namespace(f"ns-{at}") for at in range(PLACES_COUNT + 1)]
    for at, name in enumerate(names, start=1000):
        ours.begun(name, at)
    found = [theirs.earliest(name) for name in names]
    assert all(one is not None and one <= at for at, one in enumerate(found, start=1000))
    assert theirs.earliest(Namespace("idle")) is not None
    for name in names:
        ours.begun(name, 5000)
    assert {theirs.earliest(name) for name in names} == {5000}
    for name in names:
        ours.ended(name)
    assert {theirs.earliest(name) for name in [*names, Namespace("idle")]} == {None}


def test_what_a_worker_was_writing_is_forgotten_with_it() -> None:
    descriptor, name = new_flights(2), Namespace("ns")
    ended, lives = FlightTable(descriptor, 0), FlightTable(descriptor, 1)
    ended.begun(name, 900)
    lives.begun(name, 950)
    clear_flights(descriptor, 0)
    assert lives.earliest(name) == 950
    ended.begun(name, 960)
    FlightTable(descriptor, 0).close()  # the one that takes its place
    assert lives.earliest(name) == 950
    for table in (ended, lives):
        table.close()
    os.close(descriptor)


def exposition(count: float, seconds: float, started: float) -> str:
    registry = CollectorRegistry()
    Counter("calls", 'Calls of "all"\nkinds.', ["kind"], registry=registry).labels(
        kind='a"b\\c\nd'
    ).inc(count)
    Histogram("seconds", "Time.", buckets=(1.0, 2.0), registry=registry).observe(seconds)
    Gauge("inflight", "In hand.", registry=registry).set(count)
    Gauge("process_start_time_seconds", "Start.", registry=registry).set(started)
    return generate_latest(registry).decode()


def test_metrics_add_up_and_the_age_is_that_of_the_oldest() -> None:
    text = summed([exposition(2, 0.5, 50.0), exposition(3, 1.5, 40.0)]).decode()
    values = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert values["calls_total", ('a"b\\c\nd',)] == 5
    assert values["seconds_bucket", ("1.0",)] == 1
    assert values["seconds_bucket", ("2.0",)] == 2
    assert values["seconds_bucket", ("+Inf",)] == 2
    assert values["seconds_sum", ()] == 2.0
    assert values["inflight", ()] == 5
    assert values["process_start_time_seconds", ()] == 40.0
    assert text.count("# TYPE calls_total counter") == 1


def test_a_worker_knows_itself_by_its_environment() -> None:
    worker = Worker(number=3, marks_fd=7, flights_fd=8, pool_address="127.0.0.1:9")
    assert this_worker(worker.variables()) == worker
    assert this_worker({}) is None
