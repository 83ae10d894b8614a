"""One list of rows out of those of many namespaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from layer_kit.names import Namespace
from layer_wire.jsontext import RawObject, raw
from layer_wire.ranking import id_order, rank_value
from layer_wire.rows import row_id


class MergeMethod(StrEnum):
    """How rows of different namespaces are compared; the value is the contract's."""

    DISTANCE = "distance"
    RANK_INTERLEAVE = "rank-interleave"


class Downgrade(StrEnum):
    """Why distances of different namespaces are not compared; the value is the contract's."""

    MISSING_PROFILE = "missing_embedding_profile"
    PROFILE_MISMATCH = "embedding_profile_mismatch"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingProfile:
    """How the vectors of a namespace were made. Distances compare only where it is the same."""

    model: str
    normalization: str
    dimension: int
    distance_metric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """How the rows of a federated query are merged, and why not better."""

    method: MergeMethod
    downgrade: Downgrade | None = None


def choose_merge(profiles: Sequence[EmbeddingProfile | None], *, is_by_distance: bool) -> Merge:
    """Compare distances where they mean the same in every namespace, and ranks elsewhere.

    Args:
        profiles: Of every namespace that is asked.
        is_by_distance: Whether each namespace ranks by distance alone.
    """
    if not is_by_distance:
        return Merge(method=MergeMethod.RANK_INTERLEAVE)
    if None in profiles:
        return Merge(method=MergeMethod.RANK_INTERLEAVE, downgrade=Downgrade.MISSING_PROFILE)
    if len(set(profiles)) > 1:
        return Merge(method=MergeMethod.RANK_INTERLEAVE, downgrade=Downgrade.PROFILE_MISMATCH)
    return Merge(method=MergeMethod.DISTANCE)


def merge_rows(
    method: MergeMethod, found: Mapping[Namespace, Sequence[RawObject]], top_k: int
) -> list[RawObject]:
    """Return the best ``top_k`` rows, each with its namespace and its rank there, from 1.

    Raises:
        UpstreamError: ``UPSTREAM_UNREADABLE`` when a row lacks a distance that is compared.
    """
    keyed = [
        (
            rank_value(row) if method is MergeMethod.DISTANCE else rank,
            namespace,
            id_order(row_id(row)),
            rank,
            row,
        )
        for namespace, rows in found.items()
        for rank, row in enumerate(rows, start=1)
    ]
    keyed.sort(key=lambda entry: entry[:3])
    return [
        {**row, "$namespace": raw(namespace), "$rank": raw(rank)}
        for _, namespace, _, rank, row in keyed[:top_k]
    ]
