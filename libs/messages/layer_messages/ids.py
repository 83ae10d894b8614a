"""Document ids: text with its kind in messages, a number or a string in JSON."""

from __future__ import annotations

import re
from typing import Final

from layer.common.v1 import common_pb2
from layer_kit.errors import InvalidRequestError
from layer_wire.ids import STRING_BYTES_MAX, UNSIGNED_MAX, IdKind, JsonId

UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_DIGITS: Final = re.compile(r"0|[1-9][0-9]{0,19}")
_KINDS: Final = {
    common_pb2.DOCUMENT_ID_KIND_INTEGER: IdKind.UNSIGNED,
    common_pb2.DOCUMENT_ID_KIND_STRING: IdKind.STRING,
    common_pb2.DOCUMENT_ID_KIND_UUID: IdKind.UUID,
}


def kind_of(document_id: common_pb2.DocumentId) -> IdKind | None:
    """Return the kind that an id says it is."""
    return _KINDS.get(document_id.kind)


def id_json(document_id: common_pb2.DocumentId, where: str) -> JsonId:
    """Return an id as JSON has it.

    Raises:
        InvalidRequestError: ``ID_INVALID``, naming ``where`` it stands.
    """
    text = document_id.text
    match kind_of(document_id):
        case IdKind.UNSIGNED if _DIGITS.fullmatch(text) and int(text) <= UNSIGNED_MAX:
            return int(text)
        case IdKind.STRING if 1 <= len(text.encode()) <= STRING_BYTES_MAX:
            return text
        case IdKind.UUID if UUID.fullmatch(text):
            return text
        case _:
            raise InvalidRequestError(
                "ID_INVALID",
                f"{where} is not an id in the canonical form of its kind: digits up to 2^64-1 "
                f"without leading zeros, 1 to {STRING_BYTES_MAX} bytes of text, or a UUID in lower "
                "case with hyphens.",
                where=where,
            )


def id_message(value: JsonId, kind: IdKind | None) -> common_pb2.DocumentId:
    """Return an id as a message; ``kind`` tells a UUID from other text."""
    if isinstance(value, int):
        return common_pb2.DocumentId(kind=common_pb2.DOCUMENT_ID_KIND_INTEGER, text=str(value))
    is_uuid = kind is IdKind.UUID
    return common_pb2.DocumentId(
        kind=common_pb2.DOCUMENT_ID_KIND_UUID if is_uuid else common_pb2.DOCUMENT_ID_KIND_STRING,
        text=value,
    )
