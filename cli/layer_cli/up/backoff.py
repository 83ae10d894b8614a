"""How long a crashed process stays down before it is started again."""

from __future__ import annotations

from typing import Final

PAUSE_S_MIN: Final = 0.2
PAUSE_S_MAX: Final = 10.0
HEALTHY_S_MIN: Final = 30.0


class Backoff:
    """Pauses that double from ``PAUSE_S_MIN`` to ``PAUSE_S_MAX``."""

    def __init__(self) -> None:
        self._next_s = PAUSE_S_MIN

    def pause_s(self, *, healthy_s: float) -> float:
        """Return the pause after a crash; ``healthy_s`` is how long the process was ready.

        A process that was ready for ``HEALTHY_S_MIN`` seconds starts over with the shortest.
        """
        if healthy_s >= HEALTHY_S_MIN:
            self._next_s = PAUSE_S_MIN
        pause_s = self._next_s
        self._next_s = min(pause_s * 2, PAUSE_S_MAX)
        return pause_s
