"""Rows that pipelines write, from JSON of the contract to messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from layer.common.v1 import common_pb2
from layer.runtime.v1 import runtime_pb2
from layer_gateway.adapters.given_values import fill_given
from layer_kit.errors import InvalidRequestError
from layer_wire import pipelines as wire
from layer_wire.jsontext import ABSENT, Raw, is_null
from layer_wire.reserved import OF_DOCUMENTS, RESERVED_PREFIX, VECTOR_KEYS

_TYPES: Final = {"vector_value": "[0]f32", "vector_list_value": "[][0]f32"}
_ID: Final = msgspec.json.Decoder(str)


def vector_messages(vectors: Sequence[wire.Vector]) -> list[runtime_pb2.ChunkVector]:
    """Return rows of which each has exactly one of ``vector`` and ``vectors``.

    Raises:
        InvalidRequestError: ``VECTOR_INVALID`` or ``ATTRIBUTE_RESERVED``, naming the field.
    """
    messages = []
    for at, vector in enumerate(vectors):
        where = f"vectors[{at}]"
        if is_null(vector.vector) == is_null(vector.vectors):
            raise _invalid(where, "has exactly one of vector and vectors")
        messages.append(_message(vector, vector.attributes or {}, where))
    return messages


def row_messages(rows: Sequence[Mapping[str, Raw]]) -> list[runtime_pb2.ChunkVector]:
    """Return rows as a write has them; errors as for :func:`vector_messages`."""
    messages = []
    for at, row in enumerate(rows):
        where = f"rows[{at}]"
        try:
            row_id = _ID.decode(row.get("id", ABSENT))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _invalid(f"{where}.id", "is not a string") from error
        vector = wire.Vector(
            id=row_id, vector=row.get("vector", ABSENT), vectors=row.get("vectors", ABSENT)
        )
        if not is_null(vector.vector) and not is_null(vector.vectors):
            raise _invalid(where, "has at most one of vector and vectors")
        attributes = {
            name: text for name, text in row.items() if name not in VECTOR_KEYS and name != "id"
        }
        messages.append(_message(vector, attributes, where))
    return messages


def _message(
    vector: wire.Vector, attributes: Mapping[str, Raw], where: str
) -> runtime_pb2.ChunkVector:
    message = runtime_pb2.ChunkVector(row_id=vector.id)
    if not is_null(vector.vector):
        found = _vector(vector.vector, "vector_value", f"{where}.vector")
        message.vector.CopyFrom(found.vector_value)
    if not is_null(vector.vectors):
        found = _vector(vector.vectors, "vector_list_value", f"{where}.vectors")
        message.vectors.CopyFrom(found.vector_list_value)
    for name, text in attributes.items():
        place = f"{where}.attributes.{name[:64]}"
        is_reserved = name.startswith(RESERVED_PREFIX) and name not in OF_DOCUMENTS
        if is_reserved or name in VECTOR_KEYS or name == "id":
            raise InvalidRequestError(
                "ATTRIBUTE_RESERVED", f"{place} is not a name for an attribute.", field=place
            )
        fill_given(message.attributes[name], text, place)
    return message


def _vector(text: Raw, kind: str, where: str) -> common_pb2.Value:
    value = common_pb2.Value()
    fill_given(value, text, where, _TYPES[kind])
    if value.WhichOneof("kind") != kind:
        raise _invalid(where, "is not made of numbers, or not of base64 of 32-bit floats")
    return value


def _invalid(where: str, rule: str) -> InvalidRequestError:
    return InvalidRequestError("VECTOR_INVALID", f"{where} {rule}.", field=where)
