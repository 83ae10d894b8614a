"""What a kind of store can do of what layer offers, as clients are told."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, Literal

Service = Literal["snapshots", "history", "runtime"]
"""What may stand beside the gateway."""


class Support(Enum):
    """How far a store supports something."""

    SUPPORTED = "supported"
    APPROXIMATE = "approximate"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that depends on the store."""

    id: str
    label: str
    page: str
    """The page of the documentation that has more."""
    support: Support
    note: str


@dataclass(frozen=True, slots=True)
class HybridRoute:
    """A way that a text query may take, and the feature it rests on."""

    route: str
    feature: str
    support: Support
    note: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """How far a store supports what has no page of its own."""

    support: Support
    note: str


@dataclass(frozen=True, slots=True)
class SchemaLimits:
    """How many attributes of a kind a namespace may have; None where only the store knows."""

    embed: Coverage
    max_gateway_embed_attributes: int | None = None
    max_full_text_search_fields: int | None = None
    max_vector_fields: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """All that is known of a kind of store."""

    features: Sequence[Feature]
    hybrid_routes: Sequence[HybridRoute]
    schema_limits: SchemaLimits


_YES: Final = Support.SUPPORTED
_PAGE: Final = "reference/http"

TURBOPUFFER: Final = Capabilities(
    features=[
        Feature("write", "Writes", _PAGE, _YES, "upserts, patches and deletes, by id or filter"),
        Feature("conditional_write", "Conditional writes", _PAGE, _YES, "judged by the store"),
        Feature("branch", "Branches and copies", _PAGE, _YES, "made by the store"),
        Feature("vector_search", "Vector search", _PAGE, _YES, "ANN, and exact with a filter"),
        Feature("text_search", "Text search", _PAGE, _YES, "BM25 over full-text attributes"),
        Feature("fuzzy", "Fuzzy matching", _PAGE, _YES, "over attributes declared fuzzy"),
        Feature("hybrid", "Hybrid search", _PAGE, _YES, "fused by layer"),
        Feature("multi_query", "Several queries at once", _PAGE, _YES, "2 to 16 in one request"),
        Feature("aggregate", "Aggregations", _PAGE, _YES, "counts and groups, by the store"),
        Feature("fetch", "Fetch by id", _PAGE, _YES, "through the document cache"),
        Feature("scan", "Scans", _PAGE, _YES, "ids, counts and values"),
        Feature(
            "scan_by_distance",
            "Scans within a distance",
            _PAGE,
            Support.APPROXIMATE,
            "rows come from an approximate index",
        ),
        Feature("stable_reads", "Stable reads", _PAGE, _YES, "by the time of each row's write"),
        Feature("cache_warm", "Warming", _PAGE, _YES, "of the store's cache and of layer's"),
        Feature("recall", "Measuring recall", _PAGE, _YES, "by the store"),
        Feature(
            "import", "Import of Arrow streams", _PAGE, Support.UNSUPPORTED, "write rows instead"
        ),
    ],
    hybrid_routes=[
        HybridRoute("hybrid_text", "text_search", _YES, "text and fuzzy legs"),
        HybridRoute("semantic", "vector_search", _YES, "one vector leg"),
        HybridRoute("fused", "hybrid", _YES, "text, fuzzy and vector legs"),
    ],
    schema_limits=SchemaLimits(
        embed=Coverage(
            Support.UNSUPPORTED, "vectors are made by the caller, or by a function over rows"
        ),
        max_gateway_embed_attributes=0,
    ),
)

BY_KIND: Final = {"turbopuffer": TURBOPUFFER}

_OF_SERVICES: Final[Mapping[Service, Sequence[Feature]]] = {
    "snapshots": [
        Feature(
            "snapshots", "Facet snapshots", "guides/snapshots", _YES, "values and their counts"
        ),
        Feature("checkpoints", "Checkpoints", "guides/snapshots", _YES, "names of snapshots"),
    ],
    "history": [
        Feature("history", "Search history", "guides/history", _YES, "searches, and what was read"),
    ],
    "runtime": [
        Feature("functions", "Functions over rows", "guides/functions", _YES, "by layer's runtime"),
        Feature("pipelines", "Pipelines", "guides/pipelines", _YES, "documents, stage by stage"),
    ],
}


def capabilities(kind: str, configured: Collection[Service]) -> Capabilities:
    """Return what a kind of store can do, with the services that the gateway was told of."""
    found = BY_KIND[kind]
    added = [
        feature if service in configured else _without(feature, service)
        for service, features in _OF_SERVICES.items()
        for feature in features
    ]
    return replace(found, features=[*found.features, *added])


def _without(feature: Feature, service: Service) -> Feature:
    return replace(
        feature, support=Support.UNSUPPORTED, note=f"this gateway runs without {service}"
    )
