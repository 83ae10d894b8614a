"""Federated queries: many namespaces asked the same, and one list of their rows.

docs/reference/http.md, "Many namespaces" has the rules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import msgspec

from layer_gateway.application.admission import check_reach
from layer_gateway.application.answers import (
    FederatedAnswer,
    NamespaceFailure,
    NamespaceResult,
    QueryAnswer,
)
from layer_gateway.application.asking import AnswerQuery
from layer_gateway.application.auto import routed
from layer_gateway.application.facts import Facts
from layer_gateway.application.legs import all_of
from layer_gateway.application.namespaces import Namespaces
from layer_gateway.application.plans import UNREADABLE
from layer_gateway.application.profiles import (
    check_dimension,
    check_profiles,
    compared_vector,
    schema_dimension,
)
from layer_gateway.application.refusals import refusal
from layer_gateway.domain.federation import (
    BestRows,
    EmbeddingProfile,
    Merge,
    choose_merge,
)
from layer_gateway.domain.filter_fit import misfit
from layer_gateway.domain.routing import Routing
from layer_gateway.ports.profiles import EmbeddingProfiles
from layer_gateway.ports.stores import Caller, StoreAnswer
from layer_kit.errors import (
    DeadlineError,
    ForbiddenError,
    InvalidRequestError,
    LayerError,
    UnauthenticatedError,
    UpstreamError,
)
from layer_kit.names import Namespace
from layer_wire.federated import FederatedQuery, top_k_of
from layer_wire.jsontext import decode
from layer_wire.search_bodies import Query
from layer_wire.searches import AutoSearch

REQUESTS_AT_ONCE_MAX: Final = 64
"""Upstream requests of one federated query at a time, legs and shards and all."""

ROWS_GATHERED_MAX: Final = 100_000
FAILURES_TOLD_MAX: Final = 3
FILTER_MISMATCH: Final = "filter_schema_mismatch"

_OF_THE_REQUEST: Final = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)
"""Refusals for which no namespace is to blame: the others would say the same."""

_ANY: Final = msgspec.json.Decoder()


class _RefusedError(Exception):
    """The store's refusal of the request as such, on its way out of the namespaces' tasks."""

    def __init__(self, answer: StoreAnswer) -> None:
        super().__init__()
        self.answer = answer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Federation:
    """One federated query on its way."""

    query: FederatedQuery
    caller: Caller
    filter: object
    """Decoded; None without one."""
    profiles: Mapping[Namespace, EmbeddingProfile | None]
    attribute: str
    """Of the vector that is compared; empty where none is."""
    best: BestRows
    places: asyncio.Semaphore
    slots: asyncio.Semaphore
    deadline_s: float
    """By the event loop's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryNamespaces:
    """Asks many namespaces at once."""

    answer_query: AnswerQuery
    facts: Facts
    namespaces: Namespaces
    profiles: EmbeddingProfiles
    namespaces_count_max: int
    namespaces_at_once: int
    timeout_s: float
    """For the whole; a namespace that has not answered by then has failed."""

    async def __call__(self, query: FederatedQuery, caller: Caller) -> FederatedAnswer:
        """Run ``query`` in its namespaces and merge what they return.

        Raises:
            ForbiddenError: ``NAMESPACE_FORBIDDEN``.
            InvalidRequestError: ``TOO_MANY_NAMESPACES``, ``TOO_MANY_ROWS``,
                ``EMBEDDING_DIMENSION``, with ``strict`` ``EMBEDDING_PROFILES`` and
                ``FILTER_MISMATCH``; or what is wrong with the query itself.
            UpstreamError: ``ALL_NAMESPACES_FAILED``.
            LayerError: With ``strict``, the error of a namespace.
        """
        routing = routed(query.query) if isinstance(query.query, AutoSearch) else None
        names = query.namespaces
        if names is None:
            listed = await self.namespaces.names(caller, self.namespaces_count_max)
            if not isinstance(listed, Sequence):
                return FederatedAnswer(refusal=listed)
            names = listed
        elif caller.namespaces:
            for name in names:
                check_reach(caller.namespaces, name)
        if len(names) * top_k_of(query.query) > ROWS_GATHERED_MAX:
            raise InvalidRequestError(
                "TOO_MANY_ROWS",
                f"{len(names)} namespaces with fusion.per_namespace_limit rows each are more than "
                f"{ROWS_GATHERED_MAX} rows.",
                field="fusion.per_namespace_limit",
            )
        if routing is not None and _is_deferred(query.query, routing):
            results = [_result(name, QueryAnswer()) for name in names]
            return FederatedAnswer(routing=routing, is_deferred=True, results=results)
        attribute, dimension = compared_vector(query.query, routing)
        profiles = {name: self.profiles.get(name) for name in names}
        merge = choose_merge(list(profiles.values()), is_by_distance=bool(attribute))
        check_profiles(query, merge, profiles, dimension)
        federation = _Federation(
            query=query,
            caller=caller,
            filter=None if query.filter is None else decode(_ANY, query.filter, what="filters"),
            profiles=profiles,
            attribute=attribute,
            best=BestRows(merge.method, query.top_k),
            places=asyncio.Semaphore(self.namespaces_at_once),
            slots=asyncio.Semaphore(REQUESTS_AT_ONCE_MAX),
            deadline_s=asyncio.get_running_loop().time() + self.timeout_s,
        )
        try:
            found = await all_of(self._one(federation, name) for name in names)
        except _RefusedError as refused:
            return FederatedAnswer(refusal=refused.answer)
        return _merged(federation, merge, found, routing)

    async def _one(
        self, federation: _Federation, namespace: Namespace
    ) -> NamespaceResult | NamespaceFailure:
        """Ask one namespace; what is wrong with the request as such is raised."""
        try:
            async with asyncio.timeout_at(federation.deadline_s), federation.places:
                return await self._asked(federation, namespace)
        except TimeoutError:
            late = DeadlineError(
                "FEDERATION_TIMEOUT", f"Namespace {namespace} did not answer in time."
            )
            return _failure(federation, namespace, late)
        except (InvalidRequestError, ForbiddenError, UnauthenticatedError):
            raise
        except LayerError as error:
            return _failure(federation, namespace, error)

    async def _asked(
        self, federation: _Federation, namespace: Namespace
    ) -> NamespaceResult | NamespaceFailure:
        if (problem := await self._misfit(federation, namespace)) is not None:
            return _mismatch(federation, namespace, problem)
        answer = await self.answer_query(
            namespace, federation.query.query, federation.caller, slots=federation.slots
        )
        if answer.refusal is None:
            federation.best.add(namespace, answer.rows)
            return _result(namespace, answer)
        if federation.query.is_strict or answer.refusal.status in _OF_THE_REQUEST:
            raise _RefusedError(answer.refusal)
        return _failure(federation, namespace, refusal(answer.refusal, namespace))

    async def _misfit(self, federation: _Federation, namespace: Namespace) -> str | None:
        """Check the request against the schema; say what the filter is about and it lacks."""
        profile = federation.profiles[namespace]
        is_dimension_known = profile is not None and bool(federation.attribute)
        if federation.filter is None and not is_dimension_known:
            return None
        try:
            facts = await self.facts.get(namespace, federation.caller)
        except UpstreamError as error:
            if error.reason not in UNREADABLE:
                raise
            return None  # the store says itself what it has against the query
        if not facts.exists:
            return None
        if profile is not None and is_dimension_known:
            check_dimension(namespace, profile, schema_dimension(facts, federation.attribute))
        return misfit(federation.filter, facts.types, facts.unfilterable)


def _is_deferred(query: Query, routing: Routing) -> bool:
    return isinstance(query, AutoSearch) and query.rank_by is None and routing.route.needs_vector


def _mismatch(federation: _Federation, namespace: Namespace, problem: str) -> NamespaceFailure:
    message = f"The filter does not fit the schema of {namespace}: {problem}."
    if federation.query.is_strict:
        raise InvalidRequestError("FILTER_MISMATCH", message, field="filters", namespace=namespace)
    return NamespaceFailure(
        namespace=namespace, message=message, code=FILTER_MISMATCH, detail=problem
    )


def _failure(federation: _Federation, namespace: Namespace, error: LayerError) -> NamespaceFailure:
    if federation.query.is_strict:
        raise error
    return NamespaceFailure(namespace=namespace, message=error.message, code=error.http_error)


def _result(namespace: Namespace, answer: QueryAnswer) -> NamespaceResult:
    return NamespaceResult(
        namespace=namespace,
        stable_as_of_ms=answer.stable_as_of_ms,
        matched_count=len(answer.rows),
        hybrid=answer.hybrid,
    )


def _merged(
    federation: _Federation,
    merge: Merge,
    found: Sequence[NamespaceResult | NamespaceFailure],
    routing: Routing | None,
) -> FederatedAnswer:
    failures = [one for one in found if isinstance(one, NamespaceFailure)]
    results = [one for one in found if isinstance(one, NamespaceResult)]
    if failures and not results:
        told = "; ".join(failure.message for failure in failures[:FAILURES_TOLD_MAX])
        raise UpstreamError(
            "ALL_NAMESPACES_FAILED", f"None of {len(failures)} namespaces could answer: {told}"
        )
    return FederatedAnswer(
        rows=federation.best.rows(),
        merge=merge,
        hybrid=next((one.hybrid for one in results if one.hybrid is not None), None),
        routing=routing,
        results=results,
        failures=failures,
    )
