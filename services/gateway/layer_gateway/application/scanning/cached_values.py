"""Values of an attribute over a namespace that the cache holds as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from layer_gateway.application.scanning.cached import COLD, ReadCached
from layer_gateway.application.scanning.requests import ScanRequest
from layer_gateway.application.scanning.values import ValuesTaking
from layer_kit.errors import PreconditionError
from layer_wire.facets import Facet

DISTINCT_MAX: Final = 10_000
TEXT_BYTES_MAX: Final = 4 * 1024 * 1024
"""As many as a snapshot holds of a field: who counts here makes one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedValues:
    """What was counted."""

    row_count: int
    facet: Facet
    warmed_through_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CountCachedValues:
    """Counts values of cached rows."""

    read_cached: ReadCached

    async def __call__(self, request: ScanRequest) -> CachedValues:
        """Count the values of the field of a scan.

        Raises:
            PreconditionError: ``CACHE_NOT_WHOLE``.
            LayerError: The store's own.
        """
        namespace, field = request.namespace, request.scan.field
        facts = await self.read_cached.facts.get(namespace, request.caller)
        taking = ValuesTaking(
            field, facts.types.get(field, ""), distinct_max=DISTINCT_MAX, bytes_max=TEXT_BYTES_MAX
        )
        states = await self.read_cached.warmth.states([namespace])
        warmed_through_ms = states.get(namespace, COLD).warmed_through_ms
        is_whole = await self.read_cached.try_whole(request, taking)
        if not is_whole or warmed_through_ms is None:
            raise PreconditionError(
                "CACHE_NOT_WHOLE",
                f"The cache does not hold {namespace} as a whole, or cannot tell which rows match.",
                namespace=namespace,
            )
        return CachedValues(
            row_count=taking.rows_count, facet=taking.facet, warmed_through_ms=warmed_through_ms
        )
