"""What is known of a scan, while it runs and afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class ServedBy(StrEnum):
    """Where the rows of a scan were read; the value is the contract's."""

    SNAPSHOT = "snapshot"
    CACHE = "cache"
    ORIGIN = "origin"


@dataclass(slots=True, kw_only=True)
class ScanReport:
    """How a scan goes, or went."""

    served_by: ServedBy | None = None
    """None until that is decided."""
    threads: int | None = None
    """Requests to the store at once; None when none were sent."""
    shards_total: int = 1
    saturated: set[int] = field(default_factory=set)
    """The shards from which there was more than could be read."""
    is_timed_out: bool = False
    is_approximate: bool = False
    """Whether rows were selected by an approximate index."""
    snapshot_sha: str | None = None
    watermark_ms: int | None = None
    """Of the snapshot."""

    @property
    def is_bounded(self) -> bool:
        """Tell whether there may be more than was found."""
        return self.is_timed_out or bool(self.saturated)


@dataclass(frozen=True, slots=True, kw_only=True)
class CountAnswer:
    """How many rows there are."""

    count: int
    report: ScanReport
    elapsed_ms: int
