"""Namespaces of which facets are counted are watched from the start, whoever uses them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from layer_gateway.application.watermarks import Watermarks
from layer_gateway.ports.snapshots import FacetNamespaces

WATCH_FACETS_INTERVAL_S: Final = 60.0
"""Between two looks at the policies; well below the time after which a namespace rests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchFacets:
    """Has the watermarks of these namespaces advance, so that snapshots of them are taken.

    It takes a key of the store's own: nobody has shown another after a start.
    """

    facets: FacetNamespaces
    watermarks: Watermarks

    async def __call__(self) -> None:
        """Register every namespace that has facet fields.

        Raises:
            LayerError: When the policies cannot be read; those read until then are registered.
        """
        async for namespace in self.facets.namespaces():
            self.watermarks.registered(namespace)
