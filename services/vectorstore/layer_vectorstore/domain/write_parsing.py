"""Reads the body of a write."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final

from layer_vectorstore.domain.errors import RefusedError, json_kind, malformed
from layer_vectorstore.domain.filters import Filter, parse_filter
from layer_vectorstore.domain.ids import DocumentId, check_id
from layer_vectorstore.domain.json_fields import require_object
from layer_vectorstore.domain.limits import SHARDS_COUNT_MAX
from layer_vectorstore.domain.metric_parsing import parse_metric
from layer_vectorstore.domain.schema import ID
from layer_vectorstore.domain.schema_parsing import check_attribute_name, parse_schema
from layer_vectorstore.domain.vectors import Metric
from layer_vectorstore.domain.write import PatchByFilter, RowSet, WriteRequest

Body = Mapping[str, Any]

ROW_FIELDS: Final = (
    "upsert_rows",
    "upsert_columns",
    "patch_rows",
    "patch_columns",
    "deletes",
    "delete_by_filter",
    "patch_by_filter",
)
FIELDS_BESIDE_COPY: Final = frozenset(
    ("copy_from_namespace", "branch_from_namespace", "sharding", "encryption")
)


def parse_write_request(body: object) -> WriteRequest:
    """Read a write.

    Raises:
        MalformedError: ``BODY_MALFORMED``.
        RefusedError: For what is well formed and not possible.
    """
    fields = {name: value for name, value in require_object(body).items() if value is not None}
    _refuse_hosted_features(fields)
    copy_from = _parse_source(fields, "copy_from_namespace")
    branch_from = _parse_source(fields, "branch_from_namespace")
    schema = parse_schema(fields["schema"], "schema.") if "schema" in fields else {}
    return WriteRequest(
        upserts=_parse_upserts(fields),
        patches=_parse_patches(fields),
        deletes=_parse_ids(fields["deletes"], "deletes") if "deletes" in fields else None,
        upsert_condition=_parse_condition(fields, "upsert_condition"),
        patch_condition=_parse_condition(fields, "patch_condition"),
        delete_condition=_parse_condition(fields, "delete_condition"),
        delete_by_filter=_parse_delete_by_filter(fields),
        delete_by_filter_may_be_partial=_flag(fields, "delete_by_filter_allow_partial"),
        patch_by_filter=_parse_patch_by_filter(fields),
        patch_by_filter_may_be_partial=_flag(fields, "patch_by_filter_allow_partial"),
        returns_ids=_flag(fields, "return_affected_ids"),
        metric=_parse_metric(fields),
        schema=schema,
        creates=_flag(fields, "create_namespace") if "create_namespace" in fields else None,
        copy_from=copy_from,
        branch_from=branch_from,
        shards=_parse_shards(fields),
        ignores_backpressure=_flag(fields, "disable_backpressure"),
    )


def _refuse_hosted_features(fields: Body) -> None:
    sources = (fields.get("copy_from_namespace"), fields.get("branch_from_namespace"))
    wanted = [source.get("dest_encryption") for source in sources if isinstance(source, dict)]
    for encryption in (fields.get("encryption"), *wanted):
        _check_encryption(encryption)


def _check_encryption(encryption: object) -> None:
    match encryption:
        case None | {"mode": "default"}:
            return
        case {"mode": "customer-managed", **rest}:
            raise RefusedError(
                "ENCRYPTION_UNSUPPORTED",
                f"💔 Malformed Cloud KMS crypto key: {rest.get('key_name')!s:.128}; "
                "customer-managed encryption is hosted only",
            )
        case other:
            raise malformed("encryption", f"invalid value: {json_kind(other)}")


def _parse_source(fields: Body, name: str) -> str | None:
    match fields.get(name):
        case None:
            return None
        case str(source):
            pass
        case {"source_namespace": str(source), **rest}:
            if rest.get("source_region") is not None:
                raise RefusedError(
                    "COPY_ACROSS_REGIONS",
                    "💔 copying from another region is hosted only; leave source_region out",
                )
        case _:
            raise malformed(name, "data did not match any variant of untagged enum CopyFrom")
    if set(fields) - FIELDS_BESIDE_COPY or {"copy_from_namespace", "branch_from_namespace"} <= set(
        fields
    ):
        raise RefusedError(
            "COPY_NOT_ALONE", f"💔 {name} cannot be used with other write request fields"
        )
    return source


def _parse_upserts(fields: Body) -> RowSet | None:
    row_sets = []
    if "upsert_rows" in fields:
        ids, rows = _parse_rows(fields["upsert_rows"], "upsert_rows")
        names = dict.fromkeys(name for row in rows for name in row if name != ID)
        row_sets.append(RowSet(ids, {name: [row.get(name) for row in rows] for name in names}))
    if "upsert_columns" in fields:
        row_sets.append(_parse_columns(fields["upsert_columns"], "upsert_columns"))
    if not row_sets:
        return None
    return _checked(row_sets[0] if len(row_sets) == 1 else _joined(row_sets))


def _parse_patches(fields: Body) -> tuple[RowSet, ...] | None:
    if "patch_rows" not in fields and "patch_columns" not in fields:
        return None
    row_sets: list[RowSet] = []
    if "patch_rows" in fields:
        ids, rows = _parse_rows(fields["patch_rows"], "patch_rows")
        by_names: dict[tuple[str, ...], list[int]] = {}
        for index, row in enumerate(rows):
            by_names.setdefault(tuple(sorted(row)), []).append(index)
        for names, indexes in by_names.items():
            columns = {name: [rows[i][name] for i in indexes] for name in names if name != ID}
            row_sets.append(RowSet([ids[i] for i in indexes], columns))
    if "patch_columns" in fields:
        row_sets.append(_parse_columns(fields["patch_columns"], "patch_columns"))
    return tuple(_checked(row_set) for row_set in row_sets)


def _parse_rows(value: object, path: str) -> tuple[list[DocumentId], list[dict[str, Any]]]:
    if not isinstance(value, list):
        raise malformed(path, f"invalid type: {json_kind(value)}, expected a sequence")
    ids = []
    for index, row in enumerate(value):
        if not isinstance(row, dict):
            raise malformed(
                f"{path}[{index}]", f"invalid type: {json_kind(row)}, expected a document"
            )
        if ID not in row:
            raise malformed(f"{path}[{index}]", "missing field `id`")
        ids.append(check_id(row[ID], f"{path}[{index}].id", "Id"))
    return ids, value


def _parse_columns(value: object, path: str) -> RowSet:
    columns = require_object(value, path)
    if ID not in columns:
        raise malformed(path, "missing field `id`")
    ids = _parse_ids(columns[ID], f"{path}.id")
    return RowSet(
        ids,
        {
            name: _parse_column(name, column, len(ids), path)
            for name, column in columns.items()
            if name != ID
        },
    )


def _parse_column(name: str, column: object, count: int, path: str) -> list[Any]:
    if isinstance(column, str):
        return _unpacked(column, count, f"{path}.{name}")
    if not isinstance(column, list):
        raise malformed(f"{path}.{name}", f"invalid type: {json_kind(column)}, expected a sequence")
    if len(column) != count:
        raise RefusedError(
            "COLUMNS_UNEQUAL",
            f"💔 all columns must have the same length: `id` has {count} values, "
            f"but `{name}` has {len(column)}",
        )
    return column


def _unpacked(text: str, count: int, path: str) -> list[str]:
    """Cut a whole column of vectors in one base64 string into one string per row."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise malformed(path, "invalid base64") from error
    if count == 0 or len(data) % (4 * count):
        raise malformed(path, f"{len(data)} bytes cannot be {count} vectors of f32")
    width = len(data) // count
    return [base64.b64encode(data[i * width : (i + 1) * width]).decode() for i in range(count)]


def _parse_ids(value: object, path: str) -> list[DocumentId]:
    if not isinstance(value, list):
        raise malformed(path, "data did not match any variant of untagged enum IdVec")
    return [check_id(item, path, "IdVec") for item in value]


def _joined(row_sets: Sequence[RowSet]) -> RowSet:
    names = dict.fromkeys(name for row_set in row_sets for name in row_set.columns)
    return RowSet(
        [document_id for row_set in row_sets for document_id in row_set.ids],
        {
            name: [
                value
                for row_set in row_sets
                for value in row_set.columns.get(name, [None] * len(row_set.ids))
            ]
            for name in names
        },
    )


def _checked(row_set: RowSet) -> RowSet:
    for name in row_set.columns:
        check_attribute_name(name)
    return row_set


def _parse_condition(fields: Body, name: str) -> Filter | None:
    if name not in fields:
        return None
    return parse_filter(fields[name], name, may_refer_to_new=True)


def _parse_delete_by_filter(fields: Body) -> Filter | None:
    if "delete_by_filter" not in fields:
        return None
    return parse_filter(fields["delete_by_filter"], "delete_by_filter")


def _parse_patch_by_filter(fields: Body) -> PatchByFilter | None:
    match fields.get("patch_by_filter"):
        case None:
            return None
        case {"filters": filters, "patch": dict(patch)}:
            if ID in patch:
                raise RefusedError("ID_PATCHED", "💔 patch_by_filter cannot change the id")
            for name in patch:
                check_attribute_name(name)
            return PatchByFilter(parse_filter(filters, "patch_by_filter.filters"), patch)
        case _:
            raise malformed("patch_by_filter", "expected {filters, patch}")


def _parse_metric(fields: Body) -> Metric | None:
    named = fields.get("distance_metric")
    if named is None:
        # An attribute's own `ann` may name it as well.
        configs = fields["schema"].values() if isinstance(fields.get("schema"), dict) else ()
        for config in configs:
            match config:
                case {"ann": {"distance_metric": found}} if found is not None:
                    named = found
    return None if named is None else parse_metric(named)


def _parse_shards(fields: Body) -> int | None:
    match fields.get("sharding"):
        case None:
            return None
        case {"num_shards": int(count)} if not isinstance(count, bool):
            if not 1 <= count <= SHARDS_COUNT_MAX:
                raise RefusedError(
                    "SHARDING_INVALID", f"💔 num_shards must be between 1 and {SHARDS_COUNT_MAX}"
                )
            return count
        case other:
            raise malformed("sharding", f"invalid type: {json_kind(other)}")


def _flag(fields: Body, name: str) -> bool:
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise malformed(name, f"invalid type: {json_kind(value)}, expected a boolean")
    return value
