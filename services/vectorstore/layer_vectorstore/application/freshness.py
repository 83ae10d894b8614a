"""How long rows stay unindexed, and how many may: changeable while the store runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from layer_kit.errors import QuotaExceededError
from layer_vectorstore.domain.namespace import Namespace

RETRY_AFTER_S_MIN: Final = 0.1


@dataclass(slots=True)
class Freshness:
    index_lag_ms: int = 0
    """Time after a write before eventual reads see it and the index counts as up to date."""
    unindexed_bytes_max: int = 2 << 30
    """Written bytes waiting for the index; above it writes are refused with 429."""

    def indexed_until_ms(self, now_ms: int) -> int:
        """Return the moment whose writes, and earlier ones, count as indexed."""
        return now_ms - self.index_lag_ms

    def refuse_when_behind(self, namespace: Namespace, now_ms: int, *, advice: str) -> None:
        """Push back while too many bytes wait for the index.

        Raises:
            QuotaExceededError: ``UNINDEXED_TOO_MUCH``.
        """
        if self.index_lag_ms == 0:
            return
        waiting_bytes = namespace.unindexed(self.indexed_until_ms(now_ms)).written_bytes
        if waiting_bytes > self.unindexed_bytes_max:
            raise QuotaExceededError(
                "UNINDEXED_TOO_MUCH",
                f"💔 too many unindexed writes: {waiting_bytes} bytes wait for the index, the "
                f"limit is {self.unindexed_bytes_max}; {advice}",
                retry_after_s=max(self.index_lag_ms / 1000, RETRY_AFTER_S_MIN),
            )
