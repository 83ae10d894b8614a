"""Records as the driver takes and gives them: keys, batches, and what became of a write."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

BATCH_BYTES_MAX: Final = 4 * 1024 * 1024
BATCH_RECORDS_MAX: Final = 256
"""Values and records of one batch of writes; the rest goes into the next."""

REFUSALS: Final = frozenset({3, 4, 5, 10, 12, 14, 16, 18, 19, 20, 21, 22})
"""Generation, parameter, exists, forbidden, type, hot key, unsupported, overload, key mismatch,
namespace, name of a bin, forbidden now."""

Bins = Mapping[str, Any]


class Address(NamedTuple):
    """Where a record lives within the Aerospike namespace."""

    set_name: str
    key: bytes


class Outcome(Enum):
    """What became of a write."""

    DONE = "done"
    ABSENT = "absent"
    REFUSED = "refused"
    FULL = "full"
    TOO_BIG = "too big"
    UNKNOWN = "unknown"
    """It happened, or did not, or will."""


ANSWERS: Final = (Outcome.DONE, Outcome.ABSENT)
_OUTCOMES: Final = {0: Outcome.DONE, 2: Outcome.ABSENT, 8: Outcome.FULL, 13: Outcome.TOO_BIG}


def outcome_of(result: int) -> Outcome:
    if result in REFUSALS:
        return Outcome.REFUSED
    return _OUTCOMES.get(result, Outcome.UNKNOWN)


class FirstKeys:
    """Keeps the smallest keys after one, of however many pass by."""

    def __init__(self, after: bytes, count_max: int) -> None:
        self._after = after
        self._before = b""
        self._count_max = count_max
        self._kept: list[bytes] = []

    def see(self, record: tuple[tuple[Any, ...], ...]) -> None:
        user_key = record[0][2]
        if user_key is None:
            return
        key = user_key.encode() if isinstance(user_key, str) else bytes(user_key)
        if key > self._after and (not self._before or key < self._before):
            self._kept.append(key)
            if len(self._kept) == 2 * self._count_max:
                self._kept = self.sorted()
                self._before = self._kept[-1]

    def sorted(self) -> list[bytes]:
        return sorted(self._kept)[: self._count_max]


def user_key(raw: bytes) -> str | bytearray:
    """Return a key as text that people can read, where the driver keeps it whole.

    It cuts text at the first zero.
    """
    if b"\0" not in raw:
        with contextlib.suppress(UnicodeDecodeError):
            return raw.decode()
    return bytearray(raw)


def batches_of(
    records: Sequence[tuple[Address, Bins]],
) -> Iterator[Sequence[tuple[Address, Bins]]]:
    start = size = 0
    for position, (_, bins) in enumerate(records):
        row = sum(len(value) for value in bins.values())
        is_full = size + row > BATCH_BYTES_MAX or position - start == BATCH_RECORDS_MAX
        if position > start and is_full:
            yield records[start:position]
            start, size = position, 0
        size += row
    if start < len(records):
        yield records[start:]


def slices_of(addresses: Sequence[Address]) -> Iterator[Sequence[Address]]:
    for start in range(0, len(addresses), BATCH_RECORDS_MAX):
        yield addresses[start : start + BATCH_RECORDS_MAX]
