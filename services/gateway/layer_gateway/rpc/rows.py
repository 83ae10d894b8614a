"""Rows: an id and typed attributes in messages, one object in JSON."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from layer.common.v1 import common_pb2
from layer_gateway.application.facts import NamespaceFacts
from layer_gateway.ports.rows import CachedRow
from layer_kit.errors import InvalidRequestError
from layer_messages.ids import id_json, id_message
from layer_messages.values import fill_value, value_json
from layer_wire.jsontext import RawObject
from layer_wire.rows import row_id

ID: Final = "id"
COMPUTED_PREFIX: Final = "$"
_OBJECT: Final[msgspec.json.Decoder[RawObject]] = msgspec.json.Decoder(RawObject)


def row_json(row: common_pb2.Row, where: str) -> dict[str, object]:
    """Return a row as one object.

    Raises:
        InvalidRequestError: ``ID_INVALID``, ``ROW_INVALID`` for an attribute called ``id``,
            ``VALUE_INVALID`` or ``VECTOR_INVALID``.
    """
    return {ID: id_json(row.id, f"{where}.id"), **attributes_json(row.attributes.items(), where)}


def attributes_json(
    attributes: Iterable[tuple[str, common_pb2.Value]], where: str
) -> dict[str, object]:
    """Return attributes as one object; errors as for :func:`row_json`."""
    found = {name: value_json(value, f"{where}.{name}") for name, value in attributes}
    if ID in found:
        raise InvalidRequestError(
            "ROW_INVALID", f"{where}: the id of a row is not among its attributes.", where=where
        )
    return found


def attribute_names(rows: Iterable[RawObject]) -> set[str]:
    """Return the names of the attributes that occur, without id and computed columns."""
    names = {name for row in rows for name in row}
    return {name for name in names if name != ID and not name.startswith(COMPUTED_PREFIX)}


def cached_attributes(row: CachedRow) -> RawObject:
    """Return the attributes of a fetched row, its vectors among them."""
    attributes = _OBJECT.decode(row.body)
    return attributes | _OBJECT.decode(row.vectors) if row.vectors else attributes


@dataclass(frozen=True, slots=True)
class RowReader:
    """Reads rows of a namespace into messages."""

    facts: NamespaceFacts

    def row(self, found: RawObject) -> common_pb2.Row:
        """Return a row with the attributes that ``found`` has and that are not null."""
        row = common_pb2.Row(id=id_message(row_id(found), self.facts.id_kind))
        self.fill_attributes(row, found, attribute_names([found]))
        return row

    def fill_attributes(
        self, row: common_pb2.Row, found: RawObject, names: Collection[str]
    ) -> None:
        """Set the attributes called ``names`` that are not null."""
        types = self.facts.types
        for name in names:
            text = found[name]
            if bytes(text) != b"null":
                fill_value(row.attributes[name], text, types.get(name, ""))
