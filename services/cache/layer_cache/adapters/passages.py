"""Passing the rows of a namespace in order of key, by iterators of RocksDB that stay open a while.

Opening one looks into every table, and takes as long as passing dozens of rows. So the next step
of a scan goes on with the iterator of the last one, as long as nothing of the namespace was written
meanwhile: until then, what the iterator sees is what there is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final, cast

from rocksdict import Rdict, ReadOptions

from layer_cache.domain.limits import SCAN_STEP_BYTES_MAX
from layer_cache.domain.rows import RowKey, namespace_prefix
from layer_cache.ports import Place
from layer_kit.names import Namespace

HELD_S_MAX: Final = 0.25
"""How long an iterator stays open. What it reads keeps its place on the disk for as long."""

READAHEAD_BYTES: Final = 64 * 1024
"""Read at once from each table, from the second step of a scan on: many have no second one."""


class _Passage:
    """An iterator, and how far it has come."""

    def __init__(self, rows: Rdict, prefix: bytes, first: bytes, *, is_reading_ahead: bool) -> None:
        within: Any = ReadOptions()  # its stub leaves out the argument of the last of these
        within.set_iterate_upper_bound(prefix[:-1] + b"\1")
        within.set_background_purge_on_iterator_cleanup(v=True)
        if is_reading_ahead:
            within.set_readahead_size(READAHEAD_BYTES)
        within.fill_cache(v=False)  # a scan passes once, and lookups need what is there
        self._within = within  # the iterator reads the bound where it lies, and does not keep it
        self._items = cast(
            "Iterator[tuple[RowKey, bytes]]", rows.items(from_key=RowKey(first), read_opt=within)
        )
        self.prefix = prefix
        self.is_reading_ahead = is_reading_ahead
        self.at: RowKey | None = None
        self.timer: asyncio.TimerHandle | None = None

    def read(self, count_max: int) -> tuple[list[RowKey], list[bytes], bool]:
        """Return keys and values, up to ``count_max`` and fewer where they are big, and whether
        there are no more."""
        keys: list[RowKey] = []
        values: list[bytes] = []
        room_bytes = SCAN_STEP_BYTES_MAX
        add_key, add_value = keys.append, values.append
        for key, value in islice(self._items, count_max):
            add_key(key)
            add_value(value)
            room_bytes -= len(value)
            if room_bytes <= 0:
                return keys, values, False
        return keys, values, len(keys) < count_max

    def close(self) -> None:
        """Let go of the tables, even if a place is still remembered."""
        self._items = iter(())
        if self.timer is not None:
            self.timer.cancel()


class Passages:
    """The iterators over one database. Whoever writes to it or closes it says so here before."""

    def __init__(self) -> None:
        self._open: set[_Passage] = set()

    def step(
        self, rows: Rdict, namespace: Namespace, after: Place | None, count_max: int
    ) -> tuple[list[RowKey], list[bytes], Place | None]:
        """Return keys and values, up to ``count_max``, and where the next step begins."""
        passage = self._passage(rows, namespace_prefix(namespace), after)
        try:
            keys, values, is_all = passage.read(count_max)
        except Exception:
            self._close(passage)
            raise
        if is_all:
            self._close(passage)
            return keys, values, None
        passage.at = keys[-1]
        self._hold(passage)
        return keys, values, Place(passage.at, passage)

    def written(self, keys: Iterable[RowKey]) -> None:
        """Close what passes the namespace of any of ``keys``."""
        if not self._open:
            return
        keys = list(keys)
        for passage in list(self._open):
            if any(key.startswith(passage.prefix) for key in keys):
                self._close(passage)

    def close(self) -> None:
        """Close everything."""
        for passage in list(self._open):
            self._close(passage)

    def _passage(self, rows: Rdict, prefix: bytes, after: Place | None) -> _Passage:
        """Return the one that has come as far as ``after``, or a new one."""
        if after is None:
            return _Passage(rows, prefix, prefix, is_reading_ahead=False)
        is_lasting = False
        match after.held:
            case _Passage(at=after.key) as held if held in self._open:
                if held.is_reading_ahead:
                    return held
                self._close(held)
                is_lasting = True
        return _Passage(rows, prefix, after.key + b"\0", is_reading_ahead=is_lasting)

    def _hold(self, passage: _Passage) -> None:
        if passage not in self._open:
            self._open.add(passage)
            loop = asyncio.get_running_loop()
            passage.timer = loop.call_later(HELD_S_MAX, self._close, passage)

    def _close(self, passage: _Passage) -> None:
        self._open.discard(passage)
        passage.close()
