"""Rows that no store takes."""

from __future__ import annotations

from dataclasses import dataclass

from layer_cache.domain.limits import ROW_BYTES_MAX


@dataclass(slots=True)
class Oversize:
    """Tells rows above ``ROW_BYTES_MAX``, and counts them."""

    count: int = 0

    def refuses(self, body: bytes, vectors: bytes | memoryview) -> bool:
        is_refused = len(body) + len(vectors) > ROW_BYTES_MAX
        self.count += is_refused
        return is_refused
