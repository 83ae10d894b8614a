"""One list of rows out of those of many namespaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from layer_kit.names import Namespace
from layer_wire.ids import JsonId
from layer_wire.jsontext import RawObject, raw
from layer_wire.ranking import id_order, rank_value
from layer_wire.rows import row_ids


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


_Key = tuple[float, Namespace, tuple[bool, JsonId]]


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


class BestRows:
    """The best rows of the namespaces that have answered so far; all others are let go at once.

    Args:
        count_max: How many are kept.
    """

    def __init__(self, method: MergeMethod, count_max: int) -> None:
        self._method = method
        self._count_max = count_max
        self._best: list[tuple[_Key, int, RawObject]] = []

    def add(self, namespace: Namespace, rows: Sequence[RawObject]) -> None:
        """Take part of a namespace's rows, which are in its own order.

        Raises:
            UpstreamError: ``UPSTREAM_UNREADABLE`` when a row lacks a distance that is compared.
        """
        is_by_distance = self._method is MergeMethod.DISTANCE
        added = [
            ((rank_value(row) if is_by_distance else rank, namespace, id_order(id_)), rank, row)
            for rank, (id_, row) in enumerate(zip(row_ids(rows), rows, strict=True), start=1)
        ]
        self._best = sorted(self._best + added, key=lambda one: one[0])[: self._count_max]

    def rows(self) -> list[RawObject]:
        """Return the best rows, each with its namespace and its rank there, counted from 1."""
        return [
            {**row, "$namespace": raw(namespace), "$rank": raw(rank)}
            for (_, namespace, _), rank, row in self._best
        ]
