"""Makes result rows: ids, ``$dist``, chosen attributes and computed ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np

from layer_vectorstore.domain.attribute_types import AttributeType, Kind
from layer_vectorstore.domain.columns import Slots
from layer_vectorstore.domain.errors import RefusedError
from layer_vectorstore.domain.filters import Filter, iter_conditions
from layer_vectorstore.domain.highlighting import Highlight, Wanted, highlighted
from layer_vectorstore.domain.query import Query, Selection, VectorEncoding
from layer_vectorstore.domain.ranking import (
    Bm25,
    ByAttributes,
    ByVector,
    Matches,
    Rank,
    iter_scores,
)
from layer_vectorstore.domain.schema import ID, Schema
from layer_vectorstore.domain.scoring import bind_score
from layer_vectorstore.domain.selecting import Selected, vector_distances
from layer_vectorstore.domain.sizes import ID_BYTES, sizes_of
from layer_vectorstore.domain.table import TableView
from layer_vectorstore.domain.token_operators import TOKEN_OPERATORS
from layer_vectorstore.domain.values import shown
from layer_vectorstore.domain.vectors import Float32s, encode_base64, shortest

DIST: Final = "$dist"
DIST_BYTES: Final = 4

Row = dict[str, Any]


def chosen_attributes(selection: Selection, schema: Schema) -> list[str]:
    """Return the attributes that rows carry besides ``id``.

    Raises:
        RefusedError: ``ATTRIBUTE_UNKNOWN``.
    """
    if selection.include is True:
        excluded = {*selection.exclude, ID}
        return [name for name in schema.attributes if name not in excluded]
    for name in selection.include:
        if name not in schema.attributes:
            raise RefusedError(
                "ATTRIBUTE_UNKNOWN",
                f'💔 attribute "{name}" not found in schema, cannot be part of '
                "`include_attributes`. consider passing `include_attributes=True` to return all "
                "attribute data instead",
            )
    return [name for name in dict.fromkeys(selection.include) if name != ID]


def render(
    query: Query, selected: Selected, view: TableView, encoding: VectorEncoding
) -> tuple[list[Row], int]:
    """Return the rows and the logical bytes they are billed as."""
    names = chosen_attributes(query.selection, view.schema)
    compute = {label: _bind_computed(label, query, view) for label in query.computed}
    slots = selected.slots
    rows: list[Row] = [{ID: document_id} for document_id in view.ids(slots)]
    returned_bytes = len(rows) * ID_BYTES
    if selected.scores is not None:
        returned_bytes += len(rows) * DIST_BYTES
        for row, score in zip(rows, selected.scores, strict=True):
            row[DIST] = score
    for name in names:
        values = view.columns[name].values(slots)
        found = view.schema.attributes[name].type
        returned_bytes += int(sizes_of(values, found).sum()) if len(slots) else 0
        for row, value in zip(rows, _shown_values(values, found, encoding), strict=True):
            if value is not None:
                row[name] = value
    for label, values_of in compute.items():
        for row, value in zip(rows, values_of(slots), strict=True):
            if value is not None:
                row[label] = value
    return rows, returned_bytes


def _shown_values(values: Any, found: AttributeType, encoding: VectorEncoding) -> list[Any]:
    match found.kind:
        case Kind.DENSE:
            return _shown_vectors(values, encoding)
        case Kind.LATE_INTERACTION:
            return [None if value is None else _shown_vectors(value, encoding) for value in values]
        case Kind.SPARSE:
            return list(values)
        case _:
            return [shown(value, found.element) for value in values]


def _shown_vectors(values: Float32s, encoding: VectorEncoding) -> list[Any]:
    if encoding == "base64":
        return [encode_base64(vector) for vector in values]
    rows: list[Any] = shortest(values).tolist()
    return rows


def _bind_computed(label: str, query: Query, view: TableView) -> Callable[[Slots], list[Any]]:
    match query.computed[label]:
        case ByVector() as rank:
            return lambda slots: _finite(vector_distances(rank, view, slots))
        case Highlight() as options:
            return _bind_highlight(options, query, view)
        case score:
            scorer = bind_score(score, view.schema)
            return lambda slots: shortest(scorer(view)[slots].astype(np.float32)).tolist()


def _finite(numbers: Float32s) -> list[float | None]:
    known = np.isfinite(numbers)
    shown_numbers = shortest(np.where(known, numbers, 0)).tolist()
    return [
        number if is_known else None
        for number, is_known in zip(shown_numbers, known.tolist(), strict=True)
    ]


def _bind_highlight(
    options: Highlight, query: Query, view: TableView
) -> Callable[[Slots], list[Any]]:
    attribute = view.schema.attributes.get(options.attribute)
    if attribute is None or attribute.full_text_search is None:
        raise RefusedError(
            "HIGHLIGHT_INVALID",
            f"💔 Highlight needs an attribute with full_text_search, not '{options.attribute}'",
        )
    if options.rank is not None:
        bind_score(options.rank, view.schema)
    analyzer = view.text_indexes[options.attribute].analyzer
    terms: list[str] = []
    prefixes: list[str] = []
    for asked in _texts_asked_for(options.rank or query.rank, query.filter, options.attribute):
        whole, prefix = (
            analyzer.split_prefix(asked.text)
            if asked.last_as_prefix
            else (analyzer.terms(asked.text), None)
        )
        terms += whole
        prefixes += [prefix] if prefix is not None else []
    wanted = Wanted(frozenset(terms), tuple(prefixes))

    def values(slots: Slots) -> list[Any]:
        return [
            highlighted(value, wanted, analyzer, options)
            for value in cast("list[Any]", view.columns[options.attribute].values(slots))
        ]

    return values


@dataclass(frozen=True, slots=True)
class _AskedFor:
    text: str | list[str]
    last_as_prefix: bool


def _texts_asked_for(rank: Rank | None, node: Filter | None, attribute: str) -> list[_AskedFor]:
    """Return the query texts that ranked or filtered rows by ``attribute``."""
    texts: list[_AskedFor] = []
    filters = [node] if node is not None else []
    if rank is not None and not isinstance(rank, ByVector | ByAttributes):
        for part in iter_scores(rank):
            match part:
                case Bm25() if part.attribute == attribute:
                    texts.append(_AskedFor(part.query, part.last_as_prefix))
                case Matches(condition):
                    filters.append(condition)
                case _:
                    pass
    texts += [
        _AskedFor(condition.operand, bool((condition.options or {}).get("last_as_prefix")))
        for each in filters
        for condition in iter_conditions(each)
        if condition.attribute == attribute and condition.operator in TOKEN_OPERATORS
    ]
    return texts
