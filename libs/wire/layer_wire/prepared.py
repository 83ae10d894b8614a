"""Queries that come over and over but for their vector: read once, and remembered without it."""

from __future__ import annotations

import functools
from enum import Enum, auto
from typing import Final

import msgspec

from layer_kit.errors import LayerError
from layer_wire.jsontext import (
    LONG_LIST_BYTES_MIN,
    STAND_IN,
    RawObject,
    decode_object,
    field_of_stand_in,
    is_long_list_of_numbers,
    long_list_of_numbers,
    with_numbers,
    without_numbers,
)
from layer_wire.multi_queries import is_multi_query
from layer_wire.queries import CHECKED_FIELDS, LayerQuery, is_native, layer_query
from layer_wire.search_bodies import is_search

PREPARED_MAX: Final = 1024
REMEMBERED_BYTES_MAX: Final = 2048
"""Longer ones are read each time, so that what is remembered stays below some 10 MiB."""


class QueryForm(Enum):
    """Whose a query is, as far as its fields tell."""

    NATIVE = auto()
    """The store's own."""
    PLAIN = auto()
    """Layer's, of one ranking that it brings itself, and without a cursor."""


NATIVE: Final = QueryForm.NATIVE


class Prepared:
    """A query without its first long list of numbers, which for most is their vector.

    Attributes:
        shape: Whether it names filters, and whether it names ``rank_by``.
        query: Of a plain one; the stand-in is in the place of the list.
        fields: Likewise.
        place: The field in which the stand-in is.
        before: Its text up to the stand-in.
        is_remembered: Whether the same object stands for the query when it comes once more, so that
            what follows from it may be kept with it.
    """

    __slots__ = (
        "_after",
        "_after_bytes",
        "_before_bytes",
        "before",
        "fields",
        "form",
        "is_remembered",
        "place",
        "query",
        "shape",
    )

    def __init__(
        self,
        form: QueryForm,
        text: bytes,
        fields: RawObject,
        place: str | None,
        query: LayerQuery | None,
    ) -> None:
        self.form = form
        self.is_remembered = len(text) <= REMEMBERED_BYTES_MAX
        self.shape = "filters" in fields, "rank_by" in fields
        self.query = query
        self.fields = fields
        self.place = place
        self.before, _, self._after = text.partition(STAND_IN)
        self._before_bytes = len(self.before)
        self._after_bytes = len(self._after)

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be told of another text that this is it with other numbers."""
        return self.is_remembered and self.place is not None

    def numbers_in(self, data: bytes, start: int) -> memoryview | None:
        """Return the list of numbers in a query that is like this one but for them; else None.

        Args:
            data: Ends with the query, which begins at ``start``.
        """
        if not data.startswith(self.before, start):
            return None
        numbers, begin = self.presumed_in(data, start), start + self._before_bytes
        if numbers is None or not is_long_list_of_numbers(data, begin, begin + len(numbers)):
            return None
        return numbers

    def presumed_in(self, data: bytes, start: int) -> memoryview | None:
        """Return what is in the place of the list in a query that begins, and ends, like this one.

        None also where that is too short for such a list. Whether :func:`are_numbers` takes longer
        to tell than this.

        Args:
            data: Ends with the query, which begins, at ``start``, with ``before``.
        """
        begin, end = start + self._before_bytes, len(data) - self._after_bytes
        if end - begin < LONG_LIST_BYTES_MIN or not data.endswith(self._after):
            return None
        return memoryview(data)[begin:end]


def are_numbers(text: memoryview) -> bool:
    """Tell whether a text is one long list of numbers."""
    return is_long_list_of_numbers(bytes(text), 0, len(text))


class QueryAtHand(msgspec.Struct, frozen=True, eq=False):
    """A prepared query as it has come once more.

    Attributes:
        numbers: The list that the stand-in stands for.
    """

    prepared: Prepared
    numbers: memoryview | None

    @property
    def fields(self) -> RawObject:
        """Those of the body as they came."""
        fields, place = self.prepared.fields, self.prepared.place
        if self.numbers is None or place is None:
            return fields
        return {**fields, place: with_numbers(fields[place], self.numbers)}


class QueryReader:
    """Reads queries that mostly differ from the one before in nothing but their list of numbers.

    What is read is what :func:`prepare` reads; like that one it raises nothing.
    """

    __slots__ = ("_latest",)

    def __init__(self) -> None:
        self._latest: Prepared | None = None

    def read(self, data: bytes, start: int = 0) -> QueryAtHand | None:
        """Read a query, which begins in ``data`` at ``start`` and ends with it."""
        latest = self._latest
        if latest is not None:
            numbers = latest.numbers_in(data, start)
            if numbers is not None:
                return QueryAtHand(latest, numbers)
        query = prepare(data[start:])
        if query is not None and query.prepared.is_repeatable:
            self._latest = query.prepared
        return query


def prepare(body: bytes) -> QueryAtHand | None:
    """Read a query that is native or plain; None for others, and for those that are not valid."""
    text, numbers = without_numbers(body, long_list_of_numbers(body))
    read = _remembered if len(text) <= REMEMBERED_BYTES_MAX else _read
    prepared = read(text, numbers is not None)
    return None if prepared is None else QueryAtHand(prepared, numbers)


def _read(text: bytes, has_numbers: bool) -> Prepared | None:  # noqa: FBT001 -- of a cached call
    try:
        fields = decode_object(text)
        place = field_of_stand_in(fields) if has_numbers else None
        if (has_numbers and place is None) or is_search(fields) or is_multi_query(fields):
            return None
        if is_native(fields):
            return Prepared(QueryForm.NATIVE, text, fields, place, None)
        if place in CHECKED_FIELDS:
            return None  # what is read of it is the list, not what stands in for it
        query = layer_query(fields)
    except LayerError:
        return None
    if query.cursor is not None or query.nearest_to_id is not None:
        return None
    return Prepared(QueryForm.PLAIN, text, fields, place, query)


_remembered: Final = functools.lru_cache(PREPARED_MAX)(_read)
