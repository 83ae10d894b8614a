"""Copies and branches of namespaces: the typed request to the store's own body, and back."""

from __future__ import annotations

from typing import Final

import msgspec

from layer.gateway.v1 import gateway_pb2
from layer_gateway.ports.stores import StoreAnswer
from layer_kit.errors import InvalidRequestError
from layer_kit.names import parse_namespace
from layer_wire.jsontext import encode
from layer_wire.rows import read_answer


class _Billing(msgspec.Struct, frozen=True):
    billable_logical_bytes_written: int = 0


class _Answer(msgspec.Struct, frozen=True):
    rows_affected: int = 0
    billing: _Billing = _Billing()


_ANSWER: Final[msgspec.json.Decoder[_Answer]] = msgspec.json.Decoder(_Answer)


def copy_body(request: gateway_pb2.CopyNamespaceRequest) -> bytes:
    """Return the body of a copy or a branch, as the store reads it.

    Raises:
        InvalidRequestError: ``NAMESPACE_INVALID``, ``COPY_INVALID``.
    """
    source: dict[str, str] = {"source_namespace": parse_namespace(request.source_namespace)}
    further = {
        name: value
        for name in ("source_region", "source_api_key")
        if (value := getattr(request, name))
    }
    if not request.is_branch:
        return encode({"copy_from_namespace": source | further})
    for name in further:
        raise InvalidRequestError("COPY_INVALID", f"{name} is not for a branch.", field=name)
    return encode({"branch_from_namespace": source})


def copy_response(answer: StoreAnswer) -> gateway_pb2.CopyNamespaceResponse:
    found = read_answer(_ANSWER, answer.body)
    return gateway_pb2.CopyNamespaceResponse(
        affected_count=found.rows_affected,
        billable_written_bytes=found.billing.billable_logical_bytes_written,
    )
