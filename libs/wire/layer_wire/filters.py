"""Composing Turbopuffer filters around a caller's own, which stays untouched JSON.

Order matters to nobody upstream but is fixed (docs/reference/http.md, "Queries"): the
caller's filter is innermost, then time, then the watermark, then the shard.
"""

from __future__ import annotations

import functools

import msgspec

from layer_wire.jsontext import Raw, raw
from layer_wire.reserved import MARKER_ID, SHARD, UPSERTED_AT

Filter = Raw
"""A filter as JSON text."""


def both(inner: Filter | None, added: Filter | None) -> Filter | None:
    """Return the conjunction of two filters, either of which may be absent."""
    if inner is None:
        return added
    if added is None:
        return inner
    return raw(["And", [inner, added]])


def nested(*parts: Filter | None) -> Filter | None:
    """Return the conjunction of filters, of which the first is innermost; None where none is."""
    return functools.reduce(both, parts, None)


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A span of time in which rows were last written, in milliseconds since 1970."""

    after_ms: int | None = None
    until_ms: int

    @property
    def filter(self) -> Filter:
        if self.after_ms is None:
            return upserted_until(self.until_ms)
        return upserted_between(self.after_ms, self.until_ms)

    @property
    def has_unstamped(self) -> bool:
        """Tell whether rows that have no stamp count as written in it: as of any moment."""
        return self.after_ms is None


def upserted_until(epoch_ms: int) -> Filter:
    """Keep rows stamped at or before ``epoch_ms``."""
    return raw([UPSERTED_AT, "Lte", epoch_ms])


def upserted_between(after_ms: int, until_ms: int) -> Filter:
    """Keep rows stamped after ``after_ms`` and at or before ``until_ms``."""
    return raw(["And", [[UPSERTED_AT, "Gt", after_ms], [UPSERTED_AT, "Lte", until_ms]]])


def in_shard(shard: int) -> Filter:
    """Keep rows of one shard."""
    return raw([SHARD, "Eq", shard])


def fuzzy(attribute: str, token: str, edits_max: int) -> Filter:
    """Keep rows in which ``attribute`` has something like ``token``.

    Longer tokens are forgiven more: none up to 5 characters, 1 edit up to 8, 2 beyond, and never
    more than ``edits_max``. The store lets those of fewer than 3 characters match nothing.
    """
    rules = [
        {"min_query_chars": 3 * (edits + 1), "distance": edits} for edits in range(edits_max + 1)
    ]
    return raw([attribute, "Fuzzy", token, {"max_edit_distance": rules}])


def not_id(id_: str) -> Filter:
    """Leave out one row by its id."""
    return raw(["id", "NotEq", id_])


def after_id(id_: Raw) -> Filter:
    """Keep rows whose id follows one, in the order of ids."""
    return raw(["id", "Gt", id_])


def until_id(id_: Raw) -> Filter:
    """Keep rows up to an id, that included, in the order of ids."""
    return raw(["id", "Lte", id_])


def outside_shards(shard_count: int) -> Filter:
    """Keep rows that are in none of the shards, except the marker of a namespace."""
    return raw(["And", [not_id(MARKER_ID), unsharded(shard_count)]])


def unsharded(shard_count: int) -> Filter:
    """Keep rows that were stamped into no shard, or into more than there are."""
    return raw(["Or", [[SHARD, "Eq", None], [SHARD, "Gte", shard_count]]])
