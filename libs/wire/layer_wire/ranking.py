"""The orders that ``rank_by`` can ask for, and merging rows that several requests put in one.

Rows come sorted from upstream, so that merging reads only as far as rows are wanted.
"""

from __future__ import annotations

import heapq
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import total_ordering
from typing import Any, Final

import msgspec

from layer_kit.errors import UpstreamError
from layer_wire.ids import JsonId
from layer_wire.jsontext import Raw, RawObject
from layer_wire.rows import RANK_KEY, row_id

_BY_DISTANCE: Final = re.compile(rb'\[\s*"(?:[^"\\]|\\.)*"\s*,\s*"(?:ANN|kNN)"')
"""The beginning of a ``rank_by`` whose ``$dist`` is a distance; spares reading its vector."""

_NUMBER: Final[msgspec.json.Decoder[float]] = msgspec.json.Decoder(float)
_ANY: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder()


class RankKind(Enum):
    """What makes a row better than another."""

    DISTANCE = auto()
    SCORE = auto()
    ATTRIBUTES = auto()


@dataclass(frozen=True, slots=True)
class Ranking:
    """How the rows of a query are ordered."""

    kind: RankKind
    attributes: tuple[tuple[str, bool], ...] = ()
    """Attributes to order by, first things first, and whether each descends."""


_DISTANCE: Final = Ranking(RankKind.DISTANCE)
_SCORE: Final = Ranking(RankKind.SCORE)


def parse_ranking(rank_by: Raw) -> Ranking:
    """Return the order that ``rank_by`` asks for.

    What is no order of distance or of attributes is taken for a score, as upstream scores
    whatever expression it knows; one it does not know it refuses.
    """
    if is_by_distance(rank_by):
        return _DISTANCE
    try:
        found = _ANY.decode(rank_by)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _SCORE
    keys = found if isinstance(found, list) and found and isinstance(found[0], list) else [found]
    attributes = tuple(pair for key in keys if (pair := _order(key)) is not None)
    return Ranking(RankKind.ATTRIBUTES, attributes) if len(attributes) == len(keys) else _SCORE


def is_by_distance(rank_by: Raw) -> bool:
    """Tell whether rows come by ascending distance."""
    return _BY_DISTANCE.match(rank_by) is not None


def merged(
    ranking: Ranking, parts: Sequence[Iterable[RawObject]], row_count: int
) -> list[RawObject]:
    """Return the best ``row_count`` rows out of parts that are each in the order of ``ranking``.

    Ties are broken by id, numbers as numbers and before strings.

    Raises:
        UpstreamError: ``UPSTREAM_UNREADABLE`` when a row lacks what it is ordered by.
    """
    rows = heapq.merge(*parts, key=_key(ranking))
    return list(itertools.islice(rows, row_count))


def rank_value(row: RawObject) -> float:
    """Return the distance or the score of a row.

    Raises:
        UpstreamError: ``UPSTREAM_UNREADABLE`` when it has none that is a finite number.
    """
    try:
        return _NUMBER.decode(row[RANK_KEY])
    except (KeyError, msgspec.DecodeError) as error:
        raise UpstreamError(
            "UPSTREAM_UNREADABLE", f"The store's answer has a row without a {RANK_KEY}."
        ) from error


def id_order(id_: JsonId) -> tuple[bool, JsonId]:
    """Return the key by which ids are ordered: numbers as numbers, and before strings."""
    return (isinstance(id_, str), id_)


def _order(key: Any) -> tuple[str, bool] | None:
    match key:
        case [str(attribute), "asc"]:
            return attribute, False
        case [str(attribute), "desc"]:
            return attribute, True
        case _:
            return None


def _key(ranking: Ranking) -> Callable[[RawObject], tuple[Any, ...]]:
    match ranking.kind:
        case RankKind.DISTANCE:
            return lambda row: (rank_value(row), id_order(row_id(row)))
        case RankKind.SCORE:
            return lambda row: (-rank_value(row), id_order(row_id(row)))
        case RankKind.ATTRIBUTES:
            return lambda row: (
                *(
                    _Descending(_attribute_key(row, name))
                    if descends
                    else _attribute_key(row, name)
                    for name, descends in ranking.attributes
                ),
                id_order(row_id(row)),
            )


def _attribute_key(row: RawObject, attribute: str) -> tuple[bool, Any]:
    """Order values of one attribute; rows without a value are the least."""
    if attribute == "id":
        return True, id_order(row_id(row))
    value = _ANY.decode(row[attribute]) if attribute in row else None
    return value is not None, value


@total_ordering
@dataclass(frozen=True, slots=True, eq=True)
class _Descending:
    """Orders the other way round."""

    value: tuple[bool, Any]

    def __lt__(self, other: _Descending) -> bool:
        return other.value < self.value
