"""What a write comes down to once it is checked: the unit that is logged, applied and replayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from layer_vectorstore.domain.ids import DocumentId
from layer_vectorstore.domain.schema import Schema
from layer_vectorstore.domain.vectors import Float32s, Metric

ColumnValues = Float32s | Sequence[Any]
"""Stored values, one per row: a float32 matrix for dense vectors, else a list with None for a
missing value (arrays of float32 for late interaction, dicts for sparse vectors)."""


@dataclass(frozen=True, slots=True)
class Put:
    """Rows that replace whatever had their ids; attributes not named become missing."""

    ids: Sequence[DocumentId]
    columns: Mapping[str, ColumnValues]


@dataclass(frozen=True, slots=True)
class Patch:
    """Attributes set on rows that exist; the others stay."""

    ids: Sequence[DocumentId]
    columns: Mapping[str, ColumnValues]


@dataclass(frozen=True, slots=True)
class Delete:
    ids: Sequence[DocumentId]


Step = Put | Patch | Delete


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a namespace is, apart from its rows."""

    schema: Schema
    metric: Metric | None = None
    created_at_ms: int
    updated_at_ms: int
    last_write_at_ms: int | None = None
    replicas: int | None = None
    """Of a pinned namespace; None when it is not pinned."""
    read_only: bool = False
    shards: int | None = None
    parent: str | None = None
    """The namespace that this one was branched from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """All of one request. ``settings`` is the state after it."""

    settings: Settings
    steps: Sequence[Step] = ()
