"""Memory for large answers, used again once what was received in it has been passed on."""

from __future__ import annotations

from typing import Final

SPARES_MAX: Final = 4
"""Most answers are passed on in the turn in which they are whole, so that one is nearly enough."""


class Places:
    """Gives out memory that need not be cleared and is warm, if there is some to spare."""

    __slots__ = ("_spares",)

    def __init__(self) -> None:
        self._spares: list[bytearray] = []

    def take(self, size_bytes: int) -> bytearray:
        """Return memory of that size, whatever is in it."""
        spares = self._spares
        while spares:
            place = spares.pop()
            try:
                place.append(0)  # which fails as long as anybody has a view of it after all
            except BufferError:
                continue
            missing_bytes = size_bytes - len(place)
            if missing_bytes > 0:
                place += bytes(missing_bytes)
            else:
                del place[size_bytes:]
            return place
        return bytearray(size_bytes)

    def give_back(self, place: bytearray) -> None:
        """Take back what :meth:`take` gave out, at whose content nobody will look any more."""
        if len(self._spares) < SPARES_MAX:
            self._spares.append(place)
