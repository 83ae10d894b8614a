"""Reads ``rerank_by``: how a multi-query's legs become one ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from layer_vectorstore.domain.errors import RefusedError
from layer_vectorstore.domain.limit_parsing import parse_limit, parse_offset
from layer_vectorstore.domain.limits import LIMIT_MAX
from layer_vectorstore.domain.query import Fusion, Query

RANK_CONSTANT_DEFAULT: Final = 60
FUSION_NUMBER_MAX: Final = 1e9


def parse_fusion(fields: Mapping[str, Any], queries: Sequence[Query]) -> Fusion | None:
    """Return the fusion that a multi-query asks for; None leaves its answers apart.

    Raises:
        MalformedError: ``BODY_MALFORMED``.
        RefusedError: For what is well formed and not possible.
    """
    match fields.get("rerank_by"):
        case None:
            return None
        case ["RRF"]:
            options: Mapping[str, Any] = {}
        case ["RRF", dict(options)]:
            pass
        case _:
            raise reranker_refused()
    if any(query.aggregates for query in queries):
        raise RefusedError("FUSION_OF_AGGREGATES", "💔 RRF needs sub-queries with rank_by")
    weights = options.get("weights")
    if weights is None:
        weights = [1] * len(queries)
    if not isinstance(weights, list) or len(weights) != len(queries):
        raise RefusedError("WEIGHTS_INVALID", "💔 RRF needs one weight per sub-query")
    constant = options.get("rank_constant")
    limit, _per = parse_limit(fields, "")
    return Fusion(
        rank_constant=_positive(
            RANK_CONSTANT_DEFAULT if constant is None else constant, "rank_constant"
        ),
        weights=tuple(_positive(weight, "weights") for weight in weights),
        limit=LIMIT_MAX if limit is None else limit,
        offset=parse_offset(fields, ""),
    )


def reranker_refused() -> RefusedError:
    return RefusedError(
        "RERANKER_UNSUPPORTED",
        "💔 rerank_by with a model is hosted only; this server fuses multi-queries with "
        '["RRF"] and has no models',
    )


def _positive(value: object, name: str) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 < value <= FUSION_NUMBER_MAX
    ):
        raise RefusedError(
            "FUSION_INVALID", f"💔 RRF {name} must be greater than 0 and at most 1e9"
        )
    return float(value)
