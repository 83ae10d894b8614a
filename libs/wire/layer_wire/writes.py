"""The write body, decoded to its rows in one pass (docs/reference/http.md, "Writes").

A body of known fields is decoded to rows of raw values at once. One with fields we do not know
takes a second pass, which keeps them, since upstream may know more than we do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from layer_kit.errors import InvalidRequestError
from layer_kit.turns import Steps, at_once
from layer_wire.filters import not_id
from layer_wire.jsontext import (
    NULL,
    Piece,
    Raw,
    RawObject,
    decode,
    decode_object,
    raw,
)
from layer_wire.long_vectors import by_row, without_long_vectors
from layer_wire.reserved import MARKER_ID

ROW_FIELDS: Final = ("upsert_rows", "patch_rows")
COLUMN_FIELDS: Final = ("upsert_columns", "patch_columns")
CONDITION_FIELDS: Final = ("upsert_condition", "patch_condition", "delete_condition")
BY_FILTER_FIELDS: Final = ("patch_by_filter", "delete_by_filter")
OLD_DIALECT_FIELDS: Final = ("upserts", "patches")

_ROWS: Final[msgspec.json.Decoder[list[RawObject]]] = msgspec.json.Decoder(list[RawObject])


class _KnownBody(msgspec.Struct, forbid_unknown_fields=True):
    """The fields of a write, for decoding the usual body in a single pass."""

    upsert_rows: list[RawObject] | msgspec.UnsetType = msgspec.UNSET
    patch_rows: list[RawObject] | msgspec.UnsetType = msgspec.UNSET
    upsert_columns: RawObject | msgspec.UnsetType = msgspec.UNSET
    patch_columns: RawObject | msgspec.UnsetType = msgspec.UNSET
    deletes: Raw | msgspec.UnsetType = msgspec.UNSET
    upsert_condition: Raw | msgspec.UnsetType = msgspec.UNSET
    patch_condition: Raw | msgspec.UnsetType = msgspec.UNSET
    delete_condition: Raw | msgspec.UnsetType = msgspec.UNSET
    delete_by_filter: Raw | msgspec.UnsetType = msgspec.UNSET
    delete_by_filter_allow_partial: Raw | msgspec.UnsetType = msgspec.UNSET
    patch_by_filter: Raw | msgspec.UnsetType = msgspec.UNSET
    patch_by_filter_allow_partial: Raw | msgspec.UnsetType = msgspec.UNSET
    return_affected_ids: Raw | msgspec.UnsetType = msgspec.UNSET
    distance_metric: Raw | msgspec.UnsetType = msgspec.UNSET
    schema: Raw | msgspec.UnsetType = msgspec.UNSET
    create_namespace: Raw | msgspec.UnsetType = msgspec.UNSET
    disable_backpressure: Raw | msgspec.UnsetType = msgspec.UNSET


_KNOWN: Final[msgspec.json.Decoder[_KnownBody]] = msgspec.json.Decoder(_KnownBody)


@dataclass(slots=True, kw_only=True)
class WriteBody:
    """A decoded write. ``rows`` and ``columns`` hold the operations that carry rows."""

    rows: dict[str, list[RawObject]]
    columns: dict[str, RawObject]
    rest: RawObject
    """Every other field, untouched."""
    vectors: list[Piece] | None = None
    """The long vectors of ``upsert_rows``, taken out of them: for each row its field, or nothing.
    None when the rows have theirs."""

    @property
    def has_row_operation(self) -> bool:
        return (
            bool(self.rows or self.columns) or self.is_by_filter or not_null(self.rest, "deletes")
        )

    @property
    def is_by_filter(self) -> bool:
        return any(not_null(self.rest, name) for name in BY_FILTER_FIELDS)

    @property
    def is_conditional(self) -> bool:
        return any(not_null(self.rest, name) for name in CONDITION_FIELDS)

    @property
    def wants_affected_ids(self) -> bool:
        return bytes(self.rest.get("return_affected_ids", b"false")) == b"true"

    @property
    def touches_schema(self) -> bool:
        return not_null(self.rest, "schema")


def decode_write(body: bytes) -> WriteBody | None:
    """Do all of :func:`decoding` at once."""
    return at_once(decoding(body))


def decoding(body: bytes) -> Steps[WriteBody | None]:
    """Decode a write body; None when it is no object or has no fields we could check.

    Raises:
        MalformedRequestError: ``JSON_MALFORMED``.
        InvalidRequestError: ``WRITE_EMPTY``, ``WRITE_OLD_DIALECT`` or ``JSON_SHAPE``.
    """
    if not body.lstrip().startswith(b"{"):
        decode(msgspec.json.Decoder(msgspec.Raw), body)
        return None
    try:
        known, vectors = yield from _decode_known(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_in_two_passes(body)  # an unknown field, or a fault that it will name
    fields = {name: getattr(known, name) for name in known.__struct_fields__}
    present = {name: value for name, value in fields.items() if value is not msgspec.UNSET}
    if not present:
        raise _empty()
    return WriteBody(
        rows={name: present.pop(name) for name in ROW_FIELDS if name in present},
        columns={name: present.pop(name) for name in COLUMN_FIELDS if name in present},
        rest=present,
        vectors=vectors,
    )


def _decode_known(body: bytes) -> Steps[tuple[_KnownBody, list[Piece] | None]]:
    """Decode a body of known fields, and its long vectors apart where only rows have them."""
    text, vectors = yield from without_long_vectors(body)
    if not vectors:
        return _KNOWN.decode(body), None
    known = _KNOWN.decode(text)
    yield
    rows = known.upsert_rows
    found = None if rows is msgspec.UNSET else by_row(rows, vectors)
    return (known, found) if found is not None else (_KNOWN.decode(body), None)


def _decode_in_two_passes(body: bytes) -> WriteBody:
    fields = decode_object(body)
    if not fields:
        raise _empty()
    for name in OLD_DIALECT_FIELDS:
        if name in fields:
            raise InvalidRequestError(
                "WRITE_OLD_DIALECT",
                f"{name} is not a write field; send upsert_rows, patch_rows or deletes.",
                field=name,
            )
    rows = {name: _rows(fields, name) for name in ROW_FIELDS if not_null(fields, name)}
    columns = {name: _columns(fields, name) for name in COLUMN_FIELDS if not_null(fields, name)}
    rest = {
        name: value
        for name, value in fields.items()
        if name not in ROW_FIELDS and name not in COLUMN_FIELDS
    }
    return WriteBody(rows=rows, columns=columns, rest=rest)


def unmarked(write: WriteBody) -> WriteBody:
    """Return a write whose filters leave the marker of a namespace alone.

    It has none of the caller's attributes, so that any filter on what is not, or is less than
    something, would take it for a row of theirs.
    """
    rest, not_marker = dict(write.rest), not_id(MARKER_ID)
    if not_null(rest, "delete_by_filter"):
        rest["delete_by_filter"] = raw(["And", [rest["delete_by_filter"], not_marker]])
    if not_null(rest, "patch_by_filter"):
        patch = decode_object(rest["patch_by_filter"], what="patch_by_filter")
        if not_null(patch, "filters"):
            filters = raw(["And", [patch["filters"], not_marker]])
            rest["patch_by_filter"] = raw(patch | {"filters": filters})
    return replace(write, rest=rest)


def not_null(fields: Mapping[str, Raw], name: str) -> bool:
    """Tell whether a field is present with a value; upstream reads null as absent."""
    return name in fields and bytes(fields[name]) != NULL


def _rows(fields: RawObject, name: str) -> list[RawObject]:
    return decode(_ROWS, fields[name], what=name)


def _columns(fields: RawObject, name: str) -> RawObject:
    return decode_object(fields[name], what=name)


def _empty() -> InvalidRequestError:
    return InvalidRequestError(
        "WRITE_EMPTY",
        "The body must include a native Turbopuffer write operation, such as upsert_rows.",
    )
