"""What ``rank_by`` may say: nearness to a vector, a text score, or the order of attributes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final, cast

from layer_vectorstore.domain.errors import MalformedError, RefusedError, malformed
from layer_vectorstore.domain.filters import Filter, is_filter, parse_filter
from layer_vectorstore.domain.limits import (
    EXPRESSION_DEPTH_MAX,
    EXPRESSION_NODES_COUNT_MAX,
    SPARSE_DIMENSIONS_COUNT_MAX,
    TEXT_QUERY_LENGTH_MAX,
)

UNMATCHED: Final = "data did not match any variant of enum a valid variant of RankInput"
DURATION_UNITS_MS: Final = {
    "s": 1000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhdw])")


@dataclass(frozen=True, slots=True)
class ByVector:
    attribute: str
    vector: object
    """JSON: components, base64, or a list of vectors for late interaction."""
    is_exact: bool


@dataclass(frozen=True, slots=True)
class OrderKey:
    attribute: str
    is_descending: bool


@dataclass(frozen=True, slots=True)
class ByAttributes:
    keys: tuple[OrderKey, ...]


@dataclass(frozen=True, slots=True)
class Bm25:
    attribute: str
    query: str | list[str]
    last_as_prefix: bool


@dataclass(frozen=True, slots=True)
class SparseDot:
    attribute: str
    weights: dict[str, float]


@dataclass(frozen=True, slots=True)
class Constant:
    value: float


@dataclass(frozen=True, slots=True)
class Sum:
    terms: tuple[Score, ...]


@dataclass(frozen=True, slots=True)
class Max:
    terms: tuple[Score, ...]


@dataclass(frozen=True, slots=True)
class Product:
    weight: float
    term: Score


@dataclass(frozen=True, slots=True)
class Matches:
    """1 where the filter holds, else 0."""

    filter: Filter


@dataclass(frozen=True, slots=True)
class AttributeValue:
    attribute: str


@dataclass(frozen=True, slots=True)
class Distance:
    """How far an attribute's number or moment is from ``origin``."""

    attribute: str
    origin: object


@dataclass(frozen=True, slots=True)
class Curve:
    """``x^e / (x^e + m^e)``, or with ``is_decay`` ``m^e / (x^e + m^e)``."""

    term: Score
    midpoint: float
    exponent: float
    is_decay: bool


Score = (
    Bm25 | SparseDot | Constant | Sum | Max | Product | Matches | AttributeValue | Distance | Curve
)
Rank = ByVector | ByAttributes | Score


def parse_rank(value: object, path: str) -> Rank:
    """Read ``rank_by``.

    Raises:
        MalformedError: ``BODY_MALFORMED``.
        RefusedError: For what is well formed and not possible.
    """
    match value:
        case []:
            raise RefusedError("RANK_EMPTY", "💔 rank_by cannot be empty")
        case [str(attribute), "ANN" | "kNN" as operator, vector]:
            _refuse_embedding(vector)
            return ByVector(attribute, vector, is_exact=operator == "kNN")
        case [str(attribute), "asc" | "desc" as direction]:
            return ByAttributes((OrderKey(attribute, direction == "desc"),))
        case [[*_], *_]:
            return ByAttributes(tuple(_parse_order_key(item, path) for item in value))
        case _:
            return parse_score(value, path)


def parse_score(value: object, path: str) -> Score:
    """Read an expression that gives each row a number."""
    return _ScoreParser(path).parse(value, 0)


def iter_scores(node: Score) -> list[Score]:
    """Return a score and all scores inside it."""
    match node:
        case Sum(terms) | Max(terms):
            return [node, *(inner for term in terms for inner in iter_scores(term))]
        case Product(_, term) | Curve(term=term):
            return [node, *iter_scores(term)]
        case _:
            return [node]


def _parse_order_key(value: object, path: str) -> OrderKey:
    match value:
        case [str(attribute), "asc" | "desc" as direction]:
            return OrderKey(attribute, direction == "desc")
        case _:
            raise _unmatched(path)


class _ScoreParser:
    def __init__(self, path: str) -> None:
        self._path = path
        self._nodes_count = 0

    def parse(self, value: object, depth: int) -> Score:
        self._nodes_count += 1
        if depth > EXPRESSION_DEPTH_MAX or self._nodes_count > EXPRESSION_NODES_COUNT_MAX:
            raise RefusedError(
                "EXPRESSION_TOO_LARGE",
                f"💔 rank_by can nest at most {EXPRESSION_DEPTH_MAX} levels and have at most "
                f"{EXPRESSION_NODES_COUNT_MAX} parts",
            )
        match value:
            case bool():
                raise _unmatched(self._path)
            case int() | float():
                return Constant(_number(value, self._path))
            case ["Sum" | "Max" | "Product" | "Saturate" | "Decay", *_]:
                return self._parse_combination(value, depth)
            case _:
                return self._parse_leaf(value)

    def _parse_combination(self, value: object, depth: int) -> Score:
        match value:
            case ["Sum", [*terms]]:
                return Sum(tuple(self.parse(term, depth + 1) for term in terms))
            case ["Max", [*terms]] if terms:
                return Max(tuple(self.parse(term, depth + 1) for term in terms))
            case ["Sum" | "Max" as name, list() | int() | float(), _, *_]:
                # The page about queries lists the terms of one example without a list.
                listed = cast("list[object]", value)[1:]
                parsed = tuple(self.parse(term, depth + 1) for term in listed)
                return Sum(parsed) if name == "Sum" else Max(parsed)
            case ["Product", int() | float() as weight, term]:
                return self._parse_product(weight, term, depth)
            case ["Product", term, int() | float() as weight]:
                return self._parse_product(weight, term, depth)
            case ["Saturate" | "Decay" as name, term, dict(options)]:
                return self._parse_curve(name, term, options, depth)
            case _:
                return self._parse_leaf(value)

    def _parse_leaf(self, value: object) -> Score:
        match value:
            case [str(attribute), "BM25", query]:
                return self._parse_bm25(attribute, query, {})
            case [str(attribute), "BM25", query, dict(options)]:
                return self._parse_bm25(attribute, query, options)
            case [str(attribute), "SparseKNN", dict(weights)]:
                return SparseDot(attribute, parse_weights(weights, self._path))
            case ["Attribute", str(attribute)]:
                return AttributeValue(attribute)
            case ["Dist", ["Attribute", str(attribute)], origin]:
                return Distance(attribute, origin)
            case _ if is_filter(value):
                return Matches(parse_filter(value, self._path))
            case _:
                raise _unmatched(self._path)

    def _parse_bm25(self, attribute: str, query: Any, options: dict[str, Any]) -> Bm25:
        last_as_prefix = options.get("last_as_prefix", False)
        is_list = isinstance(query, list) and all(isinstance(item, str) for item in query)
        if not (isinstance(query, str) or is_list) or not isinstance(last_as_prefix, bool):
            raise _unmatched(self._path)
        length = len(query) if isinstance(query, str) else sum(len(item) for item in query)
        if length > TEXT_QUERY_LENGTH_MAX:
            raise RefusedError(
                "QUERY_TOO_LONG",
                f"💔 a BM25 query can be at most {TEXT_QUERY_LENGTH_MAX} characters long",
            )
        return Bm25(attribute, query, last_as_prefix)

    def _parse_product(self, weight: float, term: object, depth: int) -> Product:
        number = _number(weight, self._path)
        if number < 0:
            raise RefusedError("WEIGHT_NEGATIVE", "💔 Product weights must not be negative")
        return Product(number, self.parse(term, depth + 1))

    def _parse_curve(self, name: str, term: object, options: dict[str, Any], depth: int) -> Curve:
        exponent = options.get("exponent", 1)
        midpoint = options.get("midpoint")
        if isinstance(midpoint, str):
            midpoint = _duration_ms(midpoint)
        numbers = (_number(midpoint, self._path), _number(exponent, self._path))
        if min(numbers) <= 0:
            raise RefusedError(
                "CURVE_INVALID", f"💔 {name} needs a midpoint and an exponent greater than 0"
            )
        return Curve(self.parse(term, depth + 1), *numbers, is_decay=name == "Decay")


def parse_weights(value: dict[str, Any], path: str) -> dict[str, float]:
    """Read a sparse vector."""
    if len(value) > SPARSE_DIMENSIONS_COUNT_MAX:
        raise RefusedError(
            "SPARSE_TOO_LARGE",
            f"💔 a sparse vector can have at most {SPARSE_DIMENSIONS_COUNT_MAX} dimensions",
        )
    return {name: _number(weight, path) for name, weight in value.items()}


def _number(value: object, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _unmatched(path)
    try:
        number = float(value)
    except OverflowError as error:
        raise _unmatched(path) from error
    if not math.isfinite(number):
        raise _unmatched(path)
    return number


def _duration_ms(text: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise RefusedError(
            "DURATION_INVALID", f"💔 invalid duration '{text[:64]}', expected e.g. `30m` or `6h`"
        )
    return float(match[1]) * DURATION_UNITS_MS[match[2]]


def _refuse_embedding(vector: object) -> None:
    if isinstance(vector, list) and vector[:1] == ["Embed"]:
        raise RefusedError(
            "EMBED_UNSUPPORTED",
            "💔 Embed needs a hosted model, which this server does not have",
        )


def _unmatched(path: str) -> MalformedError:
    return malformed(path, UNMATCHED)
