"""Items of functions: messages to what the use cases take, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from google.protobuf import struct_pb2

from layer.common.v1 import common_pb2
from layer.runtime.v1 import runtime_pb2
from layer_kit.errors import InvalidRequestError
from layer_messages.values import value_json
from layer_runtime.application.enqueuing import Written
from layer_runtime.domain.items import Claim, Failure, ItemKey, Reference, Result

RESERVED_PREFIX: Final = "_hevlayer_"
NAME_LENGTH_MAX: Final = 128
"""Of namespaces, and more than ids of rows have."""

PLACES: Final = frozenset({"id", "vector", "vectors"})
"""What stands beside the attributes of a result and not among them."""

_NULL: Final = common_pb2.Value(null_value=struct_pb2.NULL_VALUE)
_KINDS: Final = frozenset(
    {
        runtime_pb2.FAILURE_KIND_TRANSIENT,
        runtime_pb2.FAILURE_KIND_PERMANENT,
        runtime_pb2.FAILURE_KIND_RELEASED,
    }
)


def parse_references(messages: Iterable[runtime_pb2.ItemReference]) -> list[Reference]:
    """Return which items are meant.

    Raises:
        InvalidRequestError: ``ITEM_INVALID``.
    """
    return [_reference(message, f"items[{at}]") for at, message in enumerate(messages)]


def parse_results(messages: Iterable[runtime_pb2.CompletedItem]) -> list[Result]:
    """Return results.

    Raises:
        InvalidRequestError: ``ATTRIBUTE_RESERVED``, ``VALUE_INVALID`` or ``VECTOR_INVALID``.
    """
    return [_result(message, f"items[{at}]") for at, message in enumerate(messages)]


def parse_failures(messages: Iterable[runtime_pb2.ItemFailure]) -> list[Failure]:
    """Return failures.

    Raises:
        InvalidRequestError: ``FAILURE_INVALID``.
    """
    found = []
    for at, message in enumerate(messages):
        if message.kind not in _KINDS:
            raise InvalidRequestError(
                "FAILURE_INVALID", f"items[{at}].kind is not said.", field=f"items[{at}].kind"
            )
        found.append(
            Failure(
                _reference(message.item, f"items[{at}]"),
                message.kind == runtime_pb2.FAILURE_KIND_PERMANENT,
                message.message,
                message.kind == runtime_pb2.FAILURE_KIND_RELEASED,
            )
        )
    return found


def parse_written(messages: Iterable[runtime_pb2.WrittenRows]) -> list[Written]:
    return [
        Written(
            namespace=message.namespace,
            ids=[id_.text for id_ in message.ids],
            is_partial=message.is_partial,
            names=message.attribute_names,
        )
        for message in messages
    ]


def claimed_message(claim: Claim) -> runtime_pb2.ClaimedItem:
    message = runtime_pb2.ClaimedItem(item=reference_message(claim.key, claim.lease))
    for name, value in claim.inputs.items():
        if value is None:
            message.inputs[name].CopyFrom(_NULL)
        else:
            message.inputs[name].ParseFromString(value)
    return message


def reference_message(key: ItemKey, lease: int = 0) -> runtime_pb2.ItemReference:
    return runtime_pb2.ItemReference(
        namespace=key.namespace, id=common_pb2.DocumentId(text=key.id), lease_token=lease
    )


def _reference(message: runtime_pb2.ItemReference, where: str) -> Reference:
    """Return which item is meant; its kind of id is that of its namespace, whatever it says."""
    for name, text in (("namespace", message.namespace), ("id", message.id.text)):
        if not 1 <= len(text) <= NAME_LENGTH_MAX or "\0" in text:
            raise InvalidRequestError(
                "ITEM_INVALID",
                f"{where}.{name} is not 1 to {NAME_LENGTH_MAX} characters without NUL.",
                field=f"{where}.{name}",
            )
    return Reference(ItemKey(message.namespace, message.id.text), message.lease_token)


def _result(message: runtime_pb2.CompletedItem, where: str) -> Result:
    attributes = {}
    for name, value in message.attributes.items():
        place = f"{where}.attributes.{name}"
        if name.startswith(RESERVED_PREFIX) or name in PLACES:
            raise InvalidRequestError(
                "ATTRIBUTE_RESERVED", f"{place} is not an attribute to write.", field=place
            )
        value_json(value, place)
        attributes[name] = value.SerializeToString()
    vector, vectors = b"", b""
    match message.WhichOneof("embedding"):
        case "vector":
            vector = _checked(common_pb2.Value(vector_value=message.vector), f"{where}.vector")
        case "vectors":
            value = common_pb2.Value(vector_list_value=message.vectors)
            vectors = _checked(value, f"{where}.vectors")
        case _:
            pass
    return Result(
        item=_reference(message.item, where),
        attributes=attributes,
        vector=vector,
        vectors=vectors,
    )


def _checked(value: common_pb2.Value, where: str) -> bytes:
    value_json(value, where)
    return value.SerializeToString()
