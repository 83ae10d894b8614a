"""What every row of a write must have and must not have."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from layer_kit.errors import InvalidRequestError
from layer_wire import ids as wire_ids
from layer_wire.ids import JsonId
from layer_wire.jsontext import Raw, RawObject
from layer_wire.reserved import OVERWRITTEN, RESERVED_PREFIX, VECTOR_KEYS

BLOBS_KEY: Final = "blobs"


def decode_row_ids(name: str, first: int, rows: list[RawObject]) -> list[JsonId]:
    """Return the ids of the rows from ``first`` on.

    They are decoded together, and one by one to name a fault.
    """
    try:
        listed = b",".join([row["id"] for row in rows])
        return wire_ids.decode_ids(Raw(b"[%b]" % listed), where=name)
    except (KeyError, InvalidRequestError):
        return [_row_id(row, f"{name}[{at}]") for at, row in enumerate(rows, first)]


def _row_id(row: RawObject, where: str) -> JsonId:
    if "id" not in row:
        raise InvalidRequestError("ID_MISSING", f"{where}.id is missing.", field=f"{where}.id")
    return wire_ids.decode_id(row["id"], where=f"{where}.id")


def check_keys(
    keys: Collection[str], where: str, *, is_patch: bool, taken_prefixes: tuple[str, ...]
) -> None:
    """Refuse keys that a row must not have.

    Args:
        where: The row, for the message.
        taken_prefixes: Of reserved names that it may have.

    Raises:
        InvalidRequestError: ``ATTRIBUTE_RESERVED``, ``VECTOR_PATCHED`` or ``BLOBS_IN_ROW``.
    """
    for key in keys:
        if (
            key.startswith(RESERVED_PREFIX)
            and key not in OVERWRITTEN
            and not key.startswith(taken_prefixes)
        ):
            raise InvalidRequestError(
                "ATTRIBUTE_RESERVED",
                f"{where}.{key}: names that start with {RESERVED_PREFIX} are layer's own.",
                field=f"{where}.{key}",
            )
    if is_patch:
        for key in VECTOR_KEYS.intersection(keys):
            raise InvalidRequestError(
                "VECTOR_PATCHED",
                f"{where}.{key}: a vector cannot be patched; upsert the whole row.",
                field=f"{where}.{key}",
            )
    elif BLOBS_KEY in keys:
        raise InvalidRequestError(
            "BLOBS_IN_ROW",
            f"{where}.{BLOBS_KEY}: put blobs by their own route and refer to them.",
            field=f"{where}.{BLOBS_KEY}",
        )
