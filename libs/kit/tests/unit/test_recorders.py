"""Recorders tell what the library's own metrics would."""

from __future__ import annotations

import re

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from layer_kit.telemetry.recorders import Counts, Histograms

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


def test_a_name_is_taken_once() -> None:
    registry = CollectorRegistry()
    Histograms("h_seconds", "Time.", ["kind"], bounds=BOUNDS, registry=registry)
    Counts("c_total", "Things.", ["kind"], registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Histogram("h_seconds", "Time.", ["kind"], registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Counter("c_total", "Things.", ["kind"], registry=registry)
