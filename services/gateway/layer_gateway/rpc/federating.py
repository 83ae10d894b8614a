"""Queries of many namespaces: the typed request to a federated query, its answer to messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import msgspec

from layer.gateway.v1 import gateway_pb2
from layer_gateway.application.answers import FederatedAnswer
from layer_gateway.domain.federation import Downgrade, MergeMethod
from layer_gateway.rpc.querying import consistent, fill_ranked_row, query_body
from layer_gateway.rpc.rows import RowReader
from layer_gateway.rpc.searching import fill_reports
from layer_kit.names import Namespace
from layer_wire.federated import FederatedQuery, parse_federated
from layer_wire.jsontext import Raw, encode

METHODS: Final = {
    MergeMethod.DISTANCE: gateway_pb2.MERGE_METHOD_DISTANCE,
    MergeMethod.RANK_INTERLEAVE: gateway_pb2.MERGE_METHOD_RANK_INTERLEAVE,
}
DOWNGRADES: Final = {
    Downgrade.MISSING_PROFILE: gateway_pb2.MERGE_DOWNGRADE_MISSING_EMBEDDING_PROFILE,
    Downgrade.PROFILE_MISMATCH: gateway_pb2.MERGE_DOWNGRADE_EMBEDDING_PROFILE_MISMATCH,
}


def federated_query(
    request: gateway_pb2.QueryNamespacesRequest, *, namespaces_count_max: int
) -> FederatedQuery:
    """Return the checked query that a request means.

    Raises:
        InvalidRequestError: As for one namespace, or what ``parse_federated`` finds.
    """
    body = query_body(request.query)
    body["strict"] = request.is_strict
    if request.namespaces:
        body["namespaces"] = list(request.namespaces)
    if request.per_namespace_limit:
        body["fusion"] = {"per_namespace_limit": request.per_namespace_limit}
    query = parse_federated(encode(body), namespaces_count_max=namespaces_count_max)
    return replace(query, query=consistent(request.query, query.query))


def namespace_of(row: Mapping[str, Raw]) -> Namespace:
    """Return the namespace that a merged row says it is of."""
    return Namespace(msgspec.json.decode(row["$namespace"], type=str))


def federated_response(
    request: gateway_pb2.QueryNamespacesRequest,
    answer: FederatedAnswer,
    readers: Mapping[Namespace, RowReader],
) -> gateway_pb2.QueryNamespacesResponse:
    """Return the merged rows, and what became of each namespace."""
    merge = answer.merge
    response = gateway_pb2.QueryNamespacesResponse(
        merge_method=METHODS[merge.method],
        stable_as_of_ms=answer.stable_as_of_ms,
    )
    if merge.downgrade is not None:
        response.merge_downgrade = DOWNGRADES[merge.downgrade]
    fill_reports(response, answer)
    for found in answer.rows:
        namespace = namespace_of(found)
        row = response.rows.add(
            namespace=namespace, rank=msgspec.json.decode(found["$rank"], type=int)
        )
        fill_ranked_row(row.ranked_row, found, request.query, readers[namespace])
    for result in answer.results:
        response.results.add(
            namespace=result.namespace,
            stable_as_of_ms=result.stable_as_of_ms,
            matched_count=result.matched_count,
        )
    for failure in answer.failures:
        response.failures.add(
            namespace=failure.namespace,
            message=failure.message,
            code=failure.code,
            detail=failure.detail,
        )
    return response
