"""Turns the JSON values of written rows into stored columns, inferring types on the way."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from layer_vectorstore.domain.attribute_types import AttributeType, Element, Kind
from layer_vectorstore.domain.changes import ColumnValues
from layer_vectorstore.domain.errors import (
    MalformedError,
    RefusedError,
    attribute_type_changed,
    attribute_value_invalid,
    dimensions_refused,
)
from layer_vectorstore.domain.limits import DIMENSIONS_MAX, FILTERABLE_VALUE_BYTES_MAX
from layer_vectorstore.domain.ranking import parse_weights
from layer_vectorstore.domain.schema import AttributeSchema, Schema
from layer_vectorstore.domain.values import ValueMismatchError, convert, infer_type, size_bytes
from layer_vectorstore.domain.vectors import Float32s, decode_matrix, decode_vector, rounded

VECTOR = "vector"

_JSON_ELEMENTS: Final = {
    Element.UUID: Element.STRING,
    Element.DATETIME: Element.STRING,
    Element.UINT: Element.INT,
}


def infer_types(columns: Mapping[str, Sequence[Any]], schema: Schema) -> dict[str, AttributeType]:
    """Return the types of attributes that ``schema`` does not know yet.

    Raises:
        RefusedError: ``ATTRIBUTE_VALUE_INVALID``.
    """
    found = {}
    for name, values in columns.items():
        if name in schema.attributes:
            continue
        inferred = _infer_vector(values) if name == VECTOR else _infer_column(name, values)
        if inferred is not None:
            found[name] = inferred
    return found


def stored_columns(columns: Mapping[str, Sequence[Any]], schema: Schema) -> dict[str, ColumnValues]:
    """Return the stored form of each column; those of unknown type hold no value and are left out.

    Raises:
        RefusedError: ``ATTRIBUTE_VALUE_INVALID``, ``ATTRIBUTE_TYPE_CHANGED``,
            ``FILTERABLE_VALUE_TOO_LONG`` or ``VECTOR_INVALID``.
    """
    return {
        name: _stored_column(name, values, schema.attributes[name])
        for name, values in columns.items()
        if name in schema.attributes
    }


def _infer_column(name: str, values: Sequence[Any]) -> AttributeType | None:
    for value in values:
        try:
            if (found := infer_type(value)) is not None:
                return found
        except ValueMismatchError as error:
            raise attribute_value_invalid(name, "a scalar or an array", value) from error
    return None


def _infer_vector(values: Sequence[Any]) -> AttributeType | None:
    first = next((value for value in values if value is not None), None)
    if first is None:
        return None
    dimensions = len(_decoded(VECTOR, first, "a vector"))
    if not 1 <= dimensions <= DIMENSIONS_MAX:
        raise dimensions_refused()
    return AttributeType(Kind.DENSE, Element.F32, dimensions)


def _stored_column(name: str, values: Sequence[Any], attribute: AttributeSchema) -> ColumnValues:
    match attribute.type.kind:
        case Kind.DENSE:
            return _dense(name, values, attribute.type)
        case Kind.LATE_INTERACTION:
            return [_late_interaction(name, value, attribute.type) for value in values]
        case Kind.SPARSE:
            return [_sparse(name, value) for value in values]
        case Kind.SCALAR | Kind.ARRAY:
            converted = [_converted(name, value, attribute.type) for value in values]
            if attribute.is_filterable and attribute.type.element is Element.STRING:
                _check_filterable(name, converted)
            return converted


def _converted(name: str, value: object, found: AttributeType) -> Any:
    try:
        return convert(value, found)
    except ValueMismatchError as error:
        try:
            other = infer_type(value)
        except ValueMismatchError:
            other = None
        if other is None or other == _json_form(found):
            raise attribute_value_invalid(name, found, value) from error
        raise attribute_type_changed(name, found, other) from error


def _json_form(found: AttributeType) -> AttributeType:
    """Return the type that JSON values of ``found`` look like."""
    return replace(found, element=_JSON_ELEMENTS.get(found.element, found.element))


def _check_filterable(name: str, values: Sequence[Any]) -> None:
    for value in values:
        items = value if isinstance(value, list) else [value]
        for item in items:
            # No character has more than four bytes, so short texts need not be encoded.
            may_be_long = item is not None and len(item) * 4 > FILTERABLE_VALUE_BYTES_MAX
            if may_be_long and size_bytes(item) > FILTERABLE_VALUE_BYTES_MAX:
                raise RefusedError(
                    "FILTERABLE_VALUE_TOO_LONG",
                    f"💔 attribute '{name}' has a value of more than {FILTERABLE_VALUE_BYTES_MAX} "
                    "bytes, which cannot be filtered by; set `filterable: false` in its schema",
                    attribute=name,
                )


def _dense(name: str, values: Sequence[Any], found: AttributeType) -> Float32s:
    matrix = _packed(values, found.dimensions)
    if matrix is None:
        rows = []
        for value in values:
            if value is None:
                raise _missing_vector(name)
            row = _decoded(name, value, found)
            if len(row) != found.dimensions:
                raise RefusedError(
                    "VECTOR_INVALID",
                    f"💔 vector dimension mismatch for attribute '{name}': "
                    f"expected {found.dimensions}, got {len(row)}",
                )
            rows.append(row)
        matrix = np.stack(rows) if rows else np.empty((0, found.dimensions), dtype=np.float32)
    try:
        return rounded(matrix, found)
    except ValueMismatchError as error:
        raise RefusedError(
            "VECTOR_INVALID", f"💔 a component of '{name}' is out of the range of {found}"
        ) from error


def _packed(values: Sequence[Any], dimensions: int) -> Float32s | None:
    """Decode a column of base64 vectors of the right size at once; None if it is not one."""
    if not all(isinstance(value, str) for value in values):
        return None
    try:
        parts = [base64.b64decode(value, validate=True) for value in values]
    except (binascii.Error, ValueError):
        return None
    if any(len(part) != 4 * dimensions for part in parts):
        return None
    matrix = np.frombuffer(b"".join(parts), dtype="<f4").reshape(-1, dimensions)
    return matrix.astype(np.float32) if np.isfinite(matrix).all() else None


def _late_interaction(name: str, value: object, found: AttributeType) -> Float32s:
    if value is None:
        raise _missing_vector(name)
    try:
        return rounded(decode_matrix(value, found.dimensions), found)
    except ValueMismatchError as error:
        raise attribute_value_invalid(name, found, value) from error


def _sparse(name: str, value: object) -> dict[str, float] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise attribute_value_invalid(name, "{}f16", value)
    try:
        weights = parse_weights(value, name)
    except MalformedError as error:
        raise attribute_value_invalid(name, "{}f16", value) from error
    with np.errstate(over="ignore"):
        kept = np.array(list(weights.values()), dtype=np.float16).astype(np.float64)
    if not np.isfinite(kept).all():
        raise attribute_value_invalid(name, "{}f16", "a weight out of range")
    return dict(zip(weights, kept.tolist(), strict=True))


def _decoded(name: str, value: object, expected: object) -> Float32s:
    try:
        return decode_vector(value)
    except ValueMismatchError as error:
        raise RefusedError(
            "VECTOR_INVALID",
            f"💔 invalid vector for attribute '{name}': expected {expected} as an array of numbers "
            "or as base64 of little-endian f32",
        ) from error


def _missing_vector(name: str) -> RefusedError:
    return RefusedError(
        "VECTOR_MISSING", f"💔 every document must have the vector attribute '{name}'"
    )
