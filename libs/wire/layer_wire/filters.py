"""Composing Turbopuffer filters around a caller's own, which stays untouched JSON.

Order matters to nobody upstream but is fixed (docs/reference/http.md, "Queries"): the
caller's filter is innermost, then time, then the watermark, then the shard.
"""

from __future__ import annotations

from layer_wire.jsontext import Raw, raw
from layer_wire.reserved import SHARD, UPSERTED_AT

Filter = Raw
"""A filter as JSON text."""


def both(inner: Filter | None, added: Filter | None) -> Filter | None:
    """Return the conjunction of two filters, either of which may be absent."""
    if inner is None:
        return added
    if added is None:
        return inner
    return raw(["And", [inner, added]])


def upserted_until(epoch_ms: int) -> Filter:
    """Keep rows stamped at or before ``epoch_ms``."""
    return raw([UPSERTED_AT, "Lte", epoch_ms])


def upserted_between(after_ms: int, until_ms: int) -> Filter:
    """Keep rows stamped after ``after_ms`` and at or before ``until_ms``."""
    return raw(["And", [[UPSERTED_AT, "Gt", after_ms], [UPSERTED_AT, "Lte", until_ms]]])


def in_shard(shard: int) -> Filter:
    """Keep rows of one shard."""
    return raw([SHARD, "Eq", shard])
