"""Where reads end while an index is behind."""

from __future__ import annotations

import msgspec

from layer_wire import filters
from layer_wire.filters import Filter


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """Where the reads of one request end: taken once, and the same for every part of it."""

    stable_as_of_ms: int | None = None
    """The watermark; None while none is known."""
    is_updating: bool = False
    """Whether the index was behind when last looked at."""

    @property
    def filter(self) -> Filter | None:
        """What to add to a query at first: nothing while the index is up to date."""
        return self.at_watermark if self.is_updating else None

    @property
    def at_watermark(self) -> Filter | None:
        """What cuts a query at the watermark, however the index is."""
        return (
            None if self.stable_as_of_ms is None else filters.upserted_until(self.stable_as_of_ms)
        )
