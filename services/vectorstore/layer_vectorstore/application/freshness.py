"""How long rows stay unindexed, and how many may: changeable while the store runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Freshness:
    index_lag_ms: int = 0
    """Time after a write before eventual reads see it and the index counts as up to date."""
    unindexed_bytes_max: int = 2 << 30
    """Written bytes waiting for the index; above it writes are refused with 429."""
