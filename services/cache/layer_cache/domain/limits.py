"""Every bound of the cache, in one place (docs/reference/http.md, "Limits")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BACKFILL_AGE_S_MAX: Final = 5.0
"""A read token older than this permits nothing. Touched ids are remembered for at least as long."""

IDS_PER_CALL_MAX: Final = 10_000
IDS_PER_FENCE_MAX: Final = 1_000_000
ID_BYTES_MAX: Final = 256
ROW_BYTES_MAX: Final = 8 * 1024 * 1024
"""Attributes and vectors of one row together; a bigger row is not stored."""

LOOKUP_BYTES_MAX: Final = 32 * 1024 * 1024
"""Bodies and vectors of one lookup's hits; what comes after is a miss. One message has 64 MiB."""

READ_BYTES_MAX: Final = 128 * 1024 * 1024
"""What is read out of a store at once, before any of it is looked at."""

ATTRIBUTE_NAMES_MAX: Final = 1024
NAMESPACES_PER_CALL_MAX: Final = 1_000
MOMENT_MS_MAX: Final = 2**53 - 1
"""What every reader of JSON can hold."""
FENCE_ID_BYTES_MAX: Final = 64
FENCE_TTL_MS_MIN: Final = 1_000
FENCE_TTL_MS_MAX: Final = 600_000

MEMBER_ID_LENGTH_MAX: Final = 64
RING_BYTES_MAX: Final = 64
DIRTY_IDS_MAX: Final = 100_000
DIRTY_NAMESPACES_MAX: Final = 10_000
RENEWALS_REMEMBERED_MAX: Final = 8
"""Renewals whose receipt a session keeps, as possible starting points of a later `elapsed_ms`."""

SCAN_PAGE_SIZE_DEFAULT: Final = 1_000
SCAN_PAGE_SIZE_MAX: Final = 10_000
"""Also the default where only ids are wanted: sending a page takes as long as passing 200 rows."""

SCAN_PAGE_BYTES_MAX: Final = 8 * 1024 * 1024
SCAN_STEP_BYTES_MAX: Final = 4 * 1024 * 1024
"""What a scan reads out of a near store in one step, give or take a row."""

RECORD_KEYS_PER_CALL_MAX: Final = 1_000
RECORD_KEY_BYTES_MAX: Final = 512
RECORD_SCOPE_BYTES_MAX: Final = 256
RECORD_BYTES_MAX: Final = 16 * 1024 * 1024
RECORD_TTL_MS_MAX: Final = 365 * 24 * 3600 * 1000

SCAN_STEP_ROWS: Final = 384
"""What it reads at most; about a millisecond."""

SCAN_STEP_TESTS: Final = 10_000
"""What it asks of rows at most, each part of the filter of each row; a few milliseconds."""

CHUNK_ROWS: Final = 256
"""Rows handled before other calls get their turn on the event loop; about a millisecond."""

BIG_ROW_BYTES: Final = READ_BYTES_MAX // CHUNK_ROWS
"""From a row above it on, a chunk of rows may exceed ``READ_BYTES_MAX``."""

BIG_ROWS_AT_ONCE: Final = READ_BYTES_MAX // ROW_BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what the process remembers. Each names what happens when it is met."""

    members_max: int = 1_000
    """Known gateways; one more is refused with ``TOO_MANY_MEMBERS``."""

    fences_max: int = 10_000
    """Fences that stand at once; one more is refused with ``TOO_MANY_FENCES``."""

    fenced_ids_max: int = 2_000_000
    """Ids under all fences; a fence beyond it is refused with ``TOO_MANY_FENCES``."""

    hidden_bytes_max: int = 64 * 1024 * 1024
    """Entries kept in memory for patches and lifts; beyond it a fenced entry is forgotten."""

    touched_ids_max: int = 500_000
    """Recently fenced or written ids; beyond it the oldest are forgotten and every backfill that
    began before they were touched is refused."""

    epochs_max: int = 100_000
    """Namespaces with an epoch of their own; beyond it everything stored is dropped at once."""
