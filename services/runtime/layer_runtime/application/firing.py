"""Schedules that fire, and windows that close."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from layer_runtime.ports.functions import FunctionStore

FIRINGS_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class FireSchedules:
    """Makes functions due for a sweep when they fire; to be told so again and again.

    The database says what time it is, and counts a firing for one replica alone. One that fell into
    a time in which nothing ran comes at the next turn, and comes once however many there were.
    """

    functions: FunctionStore

    async def turn(self) -> None:
        """Fire what is due, and close the windows in which nothing is left to do."""
        while await self.functions.fire(FIRINGS_AT_ONCE) == FIRINGS_AT_ONCE:
            pass
        await self.functions.settle_firings()
