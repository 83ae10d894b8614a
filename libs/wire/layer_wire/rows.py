"""Rows in upstream answers: read just far enough to sort, project and cache them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from operator import itemgetter
from typing import Annotated, Final, TypeVar

import msgspec

from layer_kit.errors import InvalidRequestError, UpstreamError
from layer_wire.ids import JsonId, decode_id
from layer_wire.jsontext import Piece, RawObject, encode
from layer_wire.reserved import VECTOR_KEYS

T = TypeVar("T")

RANK_KEY: Final = "$dist"


class QueryAnswer(msgspec.Struct):
    """The part of a query answer that layer reads."""

    rows: list[RawObject] = []


class WriteAnswer(msgspec.Struct):
    """The part of a write answer that settles the cache."""

    upserted_ids: list[JsonId] | None = None
    patched_ids: list[JsonId] | None = None
    deleted_ids: list[JsonId] | None = None
    rows_affected: int = 0


query_answer: Final[msgspec.json.Decoder[QueryAnswer]] = msgspec.json.Decoder(QueryAnswer)
_ID_OF: Final = itemgetter("id")
_IDS: Final = msgspec.json.Decoder(list[Annotated[int, msgspec.Meta(ge=0)] | str])
write_answer: Final[msgspec.json.Decoder[WriteAnswer]] = msgspec.json.Decoder(WriteAnswer)


def read_answer(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode what upstream answered.

    Raises:
        UpstreamError: ``UPSTREAM_UNREADABLE`` when it is not what the contract says.
    """
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamError(
            "UPSTREAM_UNREADABLE", f"The store's answer is not as its contract has it: {error}."
        ) from error


def row_id(row: RawObject) -> JsonId:
    """Return the id of a row that upstream sent.

    Raises:
        UpstreamError: ``UPSTREAM_UNREADABLE`` when it has none.
    """
    try:
        return decode_id(row["id"], where="id")
    except (KeyError, InvalidRequestError) as error:
        raise UpstreamError(
            "UPSTREAM_UNREADABLE", "The store's answer has a row without an id."
        ) from error


def row_ids(rows: Sequence[RawObject]) -> list[JsonId]:
    """Return the ids of rows that upstream sent, in a fraction of the time that each takes alone.

    Raises:
        UpstreamError: ``UPSTREAM_UNREADABLE`` when one has none.
    """
    try:
        return _IDS.decode(b"[%b]" % b",".join(map(_ID_OF, rows)))
    except (KeyError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamError(
            "UPSTREAM_UNREADABLE", "The store's answer has a row without an id."
        ) from error


def split_row(row: RawObject) -> tuple[bytes, Piece]:
    """Return a row's attributes as a JSON object, and its vectors as fields of one, or empty.

    Computed columns (``$dist``) and the id belong to neither.
    """
    attributes = {
        key: value
        for key, value in row.items()
        if key != "id" and key not in VECTOR_KEYS and not key.startswith("$")
    }
    vectors = {key: row[key] for key in VECTOR_KEYS if key in row}
    return encode(attributes), memoryview(encode(vectors))[1:-1] if vectors else b""


def project(attributes: RawObject, names: Collection[str] | None) -> RawObject:
    """Keep the named attributes; None keeps all."""
    if names is None:
        return attributes
    return {key: value for key, value in attributes.items() if key in names}
