"""The query body: whose query is it, and what does layer send upstream for its own.

docs/reference/http.md, "Queries" has the rules. A query that uses a feature of the store that layer
does not add to is the store's own, and passes byte for byte.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from layer_kit.errors import InvalidRequestError
from layer_wire.cursors import Cursor, parse_cursor
from layer_wire.filters import Filter, Written
from layer_wire.ids import JsonId
from layer_wire.jsontext import (
    ABSENT,
    Raw,
    RawObject,
    decode,
    decode_object_around_numbers,
    encode,
    is_null,
    raw,
)
from layer_wire.ranking import is_by_distance

TOP_K_DEFAULT: Final = 10
UPSTREAM_ROWS_MAX: Final = 10_000
"""Rows that upstream returns for one query at most."""

NEAREST_IDS_MAX: Final = 1000
NATIVE_FIELDS: Final = frozenset(
    {
        "queries",
        "aggregate_by",
        "group_by",
        "limit",
        "exclude_attributes",
        "distance_metric",
        "vector_encoding",
        "rerank_by",
        "compute_attributes",
        "offset",
    }
)
"""A query that uses one of these is passed on as it is."""

VECTOR_ATTRIBUTE: Final = "vector"

_EMPTY_LIST: Final = re.compile(rb"[\[\] \n\t\r]*")


class _LayerBody(msgspec.Struct):
    nearest_to_id: list[str | int] | None = None
    top_k: int | None = None
    as_of: int | None = None
    between: tuple[int, int] | None = None
    include_attributes: bool | list[str] | None = None
    cursor: str | None = None
    consistency: Raw = ABSENT


_LAYER_BODY: Final[msgspec.json.Decoder[_LayerBody]] = msgspec.json.Decoder(_LayerBody)
CHECKED_FIELDS: Final = frozenset(_LayerBody.__struct_fields__)
"""What is read of a query; vector, rank_by and filters go to the store as they are."""


class _Consistency(msgspec.Struct):
    level: Literal["eventual", "strong"] = "eventual"


_CONSISTENCY: Final[msgspec.json.Decoder[_Consistency]] = msgspec.json.Decoder(_Consistency)


class LayerQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A checked Layer query. Exactly one of vector, nearest_to_id and rank_by is set."""

    vector: Raw | None
    nearest_to_id: list[JsonId] | None
    rank_by: Raw | None
    top_k: int
    filter: Filter | None
    """The caller's own."""
    written: Written | None
    include_attributes: bool | list[str] | None
    drops_vector: bool
    """Whether the caller named ``vector``, which a query never returns."""
    cursor: Cursor | None
    consistency: Literal["eventual", "strong"] = "eventual"

    @property
    def is_nearest(self) -> bool:
        """Tell whether rows come by ascending distance, so that a cursor can continue them."""
        return self.rank_by is None or is_by_distance(self.rank_by)


def is_native(fields: RawObject) -> bool:
    """Tell whether a query is the store's own, to be passed on untouched."""
    if not NATIVE_FIELDS.isdisjoint(fields):
        for name in NATIVE_FIELDS.intersection(fields):
            if not is_null(fields[name]):
                return True
    return has(fields, "rank_by") and not has(fields, "top_k")


def has(fields: RawObject, name: str) -> bool:
    """Tell whether a field is there; null counts as absent."""
    return name in fields and not is_null(fields[name])


def parse_layer_query(body: bytes) -> LayerQuery:
    """Check a Layer query.

    Raises:
        MalformedRequestError: ``JSON_MALFORMED``.
        InvalidRequestError: Naming the field that is wrong.
    """
    return layer_query(decode_query(body))


def layer_query(fields: RawObject) -> LayerQuery:
    """Check the fields of a Layer query; errors as for :func:`parse_layer_query`."""
    checked = {name: value for name, value in fields.items() if name in CHECKED_FIELDS}
    found = decode(_LAYER_BODY, encode(checked))
    vector = _value(fields.get("vector", ABSENT))
    rank_by = _value(fields.get("rank_by", ABSENT))
    sources = [vector is not None, found.nearest_to_id is not None, rank_by is not None]
    if sum(sources) != 1:
        raise InvalidRequestError(
            "QUERY_SOURCE", "A query names exactly one of vector, nearest_to_id and rank_by."
        )
    if vector is not None and _EMPTY_LIST.fullmatch(vector):
        raise InvalidRequestError("VECTOR_EMPTY", "vector is empty.", field="vector")
    if found.nearest_to_id is not None:
        _check_nearest(found.nearest_to_id)
    include, drops_vector = without_vector(found.include_attributes)
    return LayerQuery(
        vector=vector,
        nearest_to_id=found.nearest_to_id,
        rank_by=rank_by,
        top_k=checked_top_k(found.top_k),
        filter=_value(fields.get("filters", ABSENT)),
        written=written_span(found.as_of, found.between),
        include_attributes=include,
        drops_vector=drops_vector,
        cursor=None if found.cursor is None else parse_cursor(found.cursor),
        consistency=consistency_level(found.consistency),
    )


def checked_top_k(top_k: int | None) -> int:
    """Return how many rows are wanted.

    Raises:
        InvalidRequestError: ``TOP_K_RANGE``.
    """
    if top_k is None:
        return TOP_K_DEFAULT
    if top_k < 1:
        raise InvalidRequestError("TOP_K_RANGE", "top_k is at least 1.", field="top_k")
    return top_k


def without_vector(
    include: bool | list[str] | None,  # noqa: FBT001 -- it is what the contract calls it
) -> tuple[bool | list[str] | None, bool]:
    """Return the attributes that may be asked for, and whether ``vector`` was among them."""
    if not isinstance(include, list):
        return include, False
    kept = [name for name in include if name != VECTOR_ATTRIBUTE]
    return kept, len(kept) < len(include)


def consistency_level(consistency: Raw) -> Literal["eventual", "strong"]:
    """Read how recent rows must be: eventual unless the caller insists.

    Raises:
        InvalidRequestError: ``JSON_SHAPE``.
    """
    if is_null(consistency):
        return "eventual"
    return decode(_CONSISTENCY, consistency, what="consistency").level


def rank_by_vector(vector: Raw) -> Raw:
    """Rank by distance to ``vector`` in the attribute of that name."""
    return raw([VECTOR_ATTRIBUTE, "ANN", vector])


MOMENTS_MS: Final = range(-(2**63), 2**63)
"""What the store takes for a number that rows are filtered by."""


def written_span(as_of: int | None, between: tuple[int, int] | None) -> Written | None:
    """Return the span in which rows must have been written last; None for any time.

    Raises:
        InvalidRequestError: ``TIME_TWICE`` when both are given, ``BETWEEN_ORDER``, ``TIME_RANGE``.
    """
    if between is None:
        return None if as_of is None else Written(until_ms=_moment("as_of", as_of))
    if as_of is not None:
        raise InvalidRequestError(
            "TIME_TWICE", "as_of and between exclude each other.", field="as_of"
        )
    after, until = _moment("between", between[0]), _moment("between", between[1])
    if after >= until:
        raise InvalidRequestError(
            "BETWEEN_ORDER",
            "between is [after, until] with after before until.",
            field="between",
        )
    return Written(after_ms=after, until_ms=until)


def _moment(field: str, epoch_ms: int) -> int:
    if epoch_ms not in MOMENTS_MS:
        raise InvalidRequestError(
            "TIME_RANGE", f"{field} is in milliseconds since 1970, in 64 bits.", field=field
        )
    return epoch_ms


def decode_query(body: bytes) -> RawObject:
    """Decode a query body to its fields, for :func:`is_native`.

    Raises:
        MalformedRequestError: ``JSON_MALFORMED``.
        InvalidRequestError: ``JSON_SHAPE`` when it is no object.
    """
    return decode_object_around_numbers(body)


def _value(value: Raw) -> Raw | None:
    return None if is_null(value) else value


def _check_nearest(ids: list[str | int]) -> None:
    if not 1 <= len(ids) <= NEAREST_IDS_MAX:
        raise InvalidRequestError(
            "NEAREST_IDS_RANGE",
            f"nearest_to_id names 1 to {NEAREST_IDS_MAX} ids.",
            field="nearest_to_id",
        )
