"""How warm each namespace is, as health, listings and metadata show it."""

from __future__ import annotations

from collections.abc import Mapping

from layer_gateway.domain.warmth import NamespaceWarmth, WarmState
from layer_gateway.ports.rows import CacheConnection, RowCache
from layer_gateway.ports.warmth import CacheWarmth
from layer_kit.errors import LayerError
from layer_kit.names import Namespace

COLD = NamespaceWarmth()


class CacheStates:
    """What the cache said a moment ago, so that nobody who asks waits for it."""

    def __init__(self, cache: RowCache, warmth: CacheWarmth) -> None:
        self._cache = cache
        self._warmth = warmth
        self._known: Mapping[Namespace, NamespaceWarmth] = {}

    @property
    def connection(self) -> CacheConnection:
        """How the gateway stands with the cache."""
        return self._cache.connection

    @property
    def known(self) -> Mapping[Namespace, NamespaceWarmth]:
        """Every namespace that is not cold; none while the cache is away."""
        return self._known if self._cache.is_available else {}

    def of(self, namespace: Namespace) -> NamespaceWarmth:
        """Return how warm a namespace is."""
        return self.known.get(namespace, COLD)

    async def refresh(self) -> None:
        """Ask the cache; called now and then, and when something has changed."""
        if not self._cache.is_available:
            self._known = {}
            return
        try:
            self._known = await self._warmth.states()
        except LayerError:
            self._known = {}  # the membership notices by itself that the cache is away


def shown(warmth: NamespaceWarmth) -> dict[str, object]:
    """Return a state as listings show it."""
    fields: dict[str, object] = {
        "state": warmth.state.value,
        "warm_inflight": warmth.state is WarmState.WARMING,
    }
    if warmth.warmed_through_ms is not None:
        fields["warmed_through_ms"] = warmth.warmed_through_ms
    return fields
