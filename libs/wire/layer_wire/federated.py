"""Federated queries: one query of many namespaces (docs/reference/http.md, "Many namespaces")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final

import msgspec
from msgspec import structs

from layer_kit.errors import InvalidRequestError
from layer_kit.names import Namespace, parse_namespace
from layer_wire.filters import Filter
from layer_wire.jsontext import ABSENT, Raw, decode, decode_object, is_null
from layer_wire.queries import UPSTREAM_ROWS_MAX, LayerQuery
from layer_wire.search_bodies import Query, parse_query, scope_of, with_scope

EVERY: Final = "*"
ROWS_PER_NAMESPACE_MIN: Final = 10
ROWS_PER_NAMESPACE_MAX: Final = 100
"""How many rows a namespace contributes where the caller does not say."""

ROWS_PER_NAMESPACE_FACTOR: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FederatedQuery:
    """A checked federated query."""

    query: Query
    """What each namespace is asked, with the number of rows that it may contribute."""
    top_k: int
    namespaces: Sequence[Namespace] | None
    """In the order of the request, each once; None means every one there is."""
    is_strict: bool
    """Whether one namespace that fails fails the query."""
    filter: Filter | None
    """The caller's own, without the temporal one."""


class _Fusion(msgspec.Struct):
    per_namespace_limit: Annotated[int, msgspec.Meta(ge=1, le=UPSTREAM_ROWS_MAX)] | None = None
    rank_constant: Annotated[int, msgspec.Meta(ge=1)] | None = None


class _FederatedBody(msgspec.Struct):
    namespaces: list[str] | None = None
    strict: bool | None = None
    fusion: _Fusion | None = None
    filters: Raw = ABSENT
    cursor: Raw = ABSENT


_FEDERATED_BODY: Final[msgspec.json.Decoder[_FederatedBody]] = msgspec.json.Decoder(_FederatedBody)


def parse_federated(body: bytes, *, namespaces_count_max: int) -> FederatedQuery:
    """Check a federated query.

    Raises:
        MalformedRequestError: ``JSON_MALFORMED``.
        InvalidRequestError: ``CURSOR_UNUSABLE``, ``NAMESPACES_INVALID``, ``NAMESPACE_INVALID``,
            ``TOO_MANY_NAMESPACES``, or what is wrong with the query itself.
    """
    found = decode(_FEDERATED_BODY, body)
    if not is_null(found.cursor):
        raise InvalidRequestError(
            "CURSOR_UNUSABLE",
            "A query of many namespaces has no pages, and so no cursor.",
            field="cursor",
        )
    namespaces = _namespaces(found.namespaces, namespaces_count_max)
    query = parse_query(body, decode_object(body))
    top_k = top_k_of(query)
    limit = min(
        max(ROWS_PER_NAMESPACE_FACTOR * top_k, ROWS_PER_NAMESPACE_MIN), ROWS_PER_NAMESPACE_MAX
    )
    if found.fusion is not None and found.fusion.per_namespace_limit is not None:
        limit = found.fusion.per_namespace_limit
    return FederatedQuery(
        query=_with_top_k(query, limit),
        top_k=top_k,
        namespaces=namespaces,
        is_strict=bool(found.strict),
        filter=None if is_null(found.filters) else found.filters,
    )


def top_k_of(query: Query) -> int:
    """Return how many rows a query asks for."""
    return query.top_k if isinstance(query, LayerQuery) else scope_of(query).top_k


def _with_top_k(query: Query, top_k: int) -> Query:
    if isinstance(query, LayerQuery):
        return structs.replace(query, top_k=top_k)
    return with_scope(query, replace(scope_of(query), top_k=top_k))


def _namespaces(named: list[str] | None, count_max: int) -> list[Namespace] | None:
    if named is None or named == [EVERY]:
        return None
    if not named or EVERY in named:
        raise InvalidRequestError(
            "NAMESPACES_INVALID",
            'namespaces lists names, or is ["*"] alone, or is left out for all.',
            field="namespaces",
        )
    distinct = list(dict.fromkeys(named))
    if len(distinct) > count_max:
        raise too_many_namespaces(count_max)
    return [parse_namespace(name) for name in distinct]


def too_many_namespaces(count_max: int) -> InvalidRequestError:
    return InvalidRequestError(
        "TOO_MANY_NAMESPACES",
        f"A query asks at most {count_max} namespaces; name those that matter in namespaces.",
        field="namespaces",
        count_max=count_max,
    )
