"""Reads ``compute_attributes``: values that an answer shows beside the stored ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from layer_vectorstore.domain.errors import RefusedError, malformed
from layer_vectorstore.domain.highlighting import (
    FRAGMENTS_COUNT_MAX,
    FragmentBy,
    Highlight,
    Offsets,
)
from layer_vectorstore.domain.json_fields import integer, require_object
from layer_vectorstore.domain.query import Computed
from layer_vectorstore.domain.ranking import ByVector, parse_score


def parse_computed(value: object, path: str) -> dict[str, Computed]:
    """Return the expression under each label.

    Raises:
        MalformedError: ``BODY_MALFORMED``.
        RefusedError: For what is well formed and not possible.
    """
    if value is None:
        return {}
    computed: dict[str, Computed] = {}
    for label, expression in require_object(value, path).items():
        if label in ("id", "$dist"):
            raise RefusedError("LABEL_RESERVED", f"💔 compute_attributes cannot set '{label}'")
        match expression:
            case [str(attribute), "VectorDist", vector]:
                computed[label] = ByVector(attribute, vector, is_exact=True)
            case ["Highlight", str(attribute)]:
                computed[label] = Highlight(attribute=attribute)
            case ["Highlight", str(attribute), dict(options)]:
                computed[label] = _parse_highlight(attribute, options, f"{path}.{label}")
            case _:
                computed[label] = parse_score(expression, f"{path}.{label}")
    return computed


def _parse_highlight(attribute: str, options: Mapping[str, Any], path: str) -> Highlight:
    fragment_by: Any = options.get("fragment_by") or "sentence"
    offsets = options.get("include_offsets")
    limit = integer(options.get("fragment_limit"), f"{path}.fragment_limit", default=3)
    if fragment_by not in get_args(FragmentBy):
        raise malformed(f"{path}.fragment_by", f"unknown variant `{fragment_by}`")
    if offsets is not None and offsets not in get_args(Offsets):
        raise malformed(f"{path}.include_offsets", f"unknown variant `{offsets}`")
    if not 1 <= limit <= FRAGMENTS_COUNT_MAX:
        raise RefusedError(
            "FRAGMENT_LIMIT_INVALID",
            f"💔 fragment_limit must be between 1 and {FRAGMENTS_COUNT_MAX}",
        )
    rank = options.get("rank_fragments_by")
    return Highlight(
        attribute=attribute,
        fragment_by=fragment_by,
        fragment_limit=limit,
        include_offsets=offsets,
        rank=None if rank is None else parse_score(rank, f"{path}.rank_fragments_by"),
    )
