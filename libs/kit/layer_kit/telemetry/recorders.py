"""Counters and histograms for what every request counts.

The library's own take a lock and walk the buckets one by one at each observation: a request that
is counted four times would spend more on that than on its upstream call. These keep plain numbers,
which one thread changes, and put them into the library's form when they are scraped.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

PENDING_MAX: Final = 1024
"""Values that wait to be sorted into their buckets; many at once cost a fraction."""


class Distribution:
    """How often values of each size were observed, with one set of labels.

    Attributes:
        pending: What was observed since it was settled last; whoever appends to it by other means
            than :meth:`observe` settles it when it is long.
    """

    __slots__ = ("_bounds", "_counts", "_total", "pending")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0
        self.pending: list[float] = []

    def observe(self, value: float) -> None:
        """Count one value."""
        self.pending.append(value)
        if len(self.pending) >= PENDING_MAX:
            self.settle()

    def settle(self) -> tuple[Sequence[int], float]:
        """Return how many values there are by bucket, and the sum of all.

        The last bucket has what is above every bound.
        """
        pending = self.pending
        found = map(bisect_left, itertools.repeat(self._bounds), pending)
        for at, count in Counter(found).items():
            self._counts[at] += count
        self._total += sum(pending)
        pending.clear()
        return self._counts, self._total


class SplitTime:
    """A time that is counted as a whole and in its two parts, in one step.

    Args:
        wholes: Where all of the time goes; the first may be that of many others, too.
        part: Where the first part of it goes; ``rest`` is for the other.
    """

    __slots__ = ("_add_part", "_add_rest", "_all", "_pending", "_shared", "_wholes")

    def __init__(
        self, wholes: Sequence[Distribution], part: Distribution, rest: Distribution
    ) -> None:
        self._wholes = [whole.pending.append for whole in wholes]
        self._add_part = part.pending.append
        self._add_rest = rest.pending.append
        self._pending = part.pending
        self._shared = wholes[0].pending
        self._all = (*wholes, part, rest)

    def observe(self, seconds: float, part_s: float) -> None:
        """Count one time, of which ``part_s`` is the first part."""
        for add in self._wholes:
            add(seconds)
        self._add_part(part_s)
        self._add_rest(seconds - part_s)
        if len(self._pending) >= PENDING_MAX or len(self._shared) >= PENDING_MAX:
            for one in self._all:
                one.settle()


class Histograms(Collector):
    """A histogram with labels, to be observed by the thread that scrapes it."""

    def __init__(
        self,
        name: str,
        description: str,
        labels: Sequence[str],
        *,
        bounds: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name = name
        self._description = description
        self._labels = tuple(labels)
        self._bounds = tuple(bounds)
        self._les = [*(str(float(bound)) for bound in bounds), "+Inf"]
        self._found: dict[tuple[str, ...], Distribution] = {}
        registry.register(self)

    def of(self, *values: str) -> Distribution:
        """Return the one of some values of the labels, for the caller to keep."""
        found = self._found.get(values)
        if found is None:
            found = self._found[values] = Distribution(self._bounds)
        return found

    def describe(self) -> list[Metric]:
        return [self._family()]

    def collect(self) -> Iterator[Metric]:
        family = self._family()
        for values, found in self._found.items():
            counts, total = found.settle()
            summed = itertools.accumulate(counts)
            buckets = [(le, float(count)) for le, count in zip(self._les, summed, strict=True)]
            family.add_metric(values, buckets, total)
        yield family

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self._name, self._description, labels=self._labels)


class Count:
    """A number that only grows, with one set of labels."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def add(self, count: int = 1) -> None:
        """Let it grow."""
        self.value += count


class Counts(Collector):
    """A counter with labels, to be counted by the thread that scrapes it."""

    def __init__(
        self,
        name: str,
        description: str,
        labels: Sequence[str],
        *,
        registry: CollectorRegistry,
    ) -> None:
        self._name = name
        self._description = description
        self._labels = tuple(labels)
        self._found: dict[tuple[str, ...], Count] = {}
        registry.register(self)

    def of(self, *values: str) -> Count:
        """Return the one of some values of the labels, for the caller to keep."""
        found = self._found.get(values)
        if found is None:
            found = self._found[values] = Count()
        return found

    def describe(self) -> list[Metric]:
        return [self._family()]

    def collect(self) -> Iterator[Metric]:
        family = self._family()
        for values, found in self._found.items():
            family.add_metric(values, found.value)
        yield family

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily(self._name, self._description, labels=self._labels)
