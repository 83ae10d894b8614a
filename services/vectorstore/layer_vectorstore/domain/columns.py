"""Columns of scalar and array attributes: append-only, compared a whole column at a time.

``rows`` is everywhere either a slice from the first slot or an array of slots; masks that come
back line up with it. Missing values match no comparison here: which operators match a missing
value is decided by the filters.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from layer_vectorstore.domain.attribute_types import AttributeType, Element, Kind
from layer_vectorstore.domain.growing import GrowingArray
from layer_vectorstore.domain.values import Scalar

Mask = NDArray[np.bool_]
Slots = NDArray[np.int64]
Rows = slice | Slots

COMPARISONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "Lt": operator.lt,
    "Lte": operator.le,
    "Gt": operator.gt,
    "Gte": operator.ge,
}
NUMBER_DTYPES: Final[dict[Element, Any]] = {
    Element.INT: np.int64,
    Element.UINT: np.uint64,
    Element.FLOAT: np.float64,
    Element.DATETIME: np.int64,
    Element.BOOL: np.bool_,
}


class ScalarColumn(Protocol):
    """One value or none per slot."""

    def extend(self, values: Sequence[Any]) -> None: ...
    def extend_missing(self, count: int) -> None: ...
    def values(self, rows: Rows) -> list[Any]: ...
    def present(self, rows: Rows) -> Mask: ...
    def equal(self, value: Scalar, rows: Rows) -> Mask: ...
    def member(self, values: Sequence[Scalar], rows: Rows) -> Mask: ...
    def compare(self, comparison: str, value: Scalar, rows: Rows) -> Mask: ...
    def ranks(self, rows: Rows) -> NDArray[Any]:
        """Return numbers that sort as the values do, with anything for a missing value."""
        ...


class NumberColumn:
    """Integers, floats, booleans and datetimes."""

    def __init__(self, element: Element) -> None:
        dtype = NUMBER_DTYPES[element]
        self._dtype = dtype
        self._numbers: GrowingArray[Any] = GrowingArray(dtype)
        self._present: GrowingArray[np.bool_] = GrowingArray(np.bool_)

    def extend(self, values: Sequence[Any]) -> None:
        filled = [value is not None for value in values]
        self._numbers.extend(np.array([value or 0 for value in values], dtype=self._dtype))
        self._present.extend(np.array(filled, dtype=np.bool_))

    def extend_missing(self, count: int) -> None:
        self._numbers.fill(0, count)
        self._present.fill(value=False, count=count)

    def values(self, rows: Rows) -> list[Any]:
        numbers = self._numbers.view()[rows].tolist()
        present = self._present.view()[rows].tolist()
        return [value if filled else None for value, filled in zip(numbers, present, strict=True)]

    def present(self, rows: Rows) -> Mask:
        return self._present.view()[rows]

    def equal(self, value: Scalar, rows: Rows) -> Mask:
        matching: Mask = self.numbers(rows) == self._dtype(value)
        return matching & self.present(rows)

    def member(self, values: Sequence[Scalar], rows: Rows) -> Mask:
        return np.isin(self.numbers(rows), np.array(values, dtype=self._dtype)) & self.present(rows)

    def compare(self, comparison: str, value: Scalar, rows: Rows) -> Mask:
        matching: Mask = COMPARISONS[comparison](self.numbers(rows), self._dtype(value))
        return matching & self.present(rows)

    def ranks(self, rows: Rows) -> NDArray[Any]:
        return self.numbers(rows)

    def numbers(self, rows: Rows) -> NDArray[Any]:
        """Return the raw numbers, 0 where a value is missing."""
        return self._numbers.view()[rows]


class TextColumn:
    """Strings and UUIDs, each distinct one kept once and told apart by its code.

    Code points sort as their UTF-8 bytes do, so Python's string order is the contract's.
    """

    def __init__(self) -> None:
        self._codes: GrowingArray[np.int32] = GrowingArray(np.int32)
        self._texts: list[str] = []
        self._code_of: dict[str, int] = {}
        self._sorted: tuple[int, NDArray[np.int64]] = (0, np.empty(0, dtype=np.int64))

    def extend(self, values: Sequence[Any]) -> None:
        code_of, texts = self._code_of, self._texts
        codes = np.empty(len(values), dtype=np.int32)
        for index, value in enumerate(values):
            if value is None:
                codes[index] = -1
                continue
            code = code_of.get(value)
            if code is None:
                code = code_of[value] = len(texts)
                texts.append(value)
            codes[index] = code
        self._codes.extend(codes)

    def extend_missing(self, count: int) -> None:
        self._codes.fill(-1, count)

    def values(self, rows: Rows) -> list[Any]:
        texts = self._texts
        return [texts[code] if code >= 0 else None for code in self._codes.view()[rows].tolist()]

    def present(self, rows: Rows) -> Mask:
        return self._codes.view()[rows] >= 0

    def equal(self, value: Scalar, rows: Rows) -> Mask:
        # -2 is no row's code: neither that of a text nor that of a missing one.
        matching: Mask = self._codes.view()[rows] == self._code_of.get(str(value), -2)
        return matching

    def member(self, values: Sequence[Scalar], rows: Rows) -> Mask:
        codes = [self._code_of.get(str(value), -2) for value in values]
        return np.isin(self._codes.view()[rows], np.array(codes, dtype=np.int32))

    def compare(self, comparison: str, value: Scalar, rows: Rows) -> Mask:
        compare = COMPARISONS[comparison]
        return self.matching(lambda text: compare(text, value), rows)

    def matching(self, predicate: Callable[[str], bool], rows: Rows) -> Mask:
        """Return where ``predicate`` holds; it is asked once per distinct text."""
        codes = self._codes.view()[rows]
        texts = self._texts
        if len(codes) < len(texts):
            distinct, inverse = np.unique(codes, return_inverse=True)
            allowed = [code >= 0 and predicate(texts[code]) for code in distinct.tolist()]
            return np.array(allowed, dtype=np.bool_)[inverse]
        # One more than there are texts: code -1, a missing value, indexes the last, False.
        verdicts = np.fromiter(map(predicate, texts), dtype=np.bool_)
        return np.append(verdicts, False)[codes]

    def ranks(self, rows: Rows) -> NDArray[Any]:
        codes = self._codes.view()[rows]
        count, ranks = self._sorted
        if count < len(self._texts):
            count = len(self._texts)
            order = sorted(range(count), key=self._texts.__getitem__)
            ranks = np.empty(count + 1, dtype=np.int64)
            ranks[order] = np.arange(count)
            ranks[count] = -1
            self._sorted = (count, ranks)
        return ranks[codes] if count else np.full(len(codes), -1, dtype=np.int64)

    @property
    def texts_count(self) -> int:
        """How many distinct texts it keeps."""
        return len(self._texts)


class ArrayColumn:
    """Lists of scalars: the items of all slots in one scalar column, with their owners."""

    def __init__(self, element: Element) -> None:
        self.items = new_scalar_column(element)
        self._owners: GrowingArray[np.int64] = GrowingArray(np.int64)
        self._starts: GrowingArray[np.int64] = GrowingArray(np.int64)
        self._lengths: GrowingArray[np.int64] = GrowingArray(np.int64)

    def extend(self, values: Sequence[Any]) -> None:
        first, start = self._lengths.count, self._starts_next()
        lengths = np.array([-1 if value is None else len(value) for value in values], np.int64)
        flat = [item for value in values if value for item in value]
        counts = np.maximum(lengths, 0)
        self.items.extend(flat)
        self._owners.extend(np.repeat(np.arange(first, first + len(values)), counts))
        self._starts.extend(start + np.cumsum(counts) - counts)
        self._lengths.extend(lengths)

    def extend_missing(self, count: int) -> None:
        self._starts.fill(self._starts_next(), count)
        self._lengths.fill(-1, count)

    def values(self, rows: Rows) -> list[Any]:
        result: list[Any] = []
        starts = self._starts.view()[rows].tolist()
        lengths = self._lengths.view()[rows].tolist()
        for start, length in zip(starts, lengths, strict=True):
            span = np.arange(start, start + max(length, 0))
            result.append(None if length < 0 else self.items.values(span) if length else [])
        return result

    def present(self, rows: Rows) -> Mask:
        return self._lengths.view()[rows] >= 0

    def any_item(self, matching: Callable[[ScalarColumn, Rows], Mask], rows: Rows) -> Mask:
        """Return the slots of which at least one item is in the mask of ``matching``."""
        slots_count = self._lengths.count
        # Owners of rows being appended right now may be past the slots counted above.
        owners = self._owners.view()
        owners = owners[: np.searchsorted(owners, slots_count)]
        found = np.zeros(slots_count, dtype=np.bool_)
        found[owners[matching(self.items, slice(0, len(owners)))]] = True
        return found[rows]

    def distinct_items(self, slots: Slots) -> tuple[Slots, Slots]:
        """Return each distinct item of each slot.

        Returns:
            The index into ``slots`` that an item belongs to, ascending, and its row in ``items``.
        """
        lengths = np.maximum(self._lengths.view()[slots], 0)
        owners = np.repeat(np.arange(len(slots)), lengths)
        firsts = self._starts.view()[slots] - (np.cumsum(lengths) - lengths)
        rows = np.arange(len(owners)) + np.repeat(firsts, lengths)
        ranks = self.items.ranks(rows)
        order = np.lexsort((ranks, owners))
        owners, rows, ranks = owners[order], rows[order], ranks[order]
        is_first = np.ones(len(order), dtype=np.bool_)
        is_first[1:] = (owners[1:] != owners[:-1]) | (ranks[1:] != ranks[:-1])
        return owners[is_first], rows[is_first]

    def equal(self, value: list[Scalar], rows: Rows) -> Mask:
        """Return where the whole array equals ``value``."""
        candidates = np.flatnonzero(self._lengths.view()[rows] == len(value))
        slots = _slots(rows, self._lengths.count)[candidates]
        result = np.zeros(len(_slots(rows, self._lengths.count)), dtype=np.bool_)
        result[candidates] = [stored == value for stored in self.values(slots)]
        return result

    def _starts_next(self) -> int:
        return self._owners.count


def new_scalar_column(element: Element) -> ScalarColumn:
    if element in (Element.STRING, Element.UUID):
        return TextColumn()
    return NumberColumn(element)


def new_id_column(id_type: AttributeType) -> ScalarColumn:
    return new_scalar_column(id_type.element)


def is_array(attribute_type: AttributeType) -> bool:
    return attribute_type.kind is Kind.ARRAY


def row_count(rows: Rows) -> int:
    return int(rows.stop) if isinstance(rows, slice) else len(rows)


def _slots(rows: Rows, count: int) -> Slots:
    return np.arange(count)[rows] if isinstance(rows, slice) else rows
