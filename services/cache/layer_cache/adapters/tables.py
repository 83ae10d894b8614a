"""Which of RocksDB's tables are gone: how entries lost to the bound are noticed.

Tables are numbered in the order in which they are written. FIFO compaction removes tables, and
nothing else does.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath


class Tables:
    """The tables of a store, as last seen."""

    def __init__(self) -> None:
        self.newest = 0
        """What is put from now on goes to tables of higher numbers."""
        self.lost_through = 0
        """The highest number of a table that is gone."""
        self._base = 0
        self._numbers: set[int] = set()

    def see(self, names: Iterable[str]) -> None:
        """Look at the files of the tables that there are."""
        numbers = {self._base + int(PurePath(name).stem) for name in names}
        self.lost_through = max(self.lost_through, *(self._numbers - numbers), 0)
        self.newest = max(self.newest, *numbers, 0)
        self._numbers = numbers

    def lose_all(self) -> None:
        """Begin the numbers anew, above those of every table there was."""
        self._base = self.newest = self.lost_through = self.newest + 1
        self._numbers = set()
