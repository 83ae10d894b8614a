"""Document ids: u64 numbers, strings or UUIDs, one kind per namespace.

The cache and the RPCs carry an id in *canonical* form: one byte for its kind, then its text in
UTF-8. The same digits as a number and as a string are thus different ids, as they are upstream.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Final

import msgspec
import xxhash

from layer_kit.errors import InvalidRequestError
from layer_wire.jsontext import Raw, encode

UNSIGNED_MAX: Final = 2**64 - 1
SIGNED_MAX: Final = 2**63 - 1
STRING_BYTES_MAX: Final = 64

JsonId = int | str
"""An id as JSON has it: a number from 0 to 2^64-1, or a string."""


class IdKind(StrEnum):
    """What the ids of a namespace are; the value is the kind byte of the canonical form."""

    UNSIGNED = "u"
    STRING = "s"
    UUID = "g"


_DECODER: Final[msgspec.json.Decoder[JsonId]] = msgspec.json.Decoder(
    Annotated[int, msgspec.Meta(ge=0)] | str
)
_LIST_DECODER: Final[msgspec.json.Decoder[list[JsonId]]] = msgspec.json.Decoder(
    list[Annotated[int, msgspec.Meta(ge=0)] | str]
)
_FITTING_LIST_DECODER: Final[msgspec.json.Decoder[list[JsonId]]] = msgspec.json.Decoder(
    list[
        Annotated[int, msgspec.Meta(ge=0, le=SIGNED_MAX)]
        | Annotated[str, msgspec.Meta(max_length=STRING_BYTES_MAX)]
    ]
)
"""Of ids in ASCII, each of which then is valid."""


def decode_id(value: Raw, *, where: str) -> JsonId:
    """Decode one id.

    Raises:
        InvalidRequestError: ``ID_INVALID``, naming ``where`` it stands.
    """
    try:
        return _checked(_DECODER.decode(value), where)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _invalid(where) from error


def decode_ids(value: Raw, *, where: str) -> list[JsonId]:
    """Decode a JSON array of ids.

    Raises:
        InvalidRequestError: ``ID_INVALID``, naming ``where`` they stand.
    """
    text = bytes(value)
    try:
        if text.isascii() and text.find(b"\\") < 0:
            return _FITTING_LIST_DECODER.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass  # one is very large, or no id
    try:
        return [_checked(found, where) for found in _LIST_DECODER.decode(text)]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _invalid(where) from error


def canonical(value: JsonId, kind: IdKind | None = None) -> bytes:
    """Return the canonical form of ``value``.

    Args:
        kind: The kind of the namespace's ids where it is known. A string in a namespace of
            UUIDs is normalised; anything else speaks for itself.

    Raises:
        InvalidRequestError: ``ID_INVALID`` for a string that is no UUID where one is needed.
    """
    if isinstance(value, int):
        return b"u%d" % value
    if kind is IdKind.UUID:
        try:
            return b"g" + _uuid_text(value).encode()
        except ValueError as error:
            raise InvalidRequestError(
                "ID_INVALID",
                f"{value!r} is not a UUID, as the ids of this namespace are.",
                id=value,
            ) from error
    return b"s" + value.encode()


def canonical_all(values: Sequence[JsonId], kind: IdKind | None = None) -> list[bytes]:
    """Return the canonical form of each of ``values``; errors as for :func:`canonical`."""
    if kind is IdKind.UUID:
        return [canonical(value, kind) for value in values]
    return [b"s" + value.encode() if isinstance(value, str) else b"u%d" % value for value in values]


def canonical_texts(texts: Sequence[str]) -> list[bytes]:
    """Return the canonical form of strings as :func:`canonical_all` does, without a call for each.

    They are those of a namespace of strings.
    """
    found = ("s" + "\0s".join(texts)).encode().split(b"\0")
    return found if len(found) == len(texts) else canonical_all(texts)


def from_text(text: str, kind: IdKind) -> JsonId | None:
    """Read an id out of a path or a text-only model; None when no row can have it.

    A namespace of numbers has no row called ``abc``, so the caller can answer without asking.
    """
    match kind:
        case IdKind.STRING:
            return text if _fits(text) else None
        case IdKind.UUID:
            try:
                return _uuid_text(text)
            except ValueError:
                return None
        case IdKind.UNSIGNED:
            if not (text.isascii() and text.isdecimal()) or len(text) > len(str(UNSIGNED_MAX)):
                return None
            number = int(text)
            return number if number <= UNSIGNED_MAX else None


def from_texts(texts: Sequence[str], kind: IdKind) -> list[JsonId | None]:
    """Read ids as :func:`from_text` does."""
    if kind is IdKind.STRING and max(map(len, texts), default=0) <= STRING_BYTES_MAX // 4:
        return list(texts)  # as nearly all are: no call for each
    return [from_text(text, kind) for text in texts]


def shards(ids: Sequence[JsonId], shard_count: int) -> list[int]:
    """Return the shard of each id: xxh64 with seed 0 over its decimal or UTF-8 text."""
    texts = [value.encode() if isinstance(value, str) else b"%d" % value for value in ids]
    return [digest % shard_count for digest in map(xxhash.xxh64_intdigest, texts)]


def raw_id(value: JsonId) -> bytes:
    """Return the JSON of ``value``."""
    return encode(value)


def _checked(value: JsonId, where: str) -> JsonId:
    if not (_fits(value) if isinstance(value, str) else value <= UNSIGNED_MAX):
        raise _invalid(where)
    return value


def _fits(text: str) -> bool:
    # Most ids are so short that no encoding of theirs could be too long.
    return len(text) <= STRING_BYTES_MAX // 4 or (
        len(text) <= STRING_BYTES_MAX and len(text.encode()) <= STRING_BYTES_MAX
    )


def _invalid(where: str) -> InvalidRequestError:
    return InvalidRequestError(
        "ID_INVALID",
        f"{where} holds no id: an id is a number from 0 to 2^64-1 or a string of at most "
        f"{STRING_BYTES_MAX} bytes.",
        where=where,
    )


def _uuid_text(text: str) -> str:
    return str(uuid.UUID(text))
