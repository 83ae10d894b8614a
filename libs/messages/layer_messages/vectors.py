"""Vectors: little-endian 32-bit floats in messages; base64, numbers or an object in JSON."""

from __future__ import annotations

import base64
import binascii
import math
import struct
from typing import Final

import msgspec

from layer.common.v1 import common_pb2
from layer_kit.errors import InvalidRequestError
from layer_wire.jsontext import Raw

FLOAT_BYTES: Final = 4
DIMENSION_MAX: Final = 10_752
SPARSE_COUNT_MAX: Final = 1024
LARGEST_HEADS: Final = (0x7F, 0xFF)
"""The last byte of a 32-bit float whose exponent is at or next to its maximum."""

_ONE: Final[msgspec.json.Decoder[str | list[float]]] = msgspec.json.Decoder(str | list[float])
_MANY: Final[msgspec.json.Decoder[list[str | list[float]]]] = msgspec.json.Decoder(
    list[str | list[float]]
)
_SPARSE: Final[msgspec.json.Decoder[dict[str, float]]] = msgspec.json.Decoder(dict[str, float])


def vector_json(vector: common_pb2.Vector, where: str) -> bytes:
    """Return the components of a vector, which JSON then holds as base64.

    Raises:
        InvalidRequestError: ``VECTOR_INVALID``, naming ``where`` it stands.
    """
    _check(vector, where)
    return vector.data


def vectors_json(vectors: common_pb2.VectorList, where: str) -> list[tuple[float, ...]]:
    """Return the components of several vectors as numbers: the store takes no base64 of these.

    Raises:
        InvalidRequestError: ``VECTOR_INVALID``.
    """
    found = [_components(item, f"{where}[{at}]") for at, item in enumerate(vectors.vectors)]
    if not found or len({len(components) for components in found}) > 1:
        raise _invalid(where, "has at least one vector, and all of the same dimension")
    return found


def sparse_json(vector: common_pb2.SparseVector, where: str) -> dict[str, float]:
    """Return the weight of each dimension.

    Raises:
        InvalidRequestError: ``VECTOR_INVALID``.
    """
    names, weights = vector.dimensions, vector.weights
    if not 1 <= len(names) <= SPARSE_COUNT_MAX or len(names) != len(weights):
        raise _invalid(where, f"has 1 to {SPARSE_COUNT_MAX} dimensions and as many weights")
    found = dict(zip(names, weights, strict=True))
    if len(found) < len(names) or not math.isfinite(sum(weights)):
        raise _invalid(where, "names each dimension once and has finite weights")
    return found


def fill_vector(target: common_pb2.Value, text: Raw) -> bool:
    """Set a dense vector, numbers or base64; tell whether ``text`` is one."""
    try:
        return _fill(target.vector_value, _ONE.decode(text))
    except msgspec.DecodeError:
        return False


def fill_vectors(target: common_pb2.Value, text: Raw) -> bool:
    """Set several dense vectors; tell whether ``text`` is a list of them."""
    try:
        found = _MANY.decode(text)
    except msgspec.DecodeError:
        return False
    vectors = target.vector_list_value.vectors
    return bool(found) and all(_fill(vectors.add(), item) for item in found)


def fill_sparse(target: common_pb2.Value, text: Raw) -> bool:
    """Set a sparse vector; tell whether ``text`` is one."""
    try:
        found = _SPARSE.decode(text)
    except msgspec.DecodeError:
        return False
    target.sparse_vector_value.dimensions.extend(found)
    target.sparse_vector_value.weights.extend(found.values())
    return True


def _components(vector: common_pb2.Vector, where: str) -> tuple[float, ...]:
    _check(vector, where)
    return struct.unpack(f"<{vector.dimension}f", vector.data)


def _check(vector: common_pb2.Vector, where: str) -> None:
    count = vector.dimension
    if not 1 <= count <= DIMENSION_MAX or len(vector.data) != FLOAT_BYTES * count:
        raise _invalid(where, f"has a dimension of 1 to {DIMENSION_MAX} and 4 bytes for each")
    if not _is_finite(vector.data, count):
        raise _invalid(where, "has finite components only")


def _is_finite(data: bytes, count: int) -> bool:
    """Tell whether every 32-bit float is finite, as a rule without making numbers of them."""
    heads = data[FLOAT_BYTES - 1 :: FLOAT_BYTES]
    if not any(head in heads for head in LARGEST_HEADS):
        return True
    # A sum in double precision is finite exactly when every 32-bit float in it is.
    return math.isfinite(sum(struct.unpack(f"<{count}f", data)))


def _fill(target: common_pb2.Vector, found: str | list[float]) -> bool:
    try:
        if isinstance(found, str):
            data = base64.b64decode(found, validate=True)
        else:
            data = struct.pack(f"<{len(found)}f", *found)
    except (binascii.Error, OverflowError, ValueError):
        return False
    target.dimension, remainder = divmod(len(data), FLOAT_BYTES)
    target.data = data
    return bool(data) and not remainder


def _invalid(where: str, rule: str) -> InvalidRequestError:
    return InvalidRequestError("VECTOR_INVALID", f"{where}: a vector {rule}.", where=where)
