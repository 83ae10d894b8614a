"""Markers: the attributes in which rows say what functions have done to them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from layer_kit.errors import InvalidRequestError
from layer_runtime.domain.functions import NAME_BYTES_MAX, FunctionId

Condition = list[object]
"""A filter as the store spells it."""

NUMBER_TYPES: Final = frozenset({"uint", "int"})

STAMP: Final = "_hevlayer_upserted_at"
"""When a row was last written, in milliseconds since 1970."""

PARENT: Final = "_hevlayer_parent_id"
"""Which document a row is a part of."""

PLACE: Final = "_hevlayer_chunk_index"
"""Where in it."""


def is_one_of(name: str, ids: Iterable[str], types: Mapping[str, str]) -> Condition:
    """Return what rows fulfil that have one of some ids in an attribute, written as its type is.

    What cannot be an id of that type is left out.
    """
    if types.get(name) not in NUMBER_TYPES:
        return [name, "In", list(ids)]
    return [name, "In", [int(id_) for id_ in ids if id_.removeprefix("-").isdecimal()]]


@dataclass(frozen=True, slots=True)
class Markers:
    """The attributes of one function."""

    version: str
    """Holds the version that has processed the row."""
    stale_after: str
    """From when on, in milliseconds since 1970, the row is due although it was processed."""


def marker_stem(function_id: FunctionId) -> str:
    """Return what the names of a function's markers have of its id."""
    return function_id.replace("-", "_")


def markers_of(function_id: FunctionId) -> Markers:
    """Return the names of the attributes by which rows remember a function."""
    stem = f"_hevlayer_udf_{marker_stem(function_id)}"
    return Markers(version=f"{stem}_v", stale_after=f"{stem}_stale_after")


def candidate_output(function_id: FunctionId, output: str) -> str:
    """Return where the candidate of a function keeps what it would write to ``output``.

    Raises:
        InvalidRequestError: ``SPEC_INVALID`` when that name is too long.
    """
    name = f"_hevlayer_cand_{marker_stem(function_id)}_{output}"
    if len(name.encode()) > NAME_BYTES_MAX:
        raise InvalidRequestError(
            "SPEC_INVALID",
            f"spec.outputs: {output!r} of a candidate would be kept as an attribute of more than "
            f"{NAME_BYTES_MAX} bytes.",
            field="spec.outputs",
        )
    return name


def due(
    markers: Markers, version: str, *, now_ms: int, attributes: Collection[str]
) -> Condition | None:
    """Return what rows fulfil that are due by their markers; None where all are.

    ``NotEq`` matches rows that lack the attribute, and so does ``Lte``, which therefore stands
    behind a guard. A namespace whose schema lacks an attribute refuses to filter by it.

    Args:
        attributes: Those that the schema of the namespace has.
    """
    if markers.version not in attributes:
        return None
    other_version: Condition = [markers.version, "NotEq", version]
    if markers.stale_after not in attributes:
        return other_version
    stale: Condition = [
        "And",
        [[markers.stale_after, "NotEq", None], [markers.stale_after, "Lte", now_ms]],
    ]
    return ["Or", [other_version, stale]]


def done(markers: Markers, version: str) -> Condition:
    """Return what rows fulfil that ``version`` has processed, where the schema has the marker."""
    return [markers.version, "Eq", version]


def is_due(version: str, *, now_ms: int, version_found: object, stale_found: object) -> bool:
    """Tell whether a row with these markers is due, as :func:`due` says it."""
    is_stale = isinstance(stale_found, int) and stale_found <= now_ms
    return version_found != version or is_stale
