"""Values that callers send for functions and pipelines, from JSON to messages."""

from __future__ import annotations

import msgspec

from layer.common.v1 import common_pb2
from layer_kit.errors import InvalidRequestError
from layer_messages.values import fill_value
from layer_wire.jsontext import Raw


def fill_given(target: common_pb2.Value, text: Raw, where: str, type_: str = "") -> None:
    """Set ``target`` from the JSON that stands at ``where``, which the body's decoder passed by.

    Raises:
        InvalidRequestError: ``VALUE_INVALID``: a number that nothing holds.
    """
    try:
        fill_value(target, text, type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestError(
            "VALUE_INVALID", f"{where}: {str(error).rstrip('.')}.", field=where
        ) from error
