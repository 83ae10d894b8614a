"""Stamping: every row of a write gets the time of its request and its shard.

One pass writes the rows out again with the stamps in them; the same encoding, without id and
vectors, is what the cache is offered. Vectors are never parsed, and long ones not copied. The rules
are those of docs/reference/http.md, "Writes".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Final

from layer_kit.errors import InvalidRequestError
from layer_kit.turns import Steps
from layer_wire import ids as wire_ids
from layer_wire.ids import IdKind, JsonId
from layer_wire.jsontext import Piece, Raw, RawObject, decode_object, encode, raw
from layer_wire.pieces import column_parts, encoded_rows, object_parts, row_parts, without_nulls
from layer_wire.reserved import OVERWRITTEN, SHARD, UPSERTED_AT, VECTOR_KEYS, Author
from layer_wire.row_checks import check_keys, decode_row_ids
from layer_wire.vectors import check_vector, joined_vectors, taken_vectors
from layer_wire.writes import WriteBody, not_null
from layer_wire.written_columns import decode_column

ROWS_AT_ONCE: Final = 256
"""Rows stamped in one step, which takes a millisecond."""


@dataclass(slots=True, kw_only=True)
class CacheRows:
    """Rows as the cache keeps them, in parallel columns."""

    ids: list[bytes] = field(default_factory=list)
    """Canonical ids."""
    bodies: list[bytes] = field(default_factory=list)
    """Attributes as a JSON object: no id, no vectors, in a put no nulls."""
    vectors: list[Piece] = field(default_factory=list)
    """``vector`` and ``vectors`` as fields of a JSON object, without its braces, or empty: they
    may be parts of the body that they came in."""

    def vector_objects(self) -> list[bytes]:
        """Return copies of the vectors, with their braces."""
        return list(map(vector_object, self.vectors))


def vector_object(fields: Piece) -> bytes:
    """Return the vectors of a row as a JSON object, or empty when it has none."""
    return b"".join((b"{", fields, b"}")) if fields else b""


@dataclass(slots=True, kw_only=True)
class StampedWrite:
    """What to send upstream, and what it does to which rows."""

    body: list[Piece]
    """Parts of the JSON to send, in order."""
    puts: CacheRows
    patches: CacheRows
    uncached: list[bytes]
    """Canonical ids of rows that change and that the cache cannot mirror: the deleted ones, and
    those whose attributes read back in another form than they were written in."""

    @property
    def ids(self) -> list[bytes]:
        """Return the canonical id of every row the write names."""
        return [*self.puts.ids, *self.patches.ids, *self.uncached]


def stamp(
    write: WriteBody,
    *,
    upserted_at_ms: int,
    shard_count: int,
    id_kind: IdKind | None,
    unmirrored: frozenset[str] = frozenset(),
    author: Author = Author.CLIENT,
) -> Steps[StampedWrite]:
    """Check ``write`` and put the two stamps into each row it carries.

    Args:
        upserted_at_ms: The stamp of every row.
        shard_count: Shards of the namespace, at least 1.
        id_kind: What the ids of the namespace are, where that is known.
        unmirrored: Attributes that upstream gives back in another form than it took them, such
            as dates; rows that carry one are not offered to the cache.
        author: Who writes, which says what rows may carry.

    Raises:
        InvalidRequestError: Naming the field and the row; nothing was changed.
    """
    stamper = _Stamper(upserted_at_ms, shard_count, id_kind, unmirrored, author.prefixes)
    sections: list[list[Piece]] = []
    puts, patches = CacheRows(), CacheRows()
    for name, rows in write.rows.items():
        is_patch = name == "patch_rows"
        set_aside = None if is_patch else write.vectors
        target = patches if is_patch else puts
        sections.append((yield from stamper.rows(name, rows, set_aside, target)))
    for name, columns in write.columns.items():
        target = puts if name == "upsert_columns" else patches
        sections.append((yield from stamper.columns(name, columns, target)))
    for name, value in write.rest.items():
        sent = value
        if name == "deletes" and not_null(write.rest, name):
            found = wire_ids.decode_ids(value, where="deletes")
            stamper.uncached += [wire_ids.canonical(id_, id_kind) for id_ in found]
        elif name == "patch_by_filter" and not_null(write.rest, name):
            sent = stamper.patch_by_filter(value)
        elif name == "return_affected_ids" and (write.is_conditional or write.is_by_filter):
            continue
        sections.append([b"".join((encode(name), b":", sent))])
    if write.is_conditional or write.is_by_filter:
        sections.append([b'"return_affected_ids":true'])
    return StampedWrite(
        body=object_parts(sections), puts=puts, patches=patches, uncached=stamper.uncached
    )


class _Stamper:
    """Writes rows and columns out again with the stamps of one request."""

    def __init__(
        self,
        upserted_at_ms: int,
        shard_count: int,
        id_kind: IdKind | None,
        unmirrored: frozenset[str],
        taken_prefixes: tuple[str, ...],
    ) -> None:
        self._at = raw(upserted_at_ms)
        self._shard_count = shard_count
        both = b'%d,"%b":' % (upserted_at_ms, SHARD.encode())
        self._stamps = [Raw(both + b"%d" % shard) for shard in range(shard_count)]
        """Both stamps from the value of the first on, by shard: one more key seldom makes a row
        grow, two do."""
        self._id_kind = id_kind
        self._unmirrored = unmirrored
        self._taken_prefixes = taken_prefixes
        self.uncached: list[bytes] = []

    def rows(
        self, name: str, rows: list[RawObject], set_aside: list[Piece] | None, target: CacheRows
    ) -> Steps[list[Piece]]:
        """Return ``"name":[…]`` with stamped rows, in pieces; add the rows to ``target``.

        Args:
            set_aside: For each row the vector that was taken out of it already.
        """
        pieces: list[Piece] = [b"%b:[" % encode(name)]
        for first in range(0, len(rows), ROWS_AT_ONCE):
            if first:
                pieces.append(b",")
                yield
            some = rows[first : first + ROWS_AT_ONCE]
            # Vectors are most of a write: they are sent from where they came in.
            vectors: list[Piece] = [b""] * len(some)
            if set_aside is not None:
                vectors = set_aside[first : first + ROWS_AT_ONCE]
            pieces += self._some_rows(name, first, some, vectors, target)
        return [*pieces, b"]"]

    def _some_rows(
        self,
        name: str,
        first: int,
        rows: list[RawObject],
        vectors: list[Piece],
        target: CacheRows,
    ) -> list[Piece]:
        """Return the same of those from ``first`` on, without what goes around them."""
        is_patch = name == "patch_rows"
        ids = decode_row_ids(name, first, rows)
        canonical_ids = wire_ids.canonical_all(ids, self._id_kind)
        keys = self._check_rows(name, first, rows, is_patch=is_patch)
        if not VECTOR_KEYS.isdisjoint(keys):
            for at, row in enumerate(rows):
                if found := [key for key in row if key in VECTOR_KEYS]:
                    where = f"{name}[{first + at}]"
                    vectors[at] = taken_vectors(row, found, vectors[at], where)
        if SHARD in keys:
            for row in rows:
                row.pop(SHARD, None)
        stamps = self._stamps
        for row, shard in zip(rows, wire_ids.shards(ids, self._shard_count), strict=True):
            row[UPSERTED_AT] = stamps[shard]
        id_texts = [row.pop("id") for row in rows]
        encoded, has_nulls = encoded_rows(rows)
        bodies = without_nulls(encoded, rows) if has_nulls and not is_patch else encoded
        self._offer(target, CacheRows(ids=canonical_ids, bodies=bodies, vectors=vectors), rows)
        return row_parts(id_texts, vectors, encoded)

    def _check_rows(
        self, name: str, first: int, rows: list[RawObject], *, is_patch: bool
    ) -> set[str]:
        """Check the keys of rows together, or one by one to name a fault; return all there are."""
        keys = set[str]().union(*rows)
        try:
            self._check_keys(keys, name, is_patch=is_patch)
        except InvalidRequestError:
            for at, row in enumerate(rows):
                self._check_keys(row, f"{name}[{first + at}]", is_patch=is_patch)
            raise
        return keys

    def columns(self, name: str, columns: RawObject, target: CacheRows) -> Steps[list[Piece]]:
        """Return ``"name":{…}`` with stamp columns, in pieces; add the rows to ``target``."""
        is_patch = name == "patch_columns"
        if "id" not in columns:
            raise InvalidRequestError("ID_MISSING", f"{name}.id is missing.", field=f"{name}.id")
        self._check_keys(columns, name, is_patch=is_patch)
        ids = wire_ids.decode_ids(columns["id"], where=f"{name}.id")
        if not ids:
            raise InvalidRequestError("ID_MISSING", f"{name}.id is empty.", field=f"{name}.id")
        lists: dict[str, list[Raw]] = {}
        for key, value in columns.items():
            if key != "id" and key not in OVERWRITTEN:
                lists[key] = decode_column(value, f"{name}.{key}", len(ids))
                yield
        shards = wire_ids.shards(ids, self._shard_count)
        lists[UPSERTED_AT] = [self._stamps[shard] for shard in shards]
        for first in range(0, len(ids), ROWS_AT_ONCE):
            some = slice(first, first + ROWS_AT_ONCE)
            rows = {key: values[some] for key, values in lists.items()}
            self._transpose(name, first, ids[some], rows, target, is_patch=is_patch)
            yield
        sent = {key: value for key, value in columns.items() if key not in OVERWRITTEN}
        stamps = {UPSERTED_AT: raw([self._at] * len(ids)), SHARD: raw(shards)}
        return column_parts(name, sent, stamps)

    def patch_by_filter(self, value: Raw) -> Raw:
        """Stamp the patch; its rows, and so their shards, are not known here."""
        fields = decode_object(value, what="patch_by_filter")
        if "patch" not in fields:
            return value  # upstream says what is missing
        patch = decode_object(fields["patch"], what="patch_by_filter.patch")
        self._check_keys(patch, "patch_by_filter.patch", is_patch=True)
        patch.pop(SHARD, None)
        return raw(fields | {"patch": raw(patch | {UPSERTED_AT: self._at})})

    def _check_keys(self, keys: Collection[str], where: str, *, is_patch: bool) -> None:
        check_keys(keys, where, is_patch=is_patch, taken_prefixes=self._taken_prefixes)

    def _transpose(
        self,
        name: str,
        first: int,
        ids: list[JsonId],
        lists: dict[str, list[Raw]],
        target: CacheRows,
        *,
        is_patch: bool,
    ) -> None:
        attribute_names = [key for key in lists if key not in VECTOR_KEYS]
        vector_names = [key for key in lists if key in VECTOR_KEYS]
        for key in vector_names:
            for at, value in enumerate(lists[key], first):
                check_vector(key, value, f"{name}[{at}]")
        columns = [lists[key] for key in attribute_names]
        canonical_ids = wire_ids.canonical_all(ids, self._id_kind)
        rows = [
            dict(zip(attribute_names, values, strict=True)) for values in zip(*columns, strict=True)
        ]
        encoded, has_nulls = encoded_rows(rows)
        offered = CacheRows(
            ids=canonical_ids,
            bodies=without_nulls(encoded, rows) if has_nulls and not is_patch else encoded,
            vectors=[
                joined_vectors({key: lists[key][at] for key in vector_names})
                for at in range(len(rows))
            ],
        )
        self._offer(target, offered, rows)

    def _offer(self, target: CacheRows, offered: CacheRows, rows: Sequence[RawObject]) -> None:
        """Tell the cache of rows, save those that would read back in another form."""
        kept = [self._unmirrored.isdisjoint(row) for row in rows] if self._unmirrored else None
        if kept is None or all(kept):
            target.ids += offered.ids
            target.bodies += offered.bodies
            target.vectors += offered.vectors
            return
        target.ids += compress(offered.ids, kept)
        target.bodies += compress(offered.bodies, kept)
        target.vectors += compress(offered.vectors, kept)
        self.uncached += [
            id_ for id_, is_kept in zip(offered.ids, kept, strict=True) if not is_kept
        ]
