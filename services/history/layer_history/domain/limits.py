"""Every bound of the history, in one place (README.md, "Bounds")."""

from __future__ import annotations

from typing import Final

EVENTS_PER_BATCH_MAX: Final = 1_000
RAW_QUERY_LENGTH_MAX: Final = 8_192
SUMMARY_BYTES_MAX: Final = 64 * 1024
SUMMARY_DEPTH_MAX: Final = 64
"""How deep a summary is nested, so that whoever reads it later can, whatever its own depth is."""

TOP_RESULT_IDS_MAX: Final = 10
DOCUMENT_ID_BYTES_MAX: Final = 256
TAGS_MAX: Final = 32
TAG_BYTES_MAX: Final = 128

PAGE_SIZE_DEFAULT: Final = 50
PAGE_SIZE_MAX: Final = 500
TRACE_EVENTS_MAX: Final = 1_000
"""Searches, and clicks, of one trace that are answered."""

BLOCK_BYTES: Final = 128 * 1024
"""Lines that are read together. A block ends with the line that fills it."""

WHOLE_BYTES_MAX: Final = 512 * 1024
"""A segment up to here is read whole; a larger one has an index beside it."""

SEGMENT_BYTES_MAX: Final = 32 * 1024 * 1024
"""Lines of one segment. What is more becomes further segments."""

WINDOW_BYTES_MAX: Final = 64 * 1024 * 1024
"""Lines in memory that are not sealed yet; more waits for the sealing."""

SCANNED_EVENTS_MAX: Final = 400_000
"""Events that one page may look at before it ends early; about two seconds."""

READS_AT_ONCE_MAX: Final = 16
"""Objects or blocks that one page reads at the same time."""

PATTERNS_MAX: Final = 32
PATTERN_LENGTH_MAX: Final = 256
REDACTIONS_MAX: Final = 256
"""Matches in a text that are replaced one by one; of a text with more nothing is kept."""

RETENTION_S_MAX: Final = 100 * 366 * 24 * 3600
