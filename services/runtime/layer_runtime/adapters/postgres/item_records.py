"""Records of the table of items, as what the use cases take."""

from __future__ import annotations

import asyncpg

from layer_runtime.adapters.postgres.moments import epoch_ms
from layer_runtime.domain.items import FoundItem, Held, ItemKey, ItemState


def held_item(row: asyncpg.Record) -> Held:
    """Return an item that a worker holds."""
    return Held(
        key=item_key(row),
        lease=row["lease"],
        attempts=row["attempts"],
        generation=row["generation"],
        was_written=row["generation"] > row["claimed_generation"],
        version=row["version"] or "",
        stamp_ms=row["stamp_ms"],
        digest=row["digest"] or b"",
    )


def found_item(row: asyncpg.Record) -> FoundItem:
    """Return what is known of an item that is in the queue."""
    is_failed, is_held = row["failed_at"] is not None, row["is_held"]
    if is_failed:
        state = ItemState.FAILED
    else:
        state = ItemState.PROCESSING if is_held else ItemState.PENDING
    return FoundItem(
        key=item_key(row),
        state=state,
        lease=row["lease"] if is_held else 0,
        attempts=row["attempts"],
        message=row["message"] or "",
        worker=row["worker"] if is_held else "",
        claimable_at_ms=None if is_failed else epoch_ms(row["due_at"]),
    )


def item_key(row: asyncpg.Record) -> ItemKey:
    return ItemKey(row["namespace"], row["id"])
