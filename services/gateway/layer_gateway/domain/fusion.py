"""Reciprocal rank fusion: one order out of several (Cormack, Clarke and Büttcher 2009)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from layer_wire.ids import JsonId
from layer_wire.ranking import id_order


def fuse(legs: Iterable[Sequence[JsonId]], rank_constant: int) -> list[tuple[JsonId, float]]:
    """Return every id of the legs with its score, best first and ties by id.

    The score is the sum of ``1 / (rank_constant + rank)`` over the legs that have the id, whose
    first place there, counted from 1, is its rank.
    """
    scores: dict[JsonId, float] = {}
    for leg in legs:
        for rank, id_ in enumerate(dict.fromkeys(leg), start=1):
            scores[id_] = scores.get(id_, 0.0) + 1 / (rank_constant + rank)
    return sorted(scores.items(), key=lambda entry: (-entry[1], id_order(entry[0])))
