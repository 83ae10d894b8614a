"""Whether distances of different namespaces mean the same, by their embedding profiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from layer_gateway.application.facts import NamespaceFacts
from layer_gateway.domain.federation import EmbeddingProfile, Merge
from layer_gateway.domain.routing import Routing
from layer_kit.errors import InvalidRequestError
from layer_kit.names import Namespace
from layer_wire.federated import FederatedQuery
from layer_wire.jsontext import Raw, decode, decode_list
from layer_wire.queries import VECTOR_ATTRIBUTE, LayerQuery
from layer_wire.search_bodies import Query
from layer_wire.searches import AutoSearch, SearchRoute
from layer_wire.vectors import vector_dimension

_STRING: Final[msgspec.json.Decoder[str]] = msgspec.json.Decoder(str)


def compared_vector(query: Query, routing: Routing | None) -> tuple[str, int | None]:
    """Return the attribute by whose distance alone rows are ranked, and the vector's dimension."""
    rank_by: Raw | None = None
    if isinstance(query, LayerQuery) and query.is_nearest:
        if query.rank_by is None:
            dimension = None if query.vector is None else vector_dimension(query.vector)
            return VECTOR_ATTRIBUTE, dimension
        rank_by = query.rank_by
    elif isinstance(query, AutoSearch) and routing is not None:
        rank_by = query.rank_by if routing.route is SearchRoute.SEMANTIC else None
    if rank_by is None:
        return "", None
    name, _, *operands = decode_list(rank_by)
    # The store has its own words for a ranking without a vector.
    dimension = vector_dimension(operands[0]) if operands else None
    return decode(_STRING, name, what="rank_by[0]"), dimension


def check_profiles(
    query: FederatedQuery,
    merge: Merge,
    profiles: Mapping[Namespace, EmbeddingProfile | None],
    dimension: int | None,
) -> None:
    if query.is_strict and merge.downgrade is not None:
        raise InvalidRequestError(
            "EMBEDDING_PROFILES",
            f"Distances do not compare between these namespaces: {merge.downgrade}.",
            field="namespaces",
        )
    for namespace, profile in profiles.items():
        if profile is not None:
            check_dimension(namespace, profile, dimension)


def check_dimension(namespace: Namespace, profile: EmbeddingProfile, found: int | None) -> None:
    if found is not None and found != profile.dimension:
        raise InvalidRequestError(
            "EMBEDDING_DIMENSION",
            f"The embedding profile of {namespace} has {profile.dimension} dimensions, and not "
            f"{found}.",
            namespace=namespace,
        )


def schema_dimension(facts: NamespaceFacts, attribute: str) -> int | None:
    """Read the dimension out of a type such as ``[1536]f32``."""
    digits = facts.types.get(attribute, "").partition("]")[0].removeprefix("[")
    return int(digits) if digits.isdecimal() else None
