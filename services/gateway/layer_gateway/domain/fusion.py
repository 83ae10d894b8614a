"""Reciprocal rank fusion: one order out of several (Cormack, Clarke and Büttcher 2009)."""

from __future__ import annotations

from collections.abc import Sequence

from layer_wire.ids import JsonId
from layer_wire.ranking import id_order


def fuse(legs: Sequence[Sequence[JsonId]], rank_constant: int) -> list[tuple[JsonId, float]]:
    """Return every id of the legs with its score, best first and ties by id.

    The score is the sum of ``1 / (rank_constant + rank)`` over the legs that have the id, whose
    first place there, counted from 1, is its rank.
    """
    longest = max(map(len, legs), default=0)
    gains = [1 / (rank_constant + rank) for rank in range(1, longest + 1)]
    scores: dict[JsonId, float] = {}
    for leg in legs:
        for id_, gain in zip(dict.fromkeys(leg), gains, strict=False):
            scores[id_] = scores.get(id_, 0.0) + gain
    return sorted(scores.items(), key=lambda entry: (-entry[1], id_order(entry[0])))
