"""Metrics of the gateway's ways to the cache, one of which leads to each replica."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

COLD_START_BUCKETS: Final = (1, 2.5, 5, 10, 15, 30, 60, 120, 300, 600)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaMetrics:
    """Of one replica."""

    connected: Gauge
    losses: Counter
    unannounced: Counter
    direct: Gauge
    went_away: Callable[[], None]
    came_back: Callable[[float], None]
    """Told how many seconds the gateway was without it."""


class ColdStarts:
    """Spans in which the gateway is without a part of the cache, its own start included."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._away: set[int] = set()
        self._count = Counter(
            "hevlayer_document_cache_cold_starts_total",
            "Times that the gateway was without the document cache, or a replica of it.",
            registry=registry,
        )
        self._seconds = Histogram(
            "hevlayer_document_cache_cold_start_seconds",
            "How long the gateway was without it.",
            buckets=COLD_START_BUCKETS,
            registry=registry,
        )
        self._active = Gauge(
            "hevlayer_document_cache_cold_start_active",
            "1 while the gateway is without it.",
            registry=registry,
        )

    def begin(self, replica: int) -> None:
        if replica not in self._away:
            self._away.add(replica)
            self._count.inc()
            self._active.set(1)

    def end(self, replica: int, seconds: float) -> None:
        self._away.discard(replica)
        self._seconds.observe(seconds)
        self._active.set(bool(self._away))


class CacheMetrics:
    """Of all replicas; they are told apart by their place in the settings."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._connected = Gauge(
            "layer_cache_session_connected",
            "1 while the cache knows this gateway and is asked for rows.",
            ["replica"],
            registry=registry,
        )
        self._losses = Counter(
            "layer_cache_session_losses_total",
            "Times the session with the cache broke.",
            ["replica"],
            registry=registry,
        )
        self._unannounced = Counter(
            "layer_cache_unannounced_writes_total",
            "Writes acknowledged only after this gateway's lease had run out.",
            ["replica"],
            registry=registry,
        )
        self._direct = Gauge(
            "layer_cache_lookups_direct",
            "1 while lookups have a stream of their own, and 0 while they go over gRPC.",
            ["replica"],
            registry=registry,
        )

        self._cold_starts = ColdStarts(registry)

    def of(self, replica: int) -> ReplicaMetrics:
        """Return those of one replica."""
        label = str(replica)
        return ReplicaMetrics(
            connected=self._connected.labels(label),
            losses=self._losses.labels(label),
            unannounced=self._unannounced.labels(label),
            direct=self._direct.labels(label),
            went_away=partial(self._cold_starts.begin, replica),
            came_back=partial(self._cold_starts.end, replica),
        )
