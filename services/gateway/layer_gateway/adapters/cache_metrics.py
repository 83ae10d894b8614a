"""Metrics of the gateway's ways to the cache, one of which leads to each replica."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaMetrics:
    """Of one replica."""

    connected: Gauge
    losses: Counter
    unannounced: Counter
    direct: Gauge


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

    def of(self, replica: int) -> ReplicaMetrics:
        """Return those of one replica."""
        label = str(replica)
        return ReplicaMetrics(
            connected=self._connected.labels(label),
            losses=self._losses.labels(label),
            unannounced=self._unannounced.labels(label),
            direct=self._direct.labels(label),
        )
