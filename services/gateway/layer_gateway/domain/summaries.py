"""What history keeps of a query's body: which rows were asked for, and never a vector.

Built after the answer has gone, so it need not be quick, but it must not hold up the event loop:
vectors are not parsed where their place in the body is known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from layer_wire.jsontext import Raw, RawObject, encode, is_null
from layer_wire.queries import TOP_K_DEFAULT

SUMMARY_BYTES_MAX: Final = 64 * 1024
"""The history's own bound. Beyond it filters are left out, and then everything."""

LEGS_MAX: Final = 64
PLAIN_BYTES_MAX: Final = 128
"""A ``rank_by`` up to here is kept as it is, unless there may be a vector in it."""

BASE64_LENGTH_MIN: Final = 256
"""A text from here on is no query of a user's, but a vector, wherever it stands."""

_KEPT: Final = (
    "nearest_to_id",
    "top_k",
    "filters",
    "as_of",
    "between",
    "include_attributes",
    "include_leg_breakdown",
)
_OF_LEGS: Final = ("nearest_to_id", "top_k", "filters", "include_attributes")
_BY_DISTANCE: Final = re.compile(rb'(\[\s*"(?:[^"\\]|\\.)*"\s*,\s*"(?:ANN|kNN)"\s*,\s*)[\["]')
_VECTOR_SIGNS: Final = re.compile(rb'\[\s*-?[0-9]|"(?:vector|ANN|kNN)"|\\')
"""Without any of these no vector is in a ranking, and no escape that may spell one."""

_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_legs: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])

CountComponents = Callable[[bytes], int]
"""Tells how many components a vector has, as JSON array or as base64 text."""


def summarise(fields: RawObject, echo: Mapping[str, object], count: CountComponents) -> bytes:
    """Return the summary of a query as a JSON object.

    Args:
        fields: Those of the body, as they came.
        echo: What the answer told of how the query was carried out.
    """
    summary = _of_query(fields, _KEPT, count) | dict(echo)
    if "queries" in fields:
        legs = _legs.decode(fields["queries"])
        summary["leg_count"] = len(legs)
        summary["queries"] = [_of_leg(leg, count) for leg in legs[:LEGS_MAX]]
    else:
        summary.setdefault("top_k", TOP_K_DEFAULT)
    encoded = encode(summary)
    if len(encoded) > SUMMARY_BYTES_MAX:
        encoded = encode({key: summary[key] for key in ("top_k", "vector_len") if key in summary})
    return encoded


def count_components(vector: bytes) -> int:
    """Count the components of a vector without parsing it."""
    text = bytes(vector).strip()
    if text.startswith(b'"'):
        return (len(text) - 2) * 3 // 4 // 4
    return text.count(b",") + 1 if text.strip(b"[] \n\t\r") else 0


def _of_query(
    fields: Mapping[str, msgspec.Raw], kept: tuple[str, ...], count: CountComponents
) -> dict[str, object]:
    found: dict[str, object] = {
        key: fields[key] for key in kept if key in fields and not is_null(Raw(fields[key]))
    }
    if "vector" in fields and not is_null(Raw(fields["vector"])):
        found["vector_len"] = count(bytes(fields["vector"]))
    if "rank_by" in fields and not is_null(Raw(fields["rank_by"])):
        found |= _of_ranking(bytes(fields["rank_by"]), count)
    return found


def _of_leg(leg: Mapping[str, msgspec.Raw], count: CountComponents) -> dict[str, object]:
    found = _of_query(leg, _OF_LEGS, count)
    limit = leg.get("limit")
    if "aggregate_by" in leg or "top_k" in found:
        return found
    if limit is None:
        return found | {"top_k": TOP_K_DEFAULT}
    return found | {"top_k": limit} if bytes(limit).isdigit() else found


def _of_ranking(rank_by: bytes, count: CountComponents) -> dict[str, object]:
    if (by_distance := _BY_DISTANCE.match(rank_by)) is not None:
        vector = rank_by[by_distance.end(1) : rank_by.rindex(b"]")]
        length = count(vector)
        head = by_distance[1] + encode({"vector_len": length}) + b"]"
        return {"rank_by": Raw(head), "vector_len": length}
    if len(rank_by) <= PLAIN_BYTES_MAX and _VECTOR_SIGNS.search(rank_by) is None:
        return {"rank_by": Raw(rank_by)}
    return {"rank_by": _without_vectors(msgspec.json.decode(rank_by))}


def _without_vectors(value: Any) -> Any:
    match value:
        case [attribute, "ANN" | "kNN" as form, str(vector), *options]:
            return [attribute, form, _packed(vector), *options]
        case list():
            if value and all(isinstance(one, int | float) for one in value):
                return {"vector_len": len(value)}
            return [_without_vectors(one) for one in value]
        case dict():
            return {
                key: _packed(one)
                if key == "vector" and isinstance(one, str)
                else _without_vectors(one)
                for key, one in value.items()
            }
        case str() if len(value) >= BASE64_LENGTH_MIN and _BASE64.fullmatch(value):
            return _packed(value)
        case _:
            return value


def _packed(vector: str) -> dict[str, int]:
    """Return what is kept of a vector in base64."""
    return {"vector_len": len(vector) * 3 // 4 // 4}
