"""A row's key and its cached entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress
from typing import Final, NamedTuple, NewType, cast

import msgspec

from layer_cache.domain.limits import ID_BYTES_MAX
from layer_kit.errors import InvalidRequestError
from layer_kit.names import Namespace

RowKey = NewType("RowKey", bytes)
"""Namespace, a zero byte, canonical id. Sorts by id bytes within a namespace."""

SEPARATOR: Final = b"\0"


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A cached row as the store keeps it. One of these is made for each row that passes."""

    era: int
    """The era it was stored in; an entry of an era before its namespace's epoch is dead."""

    written_ms: int
    """Wall-clock milliseconds when the row came from upstream or its writer; its age counts
    from here."""

    body: bytes
    """Attributes as a JSON object."""

    vectors: bytes | memoryview
    """Vectors as a JSON object, or empty; perhaps as a part of what is stored."""


class NewRows(NamedTuple):
    """Rows that are to be stored, by column: a list of entries would cost as much as storing it."""

    keys: Sequence[RowKey]
    bodies: Sequence[bytes]
    vectors: Sequence[bytes]

    def part(self, start: int, count: int) -> NewRows:
        """Return up to ``count`` of them, beginning with the one at ``start``."""
        end = start + count
        return NewRows(self.keys[start:end], self.bodies[start:end], self.vectors[start:end])

    def chosen(self, choices: Iterable[bool]) -> NewRows:
        """Return those for which there is a true value in the same place."""
        choices = list(choices)
        return NewRows(
            list(compress(self.keys, choices)),
            list(compress(self.bodies, choices)),
            list(compress(self.vectors, choices)),
        )

    def entries(self, *, era: int, written_ms: int) -> list[tuple[RowKey, Entry]]:
        """Return them one by one."""
        return [
            (key, Entry(era, written_ms, body, vectors))
            for key, body, vectors in zip(self.keys, self.bodies, self.vectors, strict=True)
        ]


class Hits(NamedTuple):
    """Rows that were found, by column."""

    positions: list[int]
    """Where their keys are among those asked for, ascending."""

    bodies: list[bytes]
    vectors: list[bytes]
    """Empty where there are none, or they are not wanted."""


def hits_among(entries: Sequence[Entry | None], *, era_min: int, with_vectors: bool) -> Hits:
    """Return what is there of ``entries`` and was not stored before ``era_min``."""
    alive = [
        (position, entry)
        for position, entry in enumerate(entries)
        if entry is not None and entry.era >= era_min
    ]
    return Hits(
        [position for position, _ in alive],
        [entry.body for _, entry in alive],
        [bytes(entry.vectors) if with_vectors else b"" for _, entry in alive],
    )


class Rows:
    """Some rows in order of key.

    Bodies are cut out of what is stored as they are passed, each time: together, the copies would
    be more than a processor keeps near, and most serve to be looked at once.
    """

    __slots__ = ("_cut", "_stored", "keys")

    def __init__(
        self,
        keys: Sequence[RowKey],
        stored: Sequence[bytes],
        cut: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """Take keys and what is stored for each: its body, or what ``cut`` cuts that out of."""
        self.keys = keys
        self._stored = stored
        self._cut = cut

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[tuple[RowKey, bytes]]:
        return zip(self.keys, self.bodies(), strict=True)

    def bodies(self) -> Iterable[bytes]:
        return self._stored if self._cut is None else map(self._cut, self._stored)

    def chosen(self, choices: Iterable[bool]) -> Rows:
        """Return those rows for which there is a true value in the same place."""
        choices = list(choices)
        keys, stored = compress(self.keys, choices), compress(self._stored, choices)
        return Rows(list(keys), list(stored), self._cut)


def namespace_prefix(namespace: Namespace) -> bytes:
    """Return what every key of ``namespace`` starts with and no other key does."""
    return namespace.encode() + SEPARATOR


def row_keys(
    namespace: Namespace, ids: Sequence[bytes], *, count_max: int, field: str = "ids"
) -> list[RowKey]:
    """Check ids and make them keys, in the same order.

    Args:
        field: What the ids are called where they come from.

    Raises:
        InvalidRequestError: ``TOO_MANY_IDS``, ``ID_INVALID``.
    """
    if len(ids) > count_max:
        raise InvalidRequestError(
            "TOO_MANY_IDS",
            f"{len(ids)} {field} are more than the {count_max} of one call; split the call.",
            field=field,
            count=len(ids),
            count_max=count_max,
        )
    if ids and not _are_well_formed(ids):
        raise InvalidRequestError(
            "ID_INVALID",
            f"Each of {field} must have 1 to {ID_BYTES_MAX} bytes of UTF-8.",
            field=field,
            bytes_max=ID_BYTES_MAX,
        )
    prefix = namespace_prefix(namespace)
    return cast("list[RowKey]", [prefix + row_id for row_id in ids])


def _are_well_formed(ids: Sequence[bytes]) -> bool:
    try:
        SEPARATOR.join(ids).decode()  # at once: a part of a character does not end at a zero
    except UnicodeDecodeError:
        return False
    return b"" not in ids and max(map(len, ids)) <= ID_BYTES_MAX


def id_of(key: RowKey) -> bytes:
    """Return the canonical id within ``key``."""
    return key.partition(SEPARATOR)[2]


def namespace_of(key: RowKey) -> Namespace:
    """Return the namespace within ``key``."""
    return Namespace(key.partition(SEPARATOR)[0].decode())
