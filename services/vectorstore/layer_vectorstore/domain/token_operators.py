"""Filters over the terms of full-text attributes: all, any, or all in sequence."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import numpy as np

from layer_vectorstore.domain.analysis import Token
from layer_vectorstore.domain.columns import Mask, Rows, Slots
from layer_vectorstore.domain.errors import RefusedError, quoted
from layer_vectorstore.domain.filters import Condition
from layer_vectorstore.domain.limits import TEXT_QUERY_LENGTH_MAX
from layer_vectorstore.domain.schema import AttributeSchema
from layer_vectorstore.domain.table import TableView

TOKEN_OPERATORS: Final = ("ContainsAllTokens", "ContainsAnyToken", "ContainsTokenSequence")

Query = str | list[str]


def bind_token_condition(
    condition: Condition, attribute: AttributeSchema
) -> Callable[[TableView, Rows], Mask]:
    """Check a condition on terms and return what evaluates it.

    Raises:
        RefusedError: ``FILTER_INVALID``.
    """
    options = attribute.full_text_search
    if options is None:
        raise _error(condition, "attribute has no full_text_search index")
    query = _query(condition, attribute)
    last_as_prefix = (condition.options or {}).get("last_as_prefix", False)
    if not isinstance(last_as_prefix, bool):
        raise _error(condition, "last_as_prefix must be true or false")
    match condition.operator:
        case "ContainsAllTokens":
            find = _all_finder(condition.attribute, query, last_as_prefix=last_as_prefix)
        case "ContainsAnyToken":
            find = _any_finder(condition.attribute, query, last_as_prefix=last_as_prefix)
        case _:
            find = _sequence_finder(condition.attribute, query)

    def evaluate(view: TableView, rows: Rows) -> Mask:
        found = np.zeros(len(view.live), dtype=np.bool_)
        found[find(view)] = True
        return found[rows]

    return evaluate


def _query(condition: Condition, attribute: AttributeSchema) -> Query:
    operand: Any = condition.operand
    is_list = isinstance(operand, list) and all(isinstance(item, str) for item in operand)
    pre_tokenized = (
        attribute.full_text_search is not None
        and attribute.full_text_search.tokenizer == "pre_tokenized_array"
    )
    takes_list = pre_tokenized or condition.operator == "ContainsTokenSequence"
    if (is_list and takes_list) or (isinstance(operand, str) and not pre_tokenized):
        length = len(operand) if isinstance(operand, str) else sum(len(item) for item in operand)
        if length > TEXT_QUERY_LENGTH_MAX:
            raise _error(
                condition, f"a query can be at most {TEXT_QUERY_LENGTH_MAX} characters long"
            )
        query: Query = operand
        return query
    expected = "[]string" if pre_tokenized else "string"
    raise _error(
        condition,
        f"type mismatch, {condition.operator} expects {expected}, but got {quoted(operand)}",
    )


def _all_finder(
    attribute: str, query: Query, *, last_as_prefix: bool
) -> Callable[[TableView], Slots]:
    def find(view: TableView) -> Slots:
        index, count = view.text_indexes[attribute], len(view.live)
        if not last_as_prefix:
            return index.slots_with_all(set(index.analyzer.terms(query)), count)
        terms, prefix = index.analyzer.split_prefix(query)
        found = index.slots_with_prefix(prefix or "", count)
        return np.intersect1d(found, index.slots_with_all(set(terms), count)) if terms else found

    return find


def _any_finder(
    attribute: str, query: Query, *, last_as_prefix: bool
) -> Callable[[TableView], Slots]:
    def find(view: TableView) -> Slots:
        index, count = view.text_indexes[attribute], len(view.live)
        if not last_as_prefix:
            return index.slots_with_any(set(index.analyzer.terms(query)), count)
        terms, prefix = index.analyzer.split_prefix(query)
        found = [index.slots_with_any(set(terms), count)]
        if prefix is not None:
            found.append(index.slots_with_prefix(prefix, count))
        return np.unique(np.concatenate(found))

    return find


def _sequence_finder(attribute: str, query: Query) -> Callable[[TableView], Slots]:
    """Find adjacent terms: rows that hold them all are cut into words again to look."""

    def find(view: TableView) -> Slots:
        index = view.text_indexes[attribute]
        wanted = index.analyzer.tokens(query)
        slots = index.slots_with_all({token.term for token in wanted}, len(view.live))
        slots = slots[view.live[slots]]
        if not len(slots):
            return slots
        has_sequence = _sequence_test(wanted)
        values = cast("list[Any]", view.columns[attribute].values(slots))
        return slots[[has_sequence(index.analyzer.tokens(value)) for value in values]]

    return find


def _sequence_test(wanted: Sequence[Token]) -> Callable[[Sequence[Token]], bool]:
    """Return whether the wanted terms stand at the same distances from each other.

    Every wanted term gets a character, so that one search in a text of them finds the sequence.
    """
    codes: dict[str, str] = {}
    for token in wanted:
        codes.setdefault(token.term, chr(len(codes) + 1))
    expression = re.compile(_written(wanted, codes, gap="."), re.DOTALL)
    return lambda tokens: expression.search(_written(tokens, codes, gap="\0")) is not None


def _written(tokens: Sequence[Token], codes: dict[str, str], *, gap: str) -> str:
    """Write the code of each token at its place, and ``gap`` where there is none."""
    if not tokens:
        return ""
    first = tokens[0].position
    characters = [gap] * (tokens[-1].position - first + 1)
    for token in tokens:
        if code := codes.get(token.term):
            characters[token.position - first] = code if gap == "\0" else re.escape(code)
    return "".join(characters)


def _error(condition: Condition, problem: str) -> RefusedError:
    return RefusedError(
        "FILTER_INVALID",
        f"filter error in key `{condition.attribute}`: {problem}",
        attribute=condition.attribute,
    )
