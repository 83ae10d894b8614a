"""The legs of a hybrid search as rows in an order, and the page that their fusion makes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from layer_gateway.application.legs import LegAnswer
from layer_gateway.domain.surfacing import nearest_first
from layer_gateway.domain.tokens import tokens_of
from layer_wire.ids import JsonId
from layer_wire.jsontext import Raw, RawObject, raw
from layer_wire.rows import RANK_KEY, row_ids

SURFACED_TEXT_LENGTH_MAX: Final = 8192
"""Characters of a field in which the nearest word is looked for."""

FUZZY: Final = "fuzzy:"
"""What the label of a leg that looks for one word begins with; the word follows."""

SCORE_KEY: Final = "$score"
FUSED_KEY: Final = "$fused"

_TEXTS: Final = msgspec.json.Decoder(str | list[str | None] | None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedLeg:
    """A leg's rows, and its order of them."""

    label: str
    rows: Mapping[JsonId, RawObject]
    order: Sequence[JsonId]


def in_order(label: str, answer: LegAnswer) -> RankedLeg:
    """Take the rows of a leg in the order that the store gave them."""
    rows = dict(zip(row_ids(answer.rows), answer.rows, strict=True))
    return RankedLeg(label=label, rows=rows, order=list(rows))


def by_nearness(field: str, answers: Mapping[str, LegAnswer]) -> list[RankedLeg]:
    """Reorder each leg by how near the nearest word of ``field`` is to the leg's own."""
    words: dict[JsonId, list[str]] = {}
    ranked = []
    for label, answer in answers.items():
        rows = in_order(label, answer).rows
        for id_, row in rows.items():
            if id_ not in words:
                words[id_] = _words(row.get(field))
        order = nearest_first(label.removeprefix(FUZZY), [(id_, words[id_]) for id_ in rows])
        ranked.append(RankedLeg(label=label, rows=rows, order=order))
    return ranked


def fused_rows(
    legs: Sequence[RankedLeg],
    page: Sequence[tuple[JsonId, float]],
    *,
    hidden: Collection[str],
    with_breakdown: bool,
) -> list[RawObject]:
    """Return the rows of a page with their scores, each as the first leg that found it has it.

    Args:
        page: Ids and scores, best first.
        hidden: Attributes that were asked of the store and not by the caller.
        with_breakdown: Whether each row says what place and what score every leg gave it.
    """
    ranks = _ranks(legs) if with_breakdown else {}
    rows = []
    for id_, score in page:
        found = next(leg.rows[id_] for leg in legs if id_ in leg.rows)
        kept = {name: value for name, value in found.items() if name not in hidden}
        row = {"id": kept.pop("id"), SCORE_KEY: raw(score), **kept}
        if with_breakdown:
            places = [
                {
                    "leg": leg.label,
                    "rank": ranks[leg.label].get(id_),
                    "score": leg.rows[id_].get(RANK_KEY) if id_ in leg.rows else None,
                }
                for leg in legs
            ]
            row[FUSED_KEY] = raw({"legs": places})
        rows.append(row)
    return rows


def _ranks(legs: Sequence[RankedLeg]) -> dict[str, dict[JsonId, int]]:
    return {leg.label: {id_: rank for rank, id_ in enumerate(leg.order, 1)} for leg in legs}


def _words(value: Raw | None) -> list[str]:
    if value is None:
        return []
    try:
        found = _TEXTS.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []  # no text, which no word of it can be near to
    texts = [found] if isinstance(found, str) else (text for text in found or () if text)
    return tokens_of("\n".join(texts)[:SURFACED_TEXT_LENGTH_MAX])
