"""Items of functions: messages to what the use cases take, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Final

from google.protobuf import struct_pb2

from layer.common.v1 import common_pb2
from layer.runtime.v1 import runtime_pb2
from layer_kit.errors import InvalidRequestError
from layer_messages.values import value_json
from layer_runtime.application.enqueuing import Written
from layer_runtime.domain.items import (
    Claim,
    Disposition,
    Failure,
    FoundItem,
    ItemKey,
    ItemState,
    Reference,
    Result,
    Value,
)
from layer_runtime.domain.receipts import Receipt, parse_receipt, receipt_text
from layer_runtime.rpc.function_specs import stamp

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


DISPOSITIONS: Final[Mapping[Disposition, runtime_pb2.Disposition.ValueType]] = {
    Disposition.COMPLETED: runtime_pb2.DISPOSITION_COMPLETED,
    Disposition.GONE: runtime_pb2.DISPOSITION_GONE,
    Disposition.STALE: runtime_pb2.DISPOSITION_STALE,
    Disposition.REFUSED: runtime_pb2.DISPOSITION_REFUSED,
    Disposition.NOT_HELD: runtime_pb2.DISPOSITION_NOT_HELD,
    Disposition.SUPERSEDED: runtime_pb2.DISPOSITION_SUPERSEDED,
}
STATES: Final[Mapping[ItemState, runtime_pb2.ItemState.ValueType]] = {
    ItemState.PENDING: runtime_pb2.ITEM_STATE_PENDING,
    ItemState.PROCESSING: runtime_pb2.ITEM_STATE_PROCESSING,
    ItemState.FAILED: runtime_pb2.ITEM_STATE_FAILED,
    ItemState.COMPLETED: runtime_pb2.ITEM_STATE_COMPLETED,
    ItemState.DUE: runtime_pb2.ITEM_STATE_DUE,
    ItemState.ABSENT: runtime_pb2.ITEM_STATE_ABSENT,
}


def parse_references(messages: Iterable[runtime_pb2.ItemReference]) -> list[Reference]:
    """Return which items are meant.

    Raises:
        InvalidRequestError: ``ITEM_INVALID`` or ``RECEIPT_INVALID``.
    """
    return [_reference(message, f"items[{at}]") for at, message in enumerate(messages)]


def parse_keys(messages: Iterable[runtime_pb2.ItemReference]) -> list[ItemKey]:
    """Return which items are meant, by whichever claim.

    Raises:
        InvalidRequestError: ``ITEM_INVALID``.
    """
    return [_key(message, f"items[{at}]") for at, message in enumerate(messages)]


def parse_results(messages: Iterable[runtime_pb2.CompletedItem]) -> list[Result]:
    """Return results.

    Raises:
        InvalidRequestError: ``ATTRIBUTE_RESERVED``, ``VALUE_INVALID``, ``VECTOR_INVALID`` or
            ``RECEIPT_INVALID``.
    """
    return [_result(message, f"items[{at}]") for at, message in enumerate(messages)]


def parse_failures(messages: Iterable[runtime_pb2.ItemFailure]) -> list[Failure]:
    """Return failures.

    Raises:
        InvalidRequestError: ``FAILURE_INVALID`` or ``RECEIPT_INVALID``.
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
    receipt = Receipt(claim.lease, claim.digest)
    message = runtime_pb2.ClaimedItem(
        item=reference_message(claim.key, claim.lease),
        input_revision=claim.digest.hex(),
        prepared_receipt=receipt_text(claim.key.namespace, claim.key.id, receipt),
    )
    _fill(message.inputs, claim.inputs)
    for page in claim.pages:
        shown = message.pages.add(id=common_pb2.DocumentId(text=page.id), index=page.place)
        _fill(shown.inputs, page.inputs)
    return message


def disposition_messages(found: Sequence[Disposition]) -> list[runtime_pb2.ItemDisposition]:
    return [
        runtime_pb2.ItemDisposition(index=at, disposition=DISPOSITIONS[disposition])
        for at, disposition in enumerate(found)
    ]


def found_message(found: FoundItem) -> runtime_pb2.FoundItem:
    at_ms = found.claimable_at_ms
    return runtime_pb2.FoundItem(
        item=reference_message(found.key, found.lease),
        state=STATES[found.state],
        attempt_count=found.attempts,
        message=found.message,
        worker_id=found.worker,
        claimable_time=None if at_ms is None else stamp(at_ms),
    )


def reference_message(key: ItemKey, lease: int = 0) -> runtime_pb2.ItemReference:
    return runtime_pb2.ItemReference(
        namespace=key.namespace, id=common_pb2.DocumentId(text=key.id), lease_token=lease
    )


def _fill(
    inputs: MutableMapping[str, common_pb2.Value], values: Mapping[str, Value | None]
) -> None:
    for name, value in values.items():
        if value is None:
            inputs[name].CopyFrom(_NULL)
        else:
            inputs[name].ParseFromString(value)


def _key(message: runtime_pb2.ItemReference, where: str) -> ItemKey:
    """Return which item is meant; its kind of id is that of its namespace, whatever it says."""
    for name, text in (("namespace", message.namespace), ("id", message.id.text)):
        if not 1 <= len(text) <= NAME_LENGTH_MAX or "\0" in text:
            raise InvalidRequestError(
                "ITEM_INVALID",
                f"{where}.{name} is not 1 to {NAME_LENGTH_MAX} characters without NUL.",
                field=f"{where}.{name}",
            )
    return ItemKey(message.namespace, message.id.text)


def _reference(message: runtime_pb2.ItemReference, where: str) -> Reference:
    key = _key(message, where)
    if not message.prepared_receipt:
        return Reference(key, message.lease_token)
    place = f"{where}.prepared_receipt"
    receipt = parse_receipt(message.prepared_receipt, key.namespace, key.id, place)
    if message.lease_token not in (0, receipt.lease):
        raise InvalidRequestError(
            "RECEIPT_INVALID", f"{place} is of another claim than lease_token.", field=place
        )
    return Reference(key, receipt.lease, receipt.digest)


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
        revision=message.input_revision,
    )


def _checked(value: common_pb2.Value, where: str) -> bytes:
    value_json(value, where)
    return value.SerializeToString()
