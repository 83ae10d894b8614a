"""What the C library does with memory that is given back."""

from __future__ import annotations

import ctypes
from typing import Final

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
"""Numbers of glibc's ``mallopt``."""

KEPT_BYTES_MAX: Final = 64 * 1024 * 1024
MAPPED_BYTES_MIN: Final = 32 * 1024 * 1024
"""Where glibc's own moving thresholds end up once something as large was freed."""


def keep_freed_memory() -> None:
    """Keep the end of the heap for the next request, instead of giving it to the kernel.

    Bodies of some hundred KiB come and go at the end of the heap. Given back each time, their pages
    fault and are cleared each time, which costs more than relaying them. Where the C library is
    not glibc nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES_MIN)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES_MAX)
