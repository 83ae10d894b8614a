"""How two snapshots differ."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from layer_snapshots.domain.content import Body, Snapshot


class ValueChange(NamedTuple):
    """Rows of a value before and after; 0 where there was none."""

    value: str
    old_count: int
    new_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldDifference:
    """How the histogram of a field differs."""

    name: str
    changes: Sequence[ValueChange] = ()
    is_removed: bool = False
    """Only the old snapshot has a histogram of it."""
    is_added: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How a snapshot differs from an older one, or from any other."""

    old: Body
    new: Body
    row_count_change: int | None
    fields: Sequence[FieldDifference]
    """Those that differ, by name."""


def difference(old: Snapshot, new: Snapshot, names: Collection[str] = ()) -> Difference:
    """Compare the histograms of two snapshots; no names means of all fields."""
    known = old.counts.keys() | new.counts.keys()
    fields = [_field(old, new, name) for name in sorted(known & set(names) if names else known)]
    counts = old.body.row_count, new.body.row_count
    change = None if counts[0] is None or counts[1] is None else counts[1] - counts[0]
    return Difference(
        old=old.body,
        new=new.body,
        row_count_change=change,
        fields=[field for field in fields if field.changes or field.is_removed or field.is_added],
    )


def _field(old: Snapshot, new: Snapshot, name: str) -> FieldDifference:
    before, after = old.counts.get(name), new.counts.get(name)
    if before is None or after is None:
        return FieldDifference(name=name, is_removed=after is None, is_added=before is None)
    changes = [
        ValueChange(value, before.get(value, 0), after.get(value, 0))
        for value in sorted(before.keys() | after.keys())
        if before.get(value) != after.get(value)
    ]
    return FieldDifference(name=name, changes=changes)
