"""Python values to messages of ``layer.common.v1``, and back."""

from __future__ import annotations

import datetime as dt
import json
import struct
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from google.protobuf import struct_pb2

from layer.common.v1 import common_pb2

SIGNED_MAX: Final = 2**63 - 1
FLOAT_BYTES: Final = 4


def to_value(found: Any) -> common_pb2.Value:  # noqa: C901 -- one line a type
    """Return a value as a message.

    Raises:
        TypeError: It is of a type that no attribute has.
    """
    match found:
        case None:
            return common_pb2.Value(null_value=struct_pb2.NULL_VALUE)
        case bool():
            return common_pb2.Value(bool_value=found)
        case int() if abs(found) <= SIGNED_MAX:
            return common_pb2.Value(int_value=found)
        case int():
            return common_pb2.Value(large_int_value=str(found))
        case float():
            return common_pb2.Value(double_value=found)
        case str():
            return common_pb2.Value(string_value=found)
        case uuid.UUID():
            return common_pb2.Value(uuid_value=common_pb2.Uuid(text=str(found)))
        case dt.datetime():
            epoch_ms = round(found.timestamp() * 1000)
            return common_pb2.Value(date_time_value=common_pb2.DateTime(epoch_ms=epoch_ms))
        case Mapping():
            return common_pb2.Value(json_value=json.dumps(found, allow_nan=False).encode())
        case Iterable():
            values = [to_value(item) for item in found]
            return common_pb2.Value(list_value=common_pb2.ValueList(values=values))
        case _:
            if hasattr(found, "item"):  # a scalar of numpy
                return to_value(found.item())
            raise TypeError(f"{type(found).__name__} is no type of an attribute")


def from_value(value: common_pb2.Value) -> Any:
    """Return what a message stands for."""
    kind = value.WhichOneof("kind")
    match kind:
        case "null_value" | None:
            return None
        case "large_int_value":
            return int(value.large_int_value)
        case "date_time_value":
            moment = dt.datetime.fromtimestamp(0, dt.UTC)
            return moment + dt.timedelta(milliseconds=value.date_time_value.epoch_ms)
        case "uuid_value":
            return value.uuid_value.text
        case "list_value":
            return [from_value(item) for item in value.list_value.values]
        case "vector_value":
            return from_vector(value.vector_value)
        case "vector_list_value":
            return [from_vector(vector) for vector in value.vector_list_value.vectors]
        case "sparse_vector_value":
            sparse = value.sparse_vector_value
            return dict(zip(sparse.dimensions, sparse.weights, strict=True))
        case "json_value":
            return json.loads(value.json_value)
        case _:
            return getattr(value, kind)


def to_vector(components: Sequence[float]) -> common_pb2.Vector:
    """Return a dense vector as a message."""
    data = struct.pack(f"<{len(components)}f", *components)
    return common_pb2.Vector(dimension=len(components), data=data)


def from_vector(vector: common_pb2.Vector) -> list[float]:
    """Return the components of a dense vector."""
    return list(struct.unpack(f"<{len(vector.data) // FLOAT_BYTES}f", vector.data))
