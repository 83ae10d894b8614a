"""Whether the store answers, learnt from what it is asked anyway."""

from __future__ import annotations

from datetime import UTC, datetime

from layer_kit.clock import EpochMilliseconds


class LastSeen:
    """Remembers how the last request to a store ended, and since when they end like that."""

    def __init__(self, now_ms: EpochMilliseconds) -> None:
        self._now_ms = now_ms
        self._since_ms = 0
        self.is_reachable: bool | None = None

    @property
    def since(self) -> str:
        moment = datetime.fromtimestamp(self._since_ms // 1000, UTC)
        return moment.isoformat().replace("+00:00", "Z")

    def note(self, *, is_reachable: bool) -> None:
        if is_reachable is not self.is_reachable:
            self.is_reachable = is_reachable
            self._since_ms = self._now_ms()
