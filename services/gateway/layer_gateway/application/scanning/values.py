"""Values of a scan, counted."""

from __future__ import annotations

from typing import Final

from layer_gateway.application.scanning.pages import Page
from layer_wire.facets import Facet

DISTINCT_MAX: Final = 1_000_000
BYTES_MAX: Final = 256 * 1024 * 1024
"""Characters of the values held by one scan."""


class ValuesTaking:
    """Takes in the values of one attribute.

    Args:
        type_: The attribute's; empty where it is not known.
    """

    def __init__(
        self,
        field: str,
        type_: str,
        *,
        distinct_max: int = DISTINCT_MAX,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self.field = field
        self.rows_count = 0
        self._type = type_
        self._distinct_max = distinct_max
        self._bytes_max = bytes_max
        self.reset()

    def take(self, part: int, page: Page) -> None:
        self.rows_count += len(page.ids)
        self.facet.add(page.values)

    def reset(self) -> None:
        self.rows_count = 0
        self.facet = Facet(self._type, distinct_max=self._distinct_max, bytes_max=self._bytes_max)
