"""Cursors: where a page of nearest rows ended (docs/reference/http.md, "Queries")."""

from __future__ import annotations

import base64
import binascii
import math
from typing import Final

import msgspec

from layer_kit.errors import InvalidRequestError
from layer_wire.ids import JsonId
from layer_wire.jsontext import Raw, raw

_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


class _CursorBody(msgspec.Struct):
    dist: float
    id: str | int
    n: int | None = None


_CURSOR: Final[msgspec.json.Decoder[_CursorBody]] = msgspec.json.Decoder(_CursorBody)


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """Where a page of nearest rows ended."""

    distance: float
    id: JsonId
    count: int | None
    """Rows returned on all pages so far; None in a cursor that does not say."""

    def encode(self) -> str:
        """Return the opaque text: base64url without padding of compact JSON."""
        return encoded_cursor(raw(self.distance), raw(self.id), self.count).decode()


def encoded_cursor(distance: Raw, id_: Raw, count: int | None) -> bytes:
    """Return what :meth:`Cursor.encode` does, of what a row has as it stands there."""
    return cursor_ending(distance, id_, cursor_end(count))


def cursor_ending(distance: Raw, id_: Raw, end: bytes) -> bytes:
    """Return the same, of an ``end`` from :func:`cursor_end`, as pages of one size share it."""
    text = b"".join((b'{"dist":', distance, b',"id":', id_, end))
    return binascii.b2a_base64(text, newline=False).translate(_URL_SAFE, b"=")


def cursor_end(count: int | None) -> bytes:
    """Return how a cursor ends."""
    return b',"n":null}' if count is None else b',"n":%d}' % count


def parse_cursor(text: str) -> Cursor:
    """Read a cursor that a caller sends back.

    Raises:
        InvalidRequestError: ``CURSOR_INVALID``.
    """
    try:
        padded = text + "=" * (-len(text) % 4)
        found = _CURSOR.decode(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise _bad_cursor() from error
    if not math.isfinite(found.dist) or (found.n is not None and found.n < 0):
        raise _bad_cursor()
    return Cursor(distance=found.dist, id=found.id, count=found.n)


def _bad_cursor() -> InvalidRequestError:
    return InvalidRequestError(
        "CURSOR_INVALID", "cursor is not one that a query returned.", field="cursor"
    )
