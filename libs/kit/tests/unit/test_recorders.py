"""Recorders tell what the library's own metrics would."""

from __future__ import annotations

import re

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from layer_kit.telemetry.recorders import PENDING_MAX, Counts, Distribution, Histograms, SplitTime

BOUNDS = (0.001, 0.5, 1.0)
VALUES = (0.0, 0.001, 0.0011, 0.5, 0.75, 1.0, 1.0001, 40.0)


def _text(registry: CollectorRegistry) -> str:
    """Return an exposition without the moments at which the library made its metrics."""
    return re.sub(r"(?m)^.*_created.*\n", "", generate_latest(registry).decode())


def test_a_histogram_reads_like_the_librarys() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    recorder = Histograms("h_seconds", "Time.", ["kind", "status"], bounds=BOUNDS, registry=ours)
    library = Histogram("h_seconds", "Time.", ["kind", "status"], buckets=BOUNDS, registry=theirs)
    for value in VALUES:
        recorder.of("a", "ok").observe(value)
        library.labels("a", "ok").observe(value)
    recorder.of("b", 'a "quoted" one').observe(2)
    library.labels("b", 'a "quoted" one').observe(2)
    assert _text(ours) == _text(theirs)


def test_a_counter_reads_like_the_librarys() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    recorder = Counts("c_total", "Things.", ["kind"], registry=ours)
    library = Counter("c_total", "Things.", ["kind"], registry=theirs)
    for count in (1, 41):
        recorder.of("a").add(count)
        library.labels("a").inc(count)
    recorder.of("b").add()
    library.labels("b").inc()
    assert _text(ours) == _text(theirs)


def test_what_waits_to_be_sorted_is_bounded_however_many_times_share_a_whole() -> None:
    shared = Distribution(BOUNDS)
    own = [[Distribution(BOUNDS) for _ in range(3)] for _ in range(3)]
    every = [shared, *(one for three in own for one in three)]
    times = [SplitTime((shared, whole), part, rest) for whole, part, rest in own]
    count = 3 * PENDING_MAX
    for at in range(count):
        times[at % 3].observe(0.75, 0.5)
        assert max(len(one.pending) for one in every) < PENDING_MAX
    assert shared.settle() == ([0, 0, count, 0], 0.75 * count)
    assert [rest.settle()[1] for _, _, rest in own] == [0.25 * PENDING_MAX] * 3


def test_a_name_is_taken_once() -> None:
    registry = CollectorRegistry()
    Histograms("h_seconds", "Time.", ["kind"], bounds=BOUNDS, registry=registry)
    Counts("c_total", "Things.", ["kind"], registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Histogram("h_seconds", "Time.", ["kind"], registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Counter("c_total", "Things.", ["kind"], registry=registry)
