"""Where the items of functions wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from layer_runtime.domain.items import (
    Claimed,
    FailedItem,
    FoundItem,
    Given,
    Held,
    ItemKey,
    Reference,
    Verdict,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFigures:
    """How many items are in which state."""

    pending_count: int = 0
    processing_count: int = 0
    failed_count: int = 0
    completed_count: int = 0
    """Of the window that was asked for."""


class ItemQueue(Protocol):
    """The items of functions. Every method raises ``UnavailableError`` (``DATABASE_DOWN``).

    Time is the database's alone. No two workers hold an item at a time.
    """

    async def enqueue(self, number: int, namespace: str, ids: Sequence[str]) -> int:
        """Add the items that are not there; return how many those are."""
        ...

    async def force(self, number: int, namespace: str, ids: Sequence[str]) -> int:
        """Add items that are due whatever their markers say; return how many are new.

        Those that failed wait again, those at work will once more when they are done.
        """
        ...

    async def claim(
        self, number: int, worker: str, *, limit: int, lease_s: int, attempt_count_max: int
    ) -> Sequence[Claimed]:
        """Hand items to a worker, oldest first, after ending the leases that ran out."""
        ...

    async def remember(self, number: int, lease: int, version: str, given: Sequence[Given]) -> None:
        """Keep what was given out of items."""
        ...

    async def drop(self, number: int, items: Sequence[Claimed]) -> None:
        """Remove items that need no work; one that a write has made due meanwhile waits again."""
        ...

    async def release(self, number: int, lease: int) -> None:
        """Give back all that a claim holds, as if it had never been."""
        ...

    async def held(
        self, number: int, worker: str, items: Sequence[Reference], *, lease_s_min: int
    ) -> Sequence[Held]:
        """Return those items that the worker holds, and let it hold them for that long."""
        ...

    async def heartbeat(self, number: int, worker: str, items: Sequence[Reference]) -> int:
        """Renew leases; return how many the worker still holds."""
        ...

    async def finish(self, number: int, items: Sequence[Held]) -> int:
        """Take completed items off the queue; return how many were still held."""
        ...

    async def requeue(self, number: int, items: Sequence[Held]) -> None:
        """Let items wait again whose rows changed while they were processed."""
        ...

    async def judge(self, number: int, verdicts: Sequence[Verdict]) -> int:
        """Let failed items wait or give them up; return how many were still held."""
        ...

    async def reset_failed(self, number: int) -> int:
        """Let all items wait that were given up."""
        ...

    async def find(self, number: int, keys: Sequence[ItemKey]) -> Sequence[FoundItem]:
        """Return what is known of the items that are in the queue."""
        ...

    async def failed(
        self, number: int, *, after: ItemKey | None, limit: int
    ) -> Sequence[FailedItem]:
        """Return items that were given up, by namespace and id."""
        ...

    async def figures(self, number: int, *, window_s: int) -> QueueFigures:
        """Count items, in a time that does not depend on how many wait."""
        ...

    async def all_figures(self, *, window_s: int) -> Mapping[int, QueueFigures]:
        """Count the items of every function that has any."""
        ...

    async def fold(self, *, older_than_s: int) -> None:
        """Sum up what was noted, and remove what no rate needs any more."""
        ...
