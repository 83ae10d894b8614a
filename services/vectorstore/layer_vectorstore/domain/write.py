"""Write requests as values, whatever JSON they came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from layer_vectorstore.domain.filters import Filter
from layer_vectorstore.domain.ids import DocumentId
from layer_vectorstore.domain.schema import AttributeUpdate
from layer_vectorstore.domain.vectors import Metric


@dataclass(frozen=True, slots=True)
class RowSet:
    """Rows that set the same attributes. Values are JSON, one per id, None for missing."""

    ids: Sequence[DocumentId]
    columns: Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class PatchByFilter:
    filter: Filter
    patch: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRequest:
    """None for a kind of write says that it was not asked for, unlike one of no rows."""

    upserts: RowSet | None = None
    patches: tuple[RowSet, ...] | None = None
    deletes: Sequence[DocumentId] | None = None
    upsert_condition: Filter | None = None
    patch_condition: Filter | None = None
    delete_condition: Filter | None = None
    delete_by_filter: Filter | None = None
    delete_by_filter_may_be_partial: bool = False
    patch_by_filter: PatchByFilter | None = None
    patch_by_filter_may_be_partial: bool = False
    returns_ids: bool = False
    metric: Metric | None = None
    schema: Mapping[str, AttributeUpdate] = field(default_factory=dict)
    creates: bool | None = None
    """True creates the namespace even without rows, False never, None with rows only."""
    copy_from: str | None = None
    branch_from: str | None = None
    shards: int | None = None
    ignores_backpressure: bool = False


@dataclass(slots=True, kw_only=True)
class WriteOutcome:
    """What a write did. None for a kind that was not asked for."""

    message: str = "documents committed successfully"
    upserted_ids: Sequence[DocumentId] | None = None
    patched_ids: Sequence[DocumentId] | None = None
    deleted_ids: Sequence[DocumentId] | None = None
    rows_remain: bool | None = None
    written_bytes: int = 0
    has_queried: bool = False
    copied_rows_count: int = 0
