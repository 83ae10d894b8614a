"""The bytes of a change in the log: MessagePack with vectors as raw little-endian floats."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import msgspec
import numpy as np

from layer_vectorstore.domain.attribute_types import find_type
from layer_vectorstore.domain.changes import (
    Change,
    ColumnValues,
    Delete,
    Patch,
    Put,
    Settings,
    Step,
)
from layer_vectorstore.domain.schema import AttributeSchema, FullTextSearch, Schema
from layer_vectorstore.domain.vectors import Metric

VERSION: Final = 1
_KINDS: Final[dict[str, type[Put | Patch]]] = {"put": Put, "patch": Patch}


def encode_change(change: Change) -> bytes:
    return msgspec.msgpack.encode(
        {
            "version": VERSION,
            "settings": _packed_settings(change.settings),
            "steps": [_packed_step(step) for step in change.steps],
        }
    )


def decode_change(payload: bytes) -> Change:
    """Return the change that was encoded.

    Raises:
        ValueError: When a newer release wrote it.
    """
    fields = msgspec.msgpack.decode(payload)
    if fields["version"] != VERSION:
        raise ValueError(f"changes of version {fields['version']} need a newer release")
    return Change(
        settings=_unpacked_settings(fields["settings"]),
        steps=[_unpacked_step(step) for step in fields["steps"]],
    )


def _packed_settings(settings: Settings) -> dict[str, Any]:
    plain = {
        name: getattr(settings, name)
        for name in (
            "metric",
            "created_at_ms",
            "updated_at_ms",
            "last_write_at_ms",
            "replicas",
            "read_only",
            "shards",
            "parent",
        )
    }
    return plain | {
        "attributes": {
            name: {
                "type": str(found.type),
                "filterable": found.filterable,
                "full_text_search": asdict(found.full_text_search)
                if found.full_text_search
                else None,
                "regex": found.regex,
                "glob": found.glob,
                "fuzzy": found.fuzzy,
            }
            for name, found in settings.schema.attributes.items()
        }
    }


def _unpacked_settings(fields: dict[str, Any]) -> Settings:
    attributes = fields.pop("attributes")
    metric = fields.pop("metric")
    return Settings(
        schema=Schema({name: _unpacked_attribute(item) for name, item in attributes.items()}),
        metric=Metric(metric) if metric else None,
        **fields,
    )


def _unpacked_attribute(fields: dict[str, Any]) -> AttributeSchema:
    found = find_type(fields.pop("type"))
    assert found is not None, "only known types are written"
    text = fields.pop("full_text_search")
    return AttributeSchema(
        type=found, full_text_search=FullTextSearch(**text) if text else None, **fields
    )


def _packed_step(step: Step) -> dict[str, Any]:
    if isinstance(step, Delete):
        return {"kind": "delete", "ids": step.ids}
    kind = "put" if isinstance(step, Put) else "patch"
    columns = {name: _packed_values(values) for name, values in step.columns.items()}
    return {"kind": kind, "ids": step.ids, "columns": columns}


def _unpacked_step(fields: dict[str, Any]) -> Step:
    if fields["kind"] == "delete":
        return Delete(fields["ids"])
    columns = {name: _unpacked_values(values) for name, values in fields["columns"].items()}
    return _KINDS[fields["kind"]](fields["ids"], columns)


def _packed_values(values: ColumnValues) -> Any:
    if isinstance(values, np.ndarray):
        return _packed_matrix(values)
    return [_packed_matrix(value) if isinstance(value, np.ndarray) else value for value in values]


def _unpacked_values(values: Any) -> ColumnValues:
    if _is_matrix(values):
        return _unpacked_matrix(values)
    if values and any(_is_matrix(value) for value in values):
        return [_unpacked_matrix(value) if _is_matrix(value) else value for value in values]
    column: list[Any] = values
    return column


def _packed_matrix(matrix: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {"rows": len(matrix), "f32": np.ascontiguousarray(matrix, dtype="<f4").tobytes()}


def _is_matrix(value: Any) -> bool:
    # Sparse vectors are maps too, but of numbers: only a matrix holds bytes.
    return isinstance(value, dict) and isinstance(value.get("f32"), bytes)


def _unpacked_matrix(value: dict[str, Any]) -> np.ndarray[Any, Any]:
    flat = np.frombuffer(value["f32"], dtype="<f4").astype(np.float32)
    return flat.reshape(value["rows"], -1) if value["rows"] else flat.reshape(0, 1)
