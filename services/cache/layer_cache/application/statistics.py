"""Figures about the cache, for operators and for the metrics of the process."""

from __future__ import annotations

from dataclasses import dataclass

from layer_cache.application.sessions import Sessions
from layer_cache.application.warmth import Warmth
from layer_cache.domain.order import Order
from layer_cache.domain.oversize import Oversize
from layer_cache.ports import RowStore, StoreFigures
from layer_kit.clock import Monotonic


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The state at one moment, and counts since the start."""

    store: StoreFigures
    records: StoreFigures
    warm_count: int
    warming_count: int
    member_count: int
    fence_count: int
    fenced_ids_count: int
    hidden_bytes: int
    touched_ids_count: int
    fences_expired_count: int
    overlaps_count: int
    oversize_count: int
    """Rows too big for this store or for any."""

    suspensions_count: int
    members_gone_count: int
    is_suspended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Takes the figures."""

    store: RowStore
    records: RowStore
    warmth: Warmth
    order: Order
    sessions: Sessions
    oversize: Oversize
    clock: Monotonic

    def take(self) -> Figures:
        """Measure everything; costs a look at each file of the store."""
        now_s = self.clock()
        members, fences = self.sessions.members, self.order.fences
        store = self.store.figures()
        return Figures(
            store=store,
            records=self.records.figures(),
            warm_count=self.warmth.warm_count,
            warming_count=self.warmth.warming_count,
            member_count=members.live_count(now_s),
            fence_count=len(fences),
            fenced_ids_count=fences.fenced_ids_count,
            hidden_bytes=fences.hidden_bytes,
            touched_ids_count=len(self.order.touches),
            fences_expired_count=fences.expired_count,
            overlaps_count=fences.overlap_count,
            oversize_count=store.oversize_count + self.oversize.count,
            suspensions_count=self.sessions.suspensions_count,
            members_gone_count=self.sessions.gone_count,
            is_suspended=members.is_suspended(now_s),
        )
