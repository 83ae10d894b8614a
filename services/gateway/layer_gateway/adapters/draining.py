"""Whether this process still takes requests."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from layer_kit.clock import Monotonic
from layer_kit.health import Health

MARKER: Final = "drain_marker"
MARKER_WATCH_INTERVAL_S: Final = 1.0
MARKER_CHECK_INTERVAL_S: Final = 0.2
"""A file system is asked no more often, however many requests there are."""


class Draining:
    """True once the process was told to stop, or while the marker file exists."""

    def __init__(self, health: Health, marker: Path, monotonic: Monotonic) -> None:
        self._health = health
        self._marker = marker
        self._monotonic = monotonic
        self._is_marked = False
        self._checked_until_s = float("-inf")

    def __call__(self) -> bool:
        if self._health.is_draining:
            return True
        now_s = self._monotonic()
        if now_s >= self._checked_until_s:
            self._checked_until_s = now_s + MARKER_CHECK_INTERVAL_S
            self._is_marked = self._marker.exists()
        return self._is_marked

    async def tell_health(self) -> None:
        """Let those know of the marker who ask for health and send no request."""
        if self._marker.exists():
            self._health.unready(MARKER, f"{self._marker} exists")
        else:
            self._health.ready(MARKER)
