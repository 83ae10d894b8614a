"""The oracle of stable reads: which versions of which rows a query that was cut may return.

Each row is written by one writer at a time, so that its versions have an order. A version *binds*
a query cut at W when it was acknowledged before the query began, is stamped at or before W, and
keeps what the margin assumes: it came through the same gateway, or was acknowledged by W plus the
margin, less by what the clock may be ahead that W was told by. A query that was cut returns of each
row no version stamped after W and none older than the newest that binds. It may leave a row out
only where a newer version than that has taken its place, or may have.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Version:
    """One write of one row."""

    number: int
    replica: str
    began: int
    stamp_ms: int | None = None
    """None while the caller has not seen it; it may have been any moment."""
    acknowledged: float = math.inf
    acknowledged_ms: float = math.inf
    """By a right clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A row as a query returned it."""

    number: int
    stamp_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a query returned, and how."""

    replica: str
    namespace: str
    began: int
    ended: int
    watermark_ms: int | None
    is_cut: bool
    rows: Mapping[str, Seen]


class StableHistory:
    """Versions of rows, and watermarks that were told.

    Args:
        margin_ms: What the gateways promise to allow for.
        skew_ms: By what a clock of theirs may be off.
    """

    def __init__(self, *, margin_ms: int, skew_ms: float = 0.0) -> None:
        self._allowed_ms = margin_ms - skew_ms
        self._moment = 0
        self._versions: dict[tuple[str, str], list[Version]] = defaultdict(list)
        self._told: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        """By gateway and namespace: when a watermark was told, and which."""

    def now(self) -> int:
        """Return a moment later than all that were returned before."""
        self._moment += 1
        return self._moment

    def writing(self, namespace: str, id_text: str, number: int, replica: str) -> Version:
        """Record that a write of a row begins."""
        version = Version(number=number, replica=replica, began=self.now())
        self._versions[namespace, id_text].append(version)
        return version

    def acknowledged(self, version: Version, *, now_ms: float) -> None:
        """Record that a write was acknowledged just now."""
        version.acknowledged = self.now()
        version.acknowledged_ms = now_ms

    def stamped(self, version: Version, stamp_ms: int) -> None:
        """Record what a write was stamped with."""
        version.stamp_ms = stamp_ms

    def violations(self, reading: Reading) -> list[str]:
        """Return what is wrong with a reading."""
        found = self._backwards(reading)
        if not reading.is_cut or reading.watermark_ms is None:
            return found
        for (namespace, id_text), versions in self._versions.items():
            if namespace == reading.namespace:
                found += self._row(reading, id_text, versions, reading.watermark_ms)
        return found

    def _backwards(self, reading: Reading) -> list[str]:
        told = self._told[reading.replica, reading.namespace]
        shown = -math.inf if reading.watermark_ms is None else reading.watermark_ms
        earlier = max((ms for ended, ms in told if ended < reading.began), default=-math.inf)
        if reading.watermark_ms is not None:
            told.append((reading.ended, reading.watermark_ms))
        return [f"the watermark went back from {earlier} to {shown}"] if shown < earlier else []

    def _row(
        self, reading: Reading, id_text: str, versions: list[Version], watermark_ms: int
    ) -> list[str]:
        seen = reading.rows.get(id_text)
        if seen is not None and seen.stamp_ms > watermark_ms:
            return [f"{id_text} is stamped {seen.stamp_ms}, after {watermark_ms}"]
        binding = [
            at for at, version in enumerate(versions) if self._binds(version, reading, watermark_ms)
        ]
        if not binding:
            return []
        newest = versions[binding[-1]]
        if seen is not None:
            if seen.number < newest.number:
                return [f"{id_text} is {seen.number}, older than {newest} at {watermark_ms}"]
            return []
        later = versions[binding[-1] + 1 :]
        if any(version.began < reading.ended for version in later):
            return []
        return [f"{id_text} is missing, which has {newest} at {watermark_ms}"]

    def _binds(self, version: Version, reading: Reading, watermark_ms: int) -> bool:
        if version.stamp_ms is None or version.stamp_ms > watermark_ms:
            return False
        if version.acknowledged > reading.began:
            return False
        is_own = version.replica == reading.replica
        return is_own or version.acknowledged_ms <= watermark_ms + self._allowed_ms
