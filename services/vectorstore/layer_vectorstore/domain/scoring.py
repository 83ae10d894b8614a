"""Scores bound to a schema: every slot gets a number, and what is not above 0 is no result."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Final, cast

import numpy as np

from layer_vectorstore.domain.attribute_types import Element, Kind
from layer_vectorstore.domain.columns import NumberColumn
from layer_vectorstore.domain.errors import RefusedError, quoted
from layer_vectorstore.domain.predicates import bind
from layer_vectorstore.domain.ranking import (
    AttributeValue,
    Bm25,
    Constant,
    Curve,
    Distance,
    Matches,
    Max,
    Product,
    Score,
    SparseDot,
    Sum,
)
from layer_vectorstore.domain.schema import AttributeSchema, Schema
from layer_vectorstore.domain.table import TableView
from layer_vectorstore.domain.values import ValueMismatchError, convert
from layer_vectorstore.domain.vector_columns import SparseColumn
from layer_vectorstore.domain.vectors import Float64s

Scorer = Callable[[TableView], Float64s]
"""Returns one number per slot; NaN where an attribute it needs is missing."""

NUMERIC: Final = (Element.INT, Element.UINT, Element.FLOAT, Element.DATETIME)
SIGNED: Final = (Element.INT, Element.FLOAT)
SCORE_MAX: Final = float(np.finfo(np.float32).max)


def bind_score(node: Score, schema: Schema) -> Scorer:
    """Check a score against ``schema`` and make it ready to evaluate.

    Raises:
        RefusedError: ``RANK_INVALID`` or ``FILTER_INVALID``.
    """
    scorer = _bind(node, schema, floored=False)

    def score(view: TableView) -> Float64s:
        # Answers show 32 bits, and JSON has no infinity.
        with np.errstate(over="ignore", invalid="ignore"):
            return np.clip(np.nan_to_num(scorer(view), nan=0.0), -SCORE_MAX, SCORE_MAX)

    return score


def _bind(node: Score, schema: Schema, *, floored: bool) -> Scorer:
    """Bind one node; ``floored`` says that a Max with a constant around it keeps it positive."""
    match node:
        case Constant(value):
            return lambda view: np.full(len(view.live), value)
        case Sum(terms):
            return _reduced(np.add, [_bind(term, schema, floored=False) for term in terms])
        case Max(terms):
            floor = any(isinstance(term, Constant) and term.value >= 0 for term in terms)
            return _reduced(np.maximum, [_bind(term, schema, floored=floor) for term in terms])
        case Product(weight, term):
            inner = _bind(term, schema, floored=floored)
            return lambda view: weight * inner(view)
        case Curve():
            return _bind_curve(node, _bind(node.term, schema, floored=True))
        case AttributeValue(name):
            return _bind_attribute(name, schema, floored=floored)
        case _:
            return _bind_leaf(node, schema)


def _bind_leaf(node: Matches | Bm25 | SparseDot | Distance, schema: Schema) -> Scorer:
    match node:
        case Matches(condition):
            predicate = bind(condition, schema)
            return lambda view: predicate(view, slice(0, len(view.live))).astype(np.float64)
        case Bm25():
            return _bind_bm25(node, schema)
        case SparseDot():
            return _bind_sparse(node, schema)
        case Distance():
            return _bind_distance(node, schema)


def _reduced(combine: np.ufunc, scorers: list[Scorer]) -> Scorer:
    def score(view: TableView) -> Float64s:
        numbers = [np.nan_to_num(scorer(view), nan=0.0) for scorer in scorers]
        return reduce(combine, numbers) if numbers else np.zeros(len(view.live))

    return score


def _bind_bm25(node: Bm25, schema: Schema) -> Scorer:
    attribute = _attribute(node.attribute, schema)
    if attribute.full_text_search is None:
        raise _refused(
            f"💔 attribute '{node.attribute}' has no full_text_search index, "
            "which BM25 needs; enable it in the schema"
        )
    wants_list = attribute.full_text_search.tokenizer == "pre_tokenized_array"
    if wants_list != isinstance(node.query, list):
        expected = "[]string" if wants_list else "string"
        raise _refused(
            f"💔 invalid input {quoted(node.query)} for rank_by field "
            f'"{node.attribute}", expecting {expected}'
        )
    return lambda view: view.text_indexes[node.attribute].scores(
        node.query, view.live, last_as_prefix=node.last_as_prefix
    )


def _bind_sparse(node: SparseDot, schema: Schema) -> Scorer:
    attribute = _attribute(node.attribute, schema)
    if attribute.type.kind is not Kind.SPARSE:
        raise _refused(
            f"💔 SparseKNN needs a sparse vector, but '{node.attribute}' is {attribute.type}"
        )
    return lambda view: cast("SparseColumn", view.columns[node.attribute]).dot_products(
        node.weights, len(view.live)
    )


def _bind_attribute(name: str, schema: Schema, *, floored: bool) -> Scorer:
    attribute = _numeric(name, schema)
    if attribute.type.element in SIGNED and not floored:
        raise _refused(
            f"💔 attribute '{name}' is signed, so its score could be negative; "
            f'wrap it as ["Max", [["Attribute", "{name}"], 0]]'
        )

    def score(view: TableView) -> Float64s:
        column = cast("NumberColumn", view.columns[name])
        return column.numbers(slice(0, len(view.live))).astype(np.float64)

    return score


def _bind_distance(node: Distance, schema: Schema) -> Scorer:
    attribute = _numeric(node.attribute, schema)
    try:
        origin = convert(node.origin, attribute.type)
    except ValueMismatchError:
        origin = None
    if not isinstance(origin, int | float):
        raise _refused(
            f"💔 Dist of attribute '{node.attribute}' needs an origin of type {attribute.type}, "
            f"but got {quoted(node.origin)}"
        )
    center = float(origin)

    def score(view: TableView) -> Float64s:
        rows = slice(0, len(view.live))
        column = cast("NumberColumn", view.columns[node.attribute])
        apart = np.abs(column.numbers(rows).astype(np.float64) - center)
        return np.where(column.present(rows), apart, np.nan)

    return score


def _bind_curve(node: Curve, inner: Scorer) -> Scorer:
    def score(view: TableView) -> Float64s:
        # Relative to the midpoint, so that large exponents do not overflow both terms at once.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            ratio = np.maximum(inner(view), 0) / node.midpoint
            decayed = 1 / (1 + ratio**node.exponent)
        return decayed if node.is_decay else 1 - decayed

    return score


def _attribute(name: str, schema: Schema) -> AttributeSchema:
    attribute = schema.attributes.get(name)
    if attribute is None:
        raise _refused(f'💔 attribute "{name}" not found in schema, cannot be used in rank_by')
    return attribute


def _numeric(name: str, schema: Schema) -> AttributeSchema:
    attribute = _attribute(name, schema)
    if attribute.type.kind is not Kind.SCALAR or attribute.type.element not in NUMERIC:
        raise _refused(
            f"💔 attribute '{name}' is {attribute.type}, but only a number or a datetime "
            "can be part of a score"
        )
    return attribute


def _refused(message: str) -> RefusedError:
    return RefusedError("RANK_INVALID", message)
