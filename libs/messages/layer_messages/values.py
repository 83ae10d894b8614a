"""Values of attributes: a message of each type, and what stands for it in JSON.

JSON tells neither dates nor UUIDs from other text and prints some floats as integers, so a value
is read by the type of its attribute. What does not fit that type is taken for what it looks like.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import msgspec
from google.protobuf import struct_pb2

from layer.common.v1 import common_pb2
from layer_kit.errors import InvalidRequestError
from layer_messages.ids import UUID
from layer_messages.vectors import (
    FLOAT_BYTES,
    fill_sparse,
    fill_vector,
    fill_vectors,
    sparse_json,
    vector_json,
    vectors_json,
)
from layer_wire.ids import UNSIGNED_MAX
from layer_wire.jsontext import Raw
from layer_wire.moments import epoch_ms, rfc3339

SIGNED_MAX: Final = 2**63 - 1
SIGNED_MIN: Final = -(2**63)
TYPES_REMEMBERED_MAX: Final = 4096

_LARGE: Final = re.compile(r"[1-9][0-9]{18,19}")
_NOT_IN_LISTS: Final = frozenset(
    {"list_value", "vector_value", "vector_list_value", "sparse_vector_value", "json_value"}
)
Fill = Callable[[common_pb2.Value, Raw], bool]
"""Sets a value from JSON; tells whether the JSON was of the type."""

FillScalar = Callable[[common_pb2.Value, object], bool]


def value_json(value: common_pb2.Value, where: str) -> object:
    """Return what the JSON encoder writes for ``value``; bytes become base64.

    Raises:
        InvalidRequestError: ``VALUE_INVALID`` or ``VECTOR_INVALID``, naming ``where`` it stands.
    """
    match value.WhichOneof("kind"):
        case "list_value":
            items = value.list_value.values
            return [_item_json(item, f"{where}[{at}]") for at, item in enumerate(items)]
        case "vector_value":
            return vector_json(value.vector_value, where)
        case "vector_list_value":
            return vectors_json(value.vector_list_value, where)
        case "sparse_vector_value":
            return sparse_json(value.sparse_vector_value, where)
        case "json_value":
            return _checked_json(value.json_value, where)
        case _:
            return _scalar_json(value, where)


def plain_json(value: common_pb2.Value, where: str) -> object:
    """Return a value as workers read it: a vector as numbers, where the store takes base64."""
    if value.WhichOneof("kind") != "vector_value":
        return value_json(value, where)
    vector = value.vector_value
    return struct.unpack(f"<{len(vector.data) // FLOAT_BYTES}f", vector.data)


def is_vector(value: common_pb2.Value) -> bool:
    """Tell whether a value is one or several vectors."""
    kind = value.WhichOneof("kind")
    return kind in {"vector_value", "vector_list_value", "sparse_vector_value"}


def fill_value(target: common_pb2.Value, text: Raw, type_: str) -> None:
    """Set ``target`` from JSON.

    Args:
        type_: The type of the attribute as the store spells it; empty where it is not known.
    """
    fill = _reader(type_)
    if fill is not None:
        if fill(target, text):
            return
        target.Clear()
    _fill_inferred(target, text)


def _item_json(value: common_pb2.Value, where: str) -> object:
    if value.WhichOneof("kind") in _NOT_IN_LISTS:
        raise _invalid(where, "a list holds neither lists nor vectors nor JSON")
    return _scalar_json(value, where)


def _scalar_json(value: common_pb2.Value, where: str) -> object:
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "int_value":
            return value.int_value
        case "bool_value":
            return value.bool_value
        case "double_value" if math.isfinite(value.double_value):
            return value.double_value
        case "date_time_value" if (text := rfc3339(value.date_time_value.epoch_ms)) is not None:
            return text
        case "uuid_value" if UUID.fullmatch(value.uuid_value.text):
            return value.uuid_value.text
        case "large_int_value" if _is_large(value.large_int_value):
            return int(value.large_int_value)
        case "null_value":
            return None
        case None:
            raise _invalid(where, "a value has exactly one of its fields set")
        case kind:
            raise _invalid(where, f"{kind} is not in the form or the range that its field asks for")


def _is_large(text: str) -> bool:
    return _LARGE.fullmatch(text) is not None and SIGNED_MAX < int(text) <= UNSIGNED_MAX


def _checked_json(text: bytes, where: str) -> Raw:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _invalid(where, "json_value is not JSON in UTF-8") from error
    return Raw(text)


def _invalid(where: str, rule: str) -> InvalidRequestError:
    return InvalidRequestError("VALUE_INVALID", f"{where}: {rule}.", where=where)


@lru_cache(maxsize=TYPES_REMEMBERED_MAX)
def _reader(type_: str) -> Fill | None:
    """Return what reads values of a type that JSON does not tell; None for the other types."""
    if type_.startswith("{}"):
        return fill_sparse
    element = type_.removeprefix("[]")
    if element.startswith("["):
        return fill_vector if element == type_ else fill_vectors
    scalar = _SCALARS.get(element)
    if scalar is None:
        return None
    return _scalar_reader(scalar) if element == type_ else _list_reader(scalar)


def _scalar_reader(fill: FillScalar) -> Fill:
    return lambda target, text: fill(target, msgspec.json.decode(text))


def _list_reader(fill: FillScalar) -> Fill:
    def fill_list(target: common_pb2.Value, text: Raw) -> bool:
        found = msgspec.json.decode(text)
        if not isinstance(found, list):
            return False
        target.list_value.SetInParent()
        values = target.list_value.values
        return all(fill(values.add(), item) for item in found)

    return fill_list


def _fill_double(target: common_pb2.Value, found: object) -> bool:
    if isinstance(found, bool) or not isinstance(found, int | float):
        return False
    target.double_value = found
    return True


def _fill_date_time(target: common_pb2.Value, found: object) -> bool:
    if not isinstance(found, str) or (moment := epoch_ms(found)) is None:
        return False
    target.date_time_value.epoch_ms = moment
    return True


def _fill_uuid(target: common_pb2.Value, found: object) -> bool:
    if not isinstance(found, str):
        return False
    target.uuid_value.text = found
    return True


_SCALARS: Final[dict[str, FillScalar]] = {
    "float": _fill_double,
    "datetime": _fill_date_time,
    "uuid": _fill_uuid,
}


def _fill_inferred(target: common_pb2.Value, text: Raw) -> None:
    """Set what ``text`` looks like: a scalar, a list of scalars, or else JSON."""
    found = msgspec.json.decode(text)
    if isinstance(found, list):
        target.list_value.SetInParent()
        values = target.list_value.values
        if all(_fill_scalar(values.add(), item) for item in found):
            return
        target.Clear()
    elif _fill_scalar(target, found):
        return
    target.json_value = bytes(text)


def _fill_scalar(target: common_pb2.Value, found: object) -> bool:
    match found:
        case None:
            target.null_value = struct_pb2.NULL_VALUE
        case bool():
            target.bool_value = found
        case int() if SIGNED_MIN <= found <= SIGNED_MAX:
            target.int_value = found
        case int() if SIGNED_MAX < found <= UNSIGNED_MAX:
            target.large_int_value = str(found)
        case float():
            target.double_value = found
        case str():
            target.string_value = found
        case _:
            return False
    return True
