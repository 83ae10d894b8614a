"""The cache's own order: the sequence, and who may put an entry where.

*The promise.* Once a gateway has acknowledged a write of row ``r``, no lookup that starts later
returns an older version of ``r``.

*Why it holds.* An entry of ``r`` older than the acknowledged write ``w`` would have to be stored
by a backfill or by the settlement of another write ``x``, or to be there from before.

- From before: fencing ``r`` removed the entry before ``w`` was sent upstream, and for a write
  whose rows are unknown, or that was not fenced, the epoch rises, or the row is dropped, after
  upstream applied it and before hits (again) count on this member.
- A backfill: its upstream read began after its token was issued. If the token is older than the
  settlement of ``w``, then ``r`` was touched after the token (:class:`RecentTouches`), or its
  namespace's epoch was raised after it, or the token is over age, and it is refused. If it is
  newer, the read began after upstream had answered ``w``, and it is a strong read.
- A settlement of ``x``: either the fences of ``w`` and ``x`` overlapped, then ``x`` leaves
  nothing; or ``x`` was settled before ``w`` was fenced, then it is a case of "from before"; or
  ``x`` was fenced after ``w`` was settled, then its row is the newer one.

What a patch is merged into is an entry of the cache, not the row upstream. While another gateway
has a write on its way without a fence, the merged entry may lack that write's attributes. It is
dropped, or hits are suspended, before that write is acknowledged.

Fences that were lost (a restart, a settlement after the fence ran out) are reported to the
settling gateway, which fences and drops the rows once more before it acknowledges.
"""

from __future__ import annotations

from collections.abc import Sequence

from layer_cache.domain.eras import Eras
from layer_cache.domain.fences import Fences
from layer_cache.domain.limits import BACKFILL_AGE_S_MAX, Limits
from layer_cache.domain.rows import RowKey
from layer_cache.domain.tokens import ReadToken, token_bytes
from layer_cache.domain.touches import RecentTouches
from layer_kit.names import Namespace


class Order:
    """One incarnation's view of what happened in which order."""

    def __init__(self, *, incarnation: bytes, eras: Eras, limits: Limits) -> None:
        self.incarnation = incarnation
        self.eras = eras
        self.limits = limits
        self.fences = Fences(limits)
        self.touches = RecentTouches(count_max=limits.touched_ids_max)
        self._sequence = 0

    def token(self, now_s: float) -> ReadToken:
        """Permit the backfill of an upstream read that begins after this call."""
        return ReadToken(self.incarnation, self._sequence, self.eras.current, int(now_s * 1000))

    def token_bytes(self, now_s: float) -> bytes:
        """Do the same for every lookup, without an object in between."""
        return token_bytes(self.incarnation, self._sequence, self.eras.current, int(now_s * 1000))

    def touch(self, keys: Sequence[RowKey], now_s: float) -> None:
        """Refuse every backfill of ``keys`` whose read began before now."""
        self._sequence += 1
        self.touches.touch(keys, self._sequence, now_s)

    def is_valid(self, token: ReadToken, namespace: Namespace, now_s: float) -> bool:
        """Tell whether ``token`` permits any backfill into ``namespace``."""
        return (
            token.incarnation == self.incarnation
            and now_s - token.issued_ms / 1000 <= BACKFILL_AGE_S_MAX
            and token.era >= self.eras.epoch(namespace)
        )

    def admits_all(self, token: ReadToken) -> bool:
        """Tell whether nothing was written since ``token``, nor is being written."""
        return token.sequence == self._sequence and not self.fences.fenced_ids_count

    def admits(self, token: ReadToken, key: RowKey) -> bool:
        """Tell whether a valid ``token`` permits the backfill of this row."""
        return not self.fences.is_fenced(key) and not self.touches.is_touched_since(
            key, token.sequence
        )

    def release_expired(self, now_s: float, *, count_max: int) -> list[RowKey]:
        """Release up to ``count_max`` rows of fences that ran out; return them."""
        released = self.fences.release_closed(count_max)
        if released:
            self.touch(released, now_s)
        return released
