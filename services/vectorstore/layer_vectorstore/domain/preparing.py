"""Checks a whole write before anything changes: after this, carrying it out cannot fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from layer_vectorstore.domain.attribute_types import UUID, AttributeType
from layer_vectorstore.domain.changes import ColumnValues
from layer_vectorstore.domain.conditions import BoundCondition, bind_write_condition
from layer_vectorstore.domain.encoding_rows import VECTOR, infer_types, stored_columns
from layer_vectorstore.domain.errors import RefusedError, plain
from layer_vectorstore.domain.filters import Filter
from layer_vectorstore.domain.ids import DocumentId, id_type_of, stored_ids
from layer_vectorstore.domain.predicates import Predicate, bind
from layer_vectorstore.domain.schema import ID, AttributeUpdate, Schema
from layer_vectorstore.domain.vectors import Metric
from layer_vectorstore.domain.write import RowSet, WriteRequest

SHOWN_DUPLICATES_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class PreparedRows:
    ids: Sequence[DocumentId]
    columns: Mapping[str, ColumnValues]
    condition: BoundCondition | None


@dataclass(frozen=True, slots=True)
class PreparedPatch:
    predicate: Predicate
    columns: Mapping[str, ColumnValues]
    """One value each, for every row that matches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedWrite:
    request: WriteRequest
    schema: Schema
    metric: Metric | None
    delete_by_filter: Predicate | None
    patch_by_filter: PreparedPatch | None
    upserts: PreparedRows | None
    patches: tuple[PreparedRows, ...]
    deletes: PreparedRows | None


def prepare(
    request: WriteRequest, schema: Schema, metric: Metric | None, *, rows_count: int
) -> PreparedWrite:
    """Check a write against the namespace as it is.

    Args:
        request: What to write.
        schema: Of the namespace now; empty for a new one.
        metric: Of the namespace's vectors, once it has any.
        rows_count: How many rows the namespace has.

    Raises:
        RefusedError: When any part of the write cannot be done; then nothing is done.
    """
    _refuse_duplicates(request)
    after = _schema_after(request, schema, rows_count=rows_count)
    metric = _metric_after(request, after, metric)
    _check_vectors(request, after)
    prepared = PreparedWrite(
        request=request,
        schema=after,
        metric=metric,
        delete_by_filter=_bound(request.delete_by_filter, after),
        patch_by_filter=_prepare_patch(request, after),
        upserts=_prepare_rows(request.upserts, request.upsert_condition, after),
        patches=tuple(
            prepared
            for patch in request.patches or ()
            if (prepared := _prepare_rows(patch, request.patch_condition, after))
        ),
        deletes=_prepare_rows(
            None if request.deletes is None else RowSet(request.deletes, {}),
            request.delete_condition,
            after,
        ),
    )
    if after.id_type == UUID:
        _refuse_respelled(prepared)
    return prepared


def _refuse_respelled(prepared: PreparedWrite) -> None:
    """Refuse two spellings of one UUID, which are no duplicates in the request."""
    parts = (prepared.upserts, *prepared.patches, prepared.deletes)
    ids = [document_id for part in parts if part is not None for document_id in part.ids]
    if len(set(ids)) < len(ids):
        raise RefusedError(
            "IDS_DUPLICATE",
            "💔 This upsert contains duplicate document IDs and was not written.",
        )


def _refuse_duplicates(request: WriteRequest) -> None:
    counts = Counter(document_id for ids in _iter_ids(request) for document_id in ids)
    duplicates = [document_id for document_id, count in counts.items() if count > 1]
    if duplicates:
        listed = ", ".join(plain(item) for item in duplicates[:SHOWN_DUPLICATES_MAX])
        raise RefusedError(
            "IDS_DUPLICATE",
            "💔 This upsert contains duplicate document IDs and was not written. "
            f"Duplicate IDs: {listed}",
        )


def _iter_ids(request: WriteRequest) -> Iterator[Sequence[DocumentId]]:
    if request.upserts is not None:
        yield request.upserts.ids
    for patch in request.patches or ():
        yield patch.ids
    if request.deletes is not None:
        yield request.deletes


def _schema_after(request: WriteRequest, schema: Schema, *, rows_count: int) -> Schema:
    after = schema.updated(request.schema)
    if after.id_type is None and (id_type := _inferred_id_type(request)):
        # First, because answers list the attributes in this order.
        after = Schema({}).with_types({ID: id_type}).updated(_as_updates(after))
    for columns in _iter_columns(request):
        after = after.with_types(infer_types(columns, after))
    for name, update in request.schema.items():
        if update.drop and name in after.attributes:
            # Its rows would keep values of the type that it no longer has.
            raise RefusedError(
                "ATTRIBUTE_DROPPED_AND_WRITTEN",
                f"💔 attribute '{name}' cannot be dropped and written in the same request",
                attribute=name,
            )
    added = [name for name in after.vectors if name not in schema.attributes]
    if added and rows_count:
        if added == [VECTOR] and not schema.vectors and VECTOR not in request.schema:
            raise RefusedError(
                "VECTOR_UNEXPECTED",
                "💔 Vector provided for namespace without vector attribute",
            )
        raise RefusedError(
            "VECTOR_ADDED",
            f"💔 vector attribute '{added[0]}' cannot be added to a namespace with documents",
        )
    return after


def _as_updates(schema: Schema) -> dict[str, AttributeUpdate]:
    return {
        name: AttributeUpdate(
            type=found.type,
            filterable=found.filterable,
            full_text_search=found.full_text_search,
            regex=found.regex,
            glob=found.glob,
            fuzzy=found.fuzzy,
        )
        for name, found in schema.attributes.items()
    }


def _inferred_id_type(request: WriteRequest) -> AttributeType | None:
    ids = request.upserts.ids if request.upserts is not None else ()
    return id_type_of(ids[0]) if ids else None


def _iter_columns(request: WriteRequest) -> Iterator[Mapping[str, Sequence[Any]]]:
    if request.upserts is not None:
        yield request.upserts.columns
    for patch in request.patches or ():
        yield {name: values for name, values in patch.columns.items() if name != VECTOR}
    if request.patch_by_filter is not None:
        yield {name: [value] for name, value in request.patch_by_filter.patch.items()}


def _metric_after(request: WriteRequest, after: Schema, metric: Metric | None) -> Metric | None:
    if request.metric is None or metric is None:
        metric = metric or request.metric
        writes = request.upserts is not None and len(request.upserts.ids) > 0
        if metric is None and after.vectors and writes:
            raise RefusedError(
                "METRIC_MISSING",
                "💔 distance_metric must be specified for write to namespace with a vector",
            )
        return metric if after.vectors else None
    if request.metric is not metric:
        raise RefusedError(
            "METRIC_MISMATCH",
            f"💔 distance metric mismatch, expected {metric}, got {request.metric}",
        )
    return metric


def _check_vectors(request: WriteRequest, after: Schema) -> None:
    patched = [columns.columns for columns in request.patches or ()]
    if request.patch_by_filter is not None:
        patched.append({name: [] for name in request.patch_by_filter.patch})
    if any(name in after.vectors or name == VECTOR for columns in patched for name in columns):
        raise RefusedError("VECTOR_PATCHED", "💔 patching vectors is currently unsupported")
    if request.upserts is not None and request.upserts.ids:
        for name in after.vectors:
            if name not in request.upserts.columns:
                raise RefusedError(
                    "VECTOR_MISSING", f"💔 every document must have the vector attribute '{name}'"
                )


def _prepare_rows(
    rows: RowSet | None, condition: Filter | None, schema: Schema
) -> PreparedRows | None:
    if rows is None or not rows.ids:
        return None
    ids = stored_ids(list(rows.ids), schema.id_type) if schema.id_type else []
    bound = None
    if condition is not None:
        bound = bind_write_condition(condition, rows.ids, rows.columns, schema)
    return PreparedRows(ids, stored_columns(rows.columns, schema), bound)


def _prepare_patch(request: WriteRequest, schema: Schema) -> PreparedPatch | None:
    if request.patch_by_filter is None:
        return None
    columns = {name: [value] for name, value in request.patch_by_filter.patch.items()}
    return PreparedPatch(
        bind(request.patch_by_filter.filter, schema), stored_columns(columns, schema)
    )


def _bound(node: Filter | None, schema: Schema) -> Predicate | None:
    return None if node is None else bind(node, schema)
