"""Counters and histograms for what every request counts.

The library's own take a lock and walk the buckets one by one at each observation: a request that
is counted four times would spend more on that than on its upstream call. These keep plain numbers,
which one thread changes, and put them into the library's form when they are scraped.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class Distribution:
    """How often values of each size were observed, with one set of labels."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """By bucket; the last holds what is above every bound."""
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


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
            count, buckets = 0, []
            for le, more in zip(self._les, found.counts, strict=True):
                count += more
                buckets.append((le, float(count)))
            family.add_metric(values, buckets, found.total)
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
