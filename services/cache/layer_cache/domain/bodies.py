"""Row bodies as JSON objects whose values stay the bytes that were sent.

Only the outermost object is parsed. Values are copied, never decoded, so that number spellings
and escapes reach the reader unchanged, and unwanted attributes cost a skip rather than a parse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

EMPTY: Final = b"{}"
NULL: Final = b"null"

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What bytes that are no JSON object raise: also a name that is not UTF-8, and a value too deep."""

_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encoder: Final = msgspec.json.Encoder()


def project(body: bytes, attribute_names: Sequence[str]) -> bytes | None:
    """Return ``body`` with only the named attributes, in the order of the names.

    None when the body is not a JSON object, which a reader treats as a miss.
    """
    try:
        attributes = _decoder.decode(body)
    except UNREADABLE:
        return None
    return _encoder.encode(
        {name: attributes[name] for name in attribute_names if name in attributes}
    )


def merge(body: bytes, patch: bytes) -> bytes | None:
    """Return ``body`` with the attributes of ``patch`` in place of its own; None on bad JSON.

    An attribute that the patch sets to null is removed, as a read upstream would omit it.
    """
    try:
        merged = _decoder.decode(body) | _decoder.decode(patch)
    except UNREADABLE:
        return None
    return _encoder.encode({name: value for name, value in merged.items() if bytes(value) != NULL})
