"""What is remembered of a namespace whose index is looked at, and how often that is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from layer_gateway.application.cuts import Cut
from layer_wire.metadata import IndexStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSettings:
    """How often namespaces are looked at."""

    interval_s: float = 1.0
    stable_interval_s: float = 60.0
    safety_margin_ms: int = 500
    """How far stamps of other gateways may be behind, by their clocks and on their way."""


@dataclass(slots=True, kw_only=True)
class Watched:
    """What is known of a namespace, and when it is to be looked at."""

    status: IndexStatus = IndexStatus.UNKNOWN
    watermark_ms: int | None = None
    cut: Cut = field(default_factory=Cut)
    """Where reads end, by these two."""
    polled_at_ms: int = 0
    due_at_s: float = -math.inf
    used_at_s: float
    is_polling: bool = False
    failures_count: int = 0
    writes_count: int = 0
    written_at_ms: int = 0
    """When the latest write through this process ended."""
    authorization: bytes | None = field(default=None, repr=False)
    """The key that last worked here, maybe an empty one; None once it was refused."""

    def become(self, status: IndexStatus, watermark_ms: int | None) -> None:
        """Take what was learnt of the index."""
        self.status = status
        self.watermark_ms = watermark_ms
        self.cut = Cut(stable_as_of_ms=watermark_ms, is_updating=status is IndexStatus.UPDATING)
