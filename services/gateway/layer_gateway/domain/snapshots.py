"""Facet snapshots in the terms of their routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

SnapshotSource = Literal["auto", "stored", "cache", "origin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobWanted:
    """What is to be counted."""

    field: str
    source: SnapshotSource
    filters: object
    """As the store spells it, decoded; None for all rows."""
    page_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPolicy:
    """What is counted of a namespace, how often, and for how long it is kept."""

    facet_fields: Sequence[str]
    interval: str
    retention: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotsPage:
    """A page of the activity, or of checkpoints."""

    entries: Sequence[dict[str, object]]
    next_cursor: str | None
    is_truncated: bool = False
    """Whether some namespaces were not looked at."""
