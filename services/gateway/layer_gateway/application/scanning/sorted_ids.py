"""Ids of a scan, sorted outside of memory.

Each part of a namespace comes in the order of its ids, so that it is sorted as it is. Its pages go
to a spool; afterwards the parts are merged by what their next pages have in common. In memory are a
page of each part, and where the pages are.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from layer_gateway.application.scanning.pages import Page
from layer_gateway.ports.scanning import Spool
from layer_wire.ids import JsonId

_encode: Final = msgspec.msgpack.Encoder().encode
_INTEGERS: Final[msgspec.msgpack.Decoder[list[int]]] = msgspec.msgpack.Decoder(list[int])
_TEXTS: Final[msgspec.msgpack.Decoder[list[str]]] = msgspec.msgpack.Decoder(list[str])


class IdsTaking:
    """Takes in ids."""

    field = ""

    def __init__(self, spool: Spool) -> None:
        self.rows_count = 0
        self._spool = spool
        self._pages_of: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        self._has_texts = False

    def take(self, part: int, page: Page) -> None:
        """Take in a page.

        Raises:
            UnavailableError: ``SPOOL_FULL``.
        """
        if not page.ids:
            return
        self._has_texts = self._has_texts or isinstance(page.ids[0], str)
        # It is sorted already; but merging has to come to its end whatever the store sends.
        text = _encode(sorted(page.ids))
        self._pages_of[part].append((self._spool.append(text), len(text)))
        self.rows_count += len(page.ids)

    def reset(self) -> None:
        self.rows_count = 0
        self._pages_of.clear()
        self._spool.clear()

    def merged(self) -> Iterator[Sequence[JsonId]]:
        """Yield all ids in ascending order, numbers as numbers, some thousands at a time."""
        heads: list[tuple[list[Any], Iterator[list[Any]]]] = []
        for places in self._pages_of.values():
            pages = self._read(places)
            heads.append((next(pages), pages))
        while heads:
            # What is not above the lowest end of all pages in hand is in hand.
            end = min(page[-1] for page, _ in heads)
            ready: list[Any] = []
            left = []
            for page, pages in heads:
                count = bisect_right(page, end)
                ready += page[:count]
                if rest := page[count:] or next(pages, []):
                    left.append((rest, pages))
            heads = left
            ready.sort()
            yield ready

    def _read(self, places: Sequence[tuple[int, int]]) -> Iterator[list[Any]]:
        decoder: msgspec.msgpack.Decoder[Any] = _TEXTS if self._has_texts else _INTEGERS
        for start, length in places:
            yield decoder.decode(self._spool.read(start, length))
