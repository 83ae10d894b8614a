"""History page by page, so that no command holds more than one page."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Final

from layer_cli.edge import Edge

PAGE_SIZE_MAX: Final = 500

Event = dict[str, Any]


class Pages:
    """The pages of a list, newest first."""

    def __init__(self, edge: Edge, path: str, parameters: Mapping[str, str | int | None]) -> None:
        self._edge = edge
        self._path = path
        self._parameters = parameters

    def __iter__(self) -> Iterator[list[Event]]:
        return self._pages(PAGE_SIZE_MAX)

    def first(self, count: int) -> Iterator[Event]:
        """Yield the newest ``count`` events."""
        pages = self._pages(min(count, PAGE_SIZE_MAX))
        return itertools.islice(itertools.chain.from_iterable(pages), count)

    def _pages(self, page_size: int) -> Iterator[list[Event]]:
        before: str | None = None
        while True:
            asked = {**self._parameters, "limit": page_size, "before": before}
            answer = self._edge.get(self._path, asked)
            yield answer.get("entries") or answer.get("events") or []
            before = answer.get("next_cursor")
            if before is None:
                return
