"""Items of functions: inputs and results between JSON of the contract and messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from layer.common.v1 import common_pb2
from layer.runtime.v1 import runtime_pb2
from layer_gateway.adapters.function_specs import rfc3339
from layer_gateway.adapters.given_values import fill_given
from layer_kit.errors import InvalidRequestError
from layer_messages.values import plain_json, value_json
from layer_wire import functions as wire
from layer_wire.jsontext import Raw, is_null
from layer_wire.reserved import RESERVED_PREFIX, VECTOR_KEYS

Json = dict[str, object]

KINDS: Final[dict[str, runtime_pb2.FailureKind.ValueType]] = {
    "transient": runtime_pb2.FAILURE_KIND_TRANSIENT,
    "permanent": runtime_pb2.FAILURE_KIND_PERMANENT,
    "released": runtime_pb2.FAILURE_KIND_RELEASED,
}
DISPOSITIONS: Final[Mapping[runtime_pb2.Disposition.ValueType, str]] = {
    runtime_pb2.DISPOSITION_COMPLETED: "completed",
    runtime_pb2.DISPOSITION_GONE: "gone",
    runtime_pb2.DISPOSITION_STALE: "stale",
    runtime_pb2.DISPOSITION_REFUSED: "refused",
    runtime_pb2.DISPOSITION_NOT_HELD: "not_held",
    runtime_pb2.DISPOSITION_SUPERSEDED: "superseded",
}
STATES: Final[Mapping[runtime_pb2.ItemState.ValueType, str]] = {
    runtime_pb2.ITEM_STATE_PENDING: "pending",
    runtime_pb2.ITEM_STATE_PROCESSING: "processing",
    runtime_pb2.ITEM_STATE_FAILED: "failed",
    runtime_pb2.ITEM_STATE_COMPLETED: "completed",
    runtime_pb2.ITEM_STATE_DUE: "due",
    runtime_pb2.ITEM_STATE_ABSENT: "absent",
}
_VECTOR_TYPE: Final = "[0]f32"
_VECTORS_TYPE: Final = "[][0]f32"


def reference(item: wire.ItemRef) -> runtime_pb2.ItemReference:
    return runtime_pb2.ItemReference(
        namespace=item.namespace,
        id=common_pb2.DocumentId(text=item.id),
        lease_token=item.lease_token or 0,
        prepared_receipt=item.prepared_receipt or "",
    )


def reference_json(item: runtime_pb2.ItemReference) -> Json:
    return {"namespace": item.namespace, "id": item.id.text}


def claimed_json(items: Iterable[runtime_pb2.ClaimedItem]) -> list[Json]:
    return [_claimed(item) for item in items]


def disposition_json(found: Iterable[runtime_pb2.ItemDisposition]) -> list[Json]:
    return [{"index": one.index, "disposition": DISPOSITIONS[one.disposition]} for one in found]


def found_json(found: Iterable[runtime_pb2.FoundItem]) -> list[Json]:
    return [_found(one) for one in found]


def completed_messages(items: Iterable[wire.CompletedItem]) -> list[runtime_pb2.CompletedItem]:
    """Return results as messages.

    Raises:
        InvalidRequestError: ``VECTOR_INVALID`` or ``ATTRIBUTE_RESERVED``, naming the field.
    """
    return [_completed(item, f"items[{at}]") for at, item in enumerate(items)]


def failure_messages(items: Iterable[wire.FailedItem]) -> list[runtime_pb2.ItemFailure]:
    return [
        runtime_pb2.ItemFailure(
            item=reference(item), kind=KINDS[item.kind], message=item.message or ""
        )
        for item in items
    ]


def _claimed(item: runtime_pb2.ClaimedItem) -> Json:
    found: Json = {
        **reference_json(item.item),
        "lease_token": item.item.lease_token,
        "input": _inputs(item.inputs),
        "input_revision": item.input_revision,
        "prepared_receipt": item.prepared_receipt,
    }
    if item.pages:
        pages = [_inputs(page.inputs) for page in item.pages]
        # Workers that know nothing of pages call their function with `input`.
        found["input"] = {name: [page[name] for page in pages] for name in pages[0]}
        found["pages"] = [
            {"id": page.id.text, "index": page.index, "input": inputs}
            for page, inputs in zip(item.pages, pages, strict=True)
        ]
    return found


def _inputs(inputs: Mapping[str, common_pb2.Value]) -> Json:
    return {name: plain_json(value, name) for name, value in inputs.items()}


def _found(one: runtime_pb2.FoundItem) -> Json:
    found: Json = {
        **reference_json(one.item),
        "state": STATES[one.state],
        "attempts": one.attempt_count,
    }
    if one.message:
        found["message"] = one.message
    if one.worker_id:
        found |= {"worker_id": one.worker_id, "lease_token": one.item.lease_token}
    if one.HasField("claimable_time"):
        found["claimable_at"] = rfc3339(one.claimable_time)
    return found


def _completed(item: wire.CompletedItem, where: str) -> runtime_pb2.CompletedItem:
    message = runtime_pb2.CompletedItem(
        item=reference(item), input_revision=item.input_revision or ""
    )
    if not is_null(item.vector) and not is_null(item.vectors):
        raise _invalid(f"{where}.vectors", "is not given beside vector")
    if not is_null(item.vector):
        value = _vector(item.vector, _VECTOR_TYPE, "vector_value", f"{where}.vector")
        message.vector.CopyFrom(value.vector_value)
    if not is_null(item.vectors):
        value = _vector(item.vectors, _VECTORS_TYPE, "vector_list_value", f"{where}.vectors")
        message.vectors.CopyFrom(value.vector_list_value)
    _fill_attributes(message, item.attributes or {}, f"{where}.attributes")
    return message


def _fill_attributes(
    message: runtime_pb2.CompletedItem, attributes: Mapping[str, Raw], where: str
) -> None:
    for name, text in attributes.items():
        place = f"{where}.{name}"
        if name.startswith(RESERVED_PREFIX):
            raise InvalidRequestError(
                "ATTRIBUTE_RESERVED",
                f"{place}: names that start with {RESERVED_PREFIX} are layer's own.",
                field=place,
            )
        if name in VECTOR_KEYS or name == "id":
            raise InvalidRequestError(
                "ATTRIBUTE_RESERVED", f"{place}: {name} stands beside attributes.", field=place
            )
        fill_given(message.attributes[name], text, place)


def _vector(text: Raw, type_: str, kind: str, where: str) -> common_pb2.Value:
    value = common_pb2.Value()
    fill_given(value, text, where, type_)
    if value.WhichOneof("kind") != kind:
        raise _invalid(where, "is not made of numbers, or not of base64 of 32-bit floats")
    try:
        value_json(value, where)
    except InvalidRequestError as error:
        raise _invalid(where, "is not finite, or not of one dimension") from error
    return value


def _invalid(where: str, rule: str) -> InvalidRequestError:
    return InvalidRequestError("VECTOR_INVALID", f"{where} {rule}.", field=where)
