"""Histograms of an attribute: how many rows have each of its values.

A string counts under itself, anything else under its JSON text; each distinct element of a list
counts once per row. Counts are exact up to a bound of distinct values and of their bytes. Beyond
it the values held are still counted exactly, no others are taken in, and how many there are is
estimated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from layer_kit.errors import UpstreamError
from layer_wire.jsontext import Raw, encode

if TYPE_CHECKING:
    from layer_wire.distinct import DistinctEstimate

_ARRAY: Final = "[]"
_VALUES: Final[msgspec.json.Decoder[list[Any]]] = msgspec.json.Decoder(list[Any])


class Facet:
    """The histogram of one attribute.

    Args:
        type_: The attribute's, as the schema spells it. Where it is known, ``3`` and ``3.0`` are
            one value however they were spelled.
        distinct_max: Values held at most.
        bytes_max: Bytes of their text at most; a character may count as one.
    """

    def __init__(self, type_: str = "", *, distinct_max: int, bytes_max: int) -> None:
        self.counts: Counter[str] = Counter()
        self._element_type = type_.removeprefix(_ARRAY)
        self._distinct_max = distinct_max
        self._bytes_max = bytes_max
        self._held_bytes = 0
        self._estimate: DistinctEstimate | None = None

    @property
    def is_truncated(self) -> bool:
        """Tell whether there were values that are not held."""
        return self._estimate is not None

    @property
    def distinct_count(self) -> int:
        """Return how many distinct values there were: an estimate once truncated."""
        if self._estimate is None:
            return len(self.counts)
        return max(self._estimate.count, len(self.counts) + 1)

    def ordered(self) -> list[tuple[str, int]]:
        """Return values and counts, the most frequent first and equal ones by value."""
        return sorted(self.counts.items(), key=lambda pair: (-pair[1], pair[0]))

    def add(self, values: Sequence[Raw | bytes]) -> None:
        """Count the values of some rows, one each; leave out rows that have none.

        Raises:
            UpstreamError: ``UPSTREAM_UNREADABLE`` for what is not JSON.
        """
        if self.add_list(b"[%b]" % b",".join(values)) != len(values):
            raise UpstreamError("UPSTREAM_UNREADABLE", "A value to count is several.")

    def add_list(self, values: bytes) -> int:
        """Count the values in a JSON array, one of each row, and return how many they are.

        Raises:
            UpstreamError: ``UPSTREAM_UNREADABLE`` for what is not JSON.
        """
        try:
            decoded = _VALUES.decode(values)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamError(
                "UPSTREAM_UNREADABLE", f"A value to count is not JSON: {error}."
            ) from error
        if set(map(type, decoded)) == {str}:  # no need to look at each
            self._take(decoded)
        else:
            self._take([text for value in decoded for text in self._texts(value)])
        return len(decoded)

    def _take(self, texts: list[str]) -> None:
        counts = self.counts
        if self._estimate is None:
            new = set(texts).difference(counts)
            new_bytes = sum(map(len, new))
            if (
                len(counts) + len(new) <= self._distinct_max
                and self._held_bytes + new_bytes <= self._bytes_max
            ):
                self._held_bytes += new_bytes
                counts.update(texts)
                return
            self._estimate = _estimate_of(counts)
        for text in texts:
            self._estimate.add(text)
            if text in counts or self._has_room(text):
                counts[text] += 1

    def _has_room(self, text: str) -> bool:
        """Make room for a new value if there is any."""
        if len(self.counts) >= self._distinct_max or self._held_bytes + len(text) > self._bytes_max:
            return False
        self._held_bytes += len(text)
        return True

    def _texts(self, value: Any) -> Iterable[str]:
        match value:
            case str():
                return (value,)
            case list():
                return {self._text(element) for element in value}
            case _:
                return (self._text(value),)

    def _text(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = _as_typed(value, self._element_type)
        return encode(value).decode()


def _as_typed(value: float, type_: str) -> float:
    """Return a number as JSON of its type has it."""
    match type_:
        case "float":
            return float(value)
        case "int" | "uint" if value == int(value):
            return int(value)
        case _:
            return value


def _estimate_of(values: Iterable[str]) -> DistinctEstimate:
    # Numpy comes along with it, and only what is too large to be held needs it.
    from layer_wire.distinct import DistinctEstimate  # noqa: PLC0415

    estimate = DistinctEstimate()
    for value in values:
        estimate.add(value)
    return estimate
