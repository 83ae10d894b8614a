"""The history without a cache: each replica sees those events of others that are objects."""

from __future__ import annotations

from collections.abc import Sequence

from layer_history.domain.events import Event
from layer_history.domain.names import Stream
from layer_kit.names import Namespace


class NoMirror:
    """A mirror that shows nothing."""

    def tell(self, stream: Stream, events: Sequence[Event]) -> None:
        pass

    async def recent(self, stream: Stream, *, newest_ns: int) -> list[Event]:
        return []

    async def drop(self, namespace: Namespace) -> None:
        pass
