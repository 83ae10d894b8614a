"""Every bound of the snapshots, in one place (README.md, "Bounds")."""

from __future__ import annotations

from typing import Final

DISTINCT_MAX: Final = 10_000
"""Values of a histogram. A field with more is left out of the snapshot."""

TEXT_BYTES_MAX: Final = 4 * 1024 * 1024
"""Characters of a histogram's values together, for the same reason."""

FACET_FIELDS_MAX: Final = 64
FIELD_BYTES_MAX: Final = 128

ROWS_PER_PAGE_DEFAULT: Final = 1_000
ROWS_PER_PAGE_MAX: Final = 10_000

PAGE_SIZE_DEFAULT: Final = 50
PAGE_SIZE_MAX: Final = 500
JOBS_PAGE_SIZE_DEFAULT: Final = 100
JOBS_PAGE_SIZE_MAX: Final = 1_000

WATERMARKS_MAX: Final = 10_000
"""In one call, and waiting."""

JOBS_RUNNING_MAX: Final = 32
"""Of one process; those that wait for their turn among them."""

JOBS_KEPT_MAX: Final = 100
"""Of one namespace, that have ended; the oldest go first."""

JOB_KEPT_MS: Final = 24 * 3600 * 1000
JOB_ATTEMPTS_MAX: Final = 3
REQUEST_ID_LENGTH_MAX: Final = 64
REQUEST_REMEMBERED_MS: Final = 3600 * 1000

ACTIVITY_NAMESPACES_MAX: Final = 1_000
"""Namespaces that one page of the activity looks at."""

CHECKPOINTS_MAX: Final = 1_000
"""Of one namespace."""

SPAN_MS_MIN: Final = 1_000
INTERVAL_MS_MAX: Final = 30 * 24 * 3600 * 1000
RETENTION_MS_MAX: Final = 100 * 366 * 24 * 3600 * 1000

READS_AT_ONCE_MAX: Final = 16
"""Objects, or listings, that one call reads at the same time."""
