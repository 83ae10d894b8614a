"""The multi-query body: several legs that are answered together (docs/reference/http.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from layer_kit.errors import InvalidRequestError, LayerError
from layer_wire.filters import Filter, Written
from layer_wire.jsontext import (
    ABSENT,
    Raw,
    RawObject,
    decode,
    decode_object,
    encode,
    is_null,
    raw,
)
from layer_wire.queries import (
    LayerQuery,
    consistency_level,
    has,
    parse_layer_query,
    written_span,
)
from layer_wire.search_bodies import is_search

LEGS_COUNT_MIN: Final = 2
LEGS_COUNT_MAX: Final = 16

AGGREGATES: Final = "aggregate_by"
PASSED_ON: Final = frozenset({"rerank_by", AGGREGATES})
"""What a multi-query or one of its legs may have that makes all of it the store's own."""

UNKNOWN_TO_THE_STORE: Final = ("vector", "nearest_to_id")
"""What legs are ranked by in words of layer's: the store would read past them, and so answer with
rows of another order."""

NOT_OF_A_LEG: Final = ("cursor", "as_of", "between")
_LAYERS_OWN: Final = frozenset(
    {
        "vector", "nearest_to_id", "rank_by", "top_k", "filters", "include_attributes",
        "include_leg_breakdown", "consistency", *NOT_OF_A_LEG,
    }
)  # fmt: skip
_ROOT: Final = frozenset({"queries", "consistency", "include_leg_breakdown", *NOT_OF_A_LEG})
MERGEABLE: Final = frozenset({"distance_metric", "compute_attributes"})
"""Keys of a leg that mean the same for each shard as for all of them."""

_LIMIT: Final[msgspec.json.Decoder[int]] = msgspec.json.Decoder(int)
_LEGS: Final[msgspec.json.Decoder[list[Raw]]] = msgspec.json.Decoder(list[Raw])


class _RootBody(msgspec.Struct):
    queries: Raw
    cursor: Raw = ABSENT
    as_of: int | None = None
    between: tuple[int, int] | None = None
    consistency: Raw = ABSENT


_ROOT_BODY: Final[msgspec.json.Decoder[_RootBody]] = msgspec.json.Decoder(_RootBody)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryLeg:
    """One of the queries, with the keys that are the store's alone."""

    query: LayerQuery
    extra: RawObject

    @property
    def is_mergeable(self) -> bool:
        """Tell whether the answers of shards can be merged to that of all."""
        return MERGEABLE.issuperset(self.extra)


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiQuery:
    """A checked multi-query."""

    legs: list[QueryLeg]
    written: Written | None
    consistency: Literal["eventual", "strong"]
    extra: RawObject
    """Keys of the root that are the store's alone."""

    @property
    def drops_vector(self) -> bool:
        """Tell whether a leg named ``vector``, which a query never returns."""
        return any(leg.query.drops_vector for leg in self.legs)

    @property
    def is_mergeable(self) -> bool:
        """Tell whether the answers of shards can be merged to that of all."""
        return not self.extra and all(leg.is_mergeable for leg in self.legs)


def is_multi_query(fields: RawObject) -> bool:
    """Tell whether a body is a multi-query of layer's, and not one for the store alone."""
    if not has(fields, "queries") or any(has(fields, name) for name in PASSED_ON):
        return False
    try:
        legs = msgspec.json.decode(fields["queries"], type=list[RawObject])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return True  # and will be refused
    if any(has(leg, "rerank_by") for leg in legs):
        return False
    return (
        not any(has(leg, AGGREGATES) for leg in legs)
        or any(has(leg, name) for leg in legs for name in UNKNOWN_TO_THE_STORE)
        or any(has(fields, name) for name in NOT_OF_A_LEG)
    )


def parse_multi_query(body: bytes, fields: RawObject) -> MultiQuery:
    """Check a multi-query.

    Raises:
        InvalidRequestError: ``LEGS_COUNT_RANGE``, ``LEG_FIELD``, or what
            :func:`parse_layer_query` finds; the message says in which leg.
    """
    found = decode(_ROOT_BODY, body)
    if not is_null(found.cursor):
        raise InvalidRequestError("CURSOR_UNUSABLE", "A multi-query has no cursor.", field="cursor")
    legs = decode(_LEGS, found.queries, what="queries")
    if not LEGS_COUNT_MIN <= len(legs) <= LEGS_COUNT_MAX:
        raise InvalidRequestError(
            "LEGS_COUNT_RANGE",
            f"queries has {LEGS_COUNT_MIN} to {LEGS_COUNT_MAX} legs.",
            field="queries",
        )
    return MultiQuery(
        legs=[_leg_at(number, leg) for number, leg in enumerate(legs, 1)],
        written=written_span(found.as_of, found.between),
        consistency=consistency_level(found.consistency),
        extra={name: value for name, value in fields.items() if name not in _ROOT},
    )


def of_leg(number: int, error: LayerError) -> LayerError:
    """Return an error that says in which leg it is, counted from 1."""
    found = type(error)(
        error.reason,
        f"multi-query leg {number}: {error.message}",
        retry_after_s=error.retry_after_s,
    )
    found.metadata = error.metadata
    return found


def leg_json(leg: QueryLeg, rank_by: Raw, filter_: Filter | None) -> dict[str, object]:
    """Return what is sent upstream for one leg."""
    body: dict[str, object] = {"rank_by": rank_by, **leg.extra}
    if "limit" not in leg.extra:
        body["top_k"] = leg.query.top_k
    if filter_ is not None:
        body["filters"] = filter_
    if leg.query.include_attributes is not None:
        body["include_attributes"] = leg.query.include_attributes
    return body


def _leg_at(number: int, leg: Raw) -> QueryLeg:
    try:
        return _leg(leg)
    except InvalidRequestError as error:
        raise of_leg(number, error) from error


def _leg(leg: Raw) -> QueryLeg:
    fields = decode_object(leg, what="A leg")
    for name in NOT_OF_A_LEG:
        if name in fields and not is_null(fields[name]):
            raise InvalidRequestError(
                "LEG_FIELD", f"{name} is not a field of a leg.", field=f"queries.{name}"
            )
    if is_search(fields):
        raise InvalidRequestError(
            "LEG_FIELD", "HybridText and Auto are no ranking of a leg.", field="queries.rank_by"
        )
    if has(fields, AGGREGATES):
        raise InvalidRequestError(
            "LEG_FIELD",
            f"{AGGREGATES} goes with legs that are ranked by rank_by, without as_of and between.",
            field=f"queries.{AGGREGATES}",
        )
    extra = {name: value for name, value in fields.items() if name not in _LAYERS_OWN}
    if (limit := _plain_limit(fields)) is not None:
        del extra["limit"]
        fields = {**fields, "top_k": raw(limit)}
        leg = Raw(encode(fields))
    return QueryLeg(query=parse_layer_query(bytes(leg)), extra=extra)


def _plain_limit(fields: RawObject) -> int | None:
    """Return the limit of a leg where it is a number, which is another name for ``top_k``."""
    limit = fields.get("limit", ABSENT)
    if "top_k" in fields or not bytes(limit)[:1].isdigit():
        return None
    return decode(_LIMIT, limit, what="limit")
