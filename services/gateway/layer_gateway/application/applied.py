"""Which rows a write changed, as the store tells it of conditional writes and those by filter."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from layer_gateway.ports.stores import StoreAnswer
from layer_wire import ids as wire_ids
from layer_wire.ids import IdKind, JsonId
from layer_wire.rows import WriteAnswer, write_answer
from layer_wire.stamping import CacheRows, StampedWrite


def applied(
    stamped: StampedWrite, answer: StoreAnswer, id_kind: IdKind | None
) -> tuple[CacheRows, CacheRows, list[bytes]] | None:
    """Split a conditional write by what the store says it applied; None when it does not say."""
    found = _what_changed(answer)
    if found is None:
        return None
    upserted = _canonical(found.upserted_ids, id_kind)
    patched = _canonical(found.patched_ids, id_kind)
    deleted = _canonical(found.deleted_ids, id_kind)
    touched = upserted | patched | deleted
    lifted = [id_ for id_ in stamped.ids if id_ not in touched]
    return _only(stamped.puts, upserted), _only(stamped.patches, patched), lifted


def _what_changed(answer: StoreAnswer) -> WriteAnswer | None:
    """Read which rows a write changed; None when the store does not say, or not readably."""
    try:
        found = write_answer.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    said = (found.upserted_ids, found.patched_ids, found.deleted_ids)
    if found.rows_affected and all(ids is None for ids in said):
        return None
    return found


def changed_ids(answer: StoreAnswer, id_kind: IdKind | None) -> Sequence[bytes] | None:
    """Return the ids that a write by filter changed, or None when the store does not say."""
    found = _what_changed(answer)
    if found is None:
        return None
    lists = (found.upserted_ids, found.patched_ids, found.deleted_ids)
    return [id_ for ids in lists for id_ in _canonical(ids, id_kind)]


def _canonical(ids: Sequence[JsonId] | None, id_kind: IdKind | None) -> set[bytes]:
    return {wire_ids.canonical(id_, id_kind) for id_ in ids or ()}


def _only(rows: CacheRows, ids: set[bytes]) -> CacheRows:
    kept = [at for at, id_ in enumerate(rows.ids) if id_ in ids]
    return CacheRows(
        ids=[rows.ids[at] for at in kept],
        bodies=[rows.bodies[at] for at in kept],
        vectors=[rows.vectors[at] for at in kept],
    )
