"""What a gateway does around an upstream write: fence, settle, or raise the namespace's epoch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

import msgspec
import structlog

from layer_cache.application.pauses import in_turns
from layer_cache.application.warmth import Warmth
from layer_cache.domain.bodies import merge
from layer_cache.domain.fences import Fence, FenceName
from layer_cache.domain.members import Members
from layer_cache.domain.order import Order
from layer_cache.domain.oversize import Oversize
from layer_cache.domain.rows import Entry, NewRows, RowKey
from layer_cache.ports import LedgerStore, RowStore
from layer_kit.clock import EpochMilliseconds, Monotonic
from layer_kit.names import Namespace

log = structlog.get_logger(__name__)

SETTLING_CHECKS: Final = 100
SETTLING_CHECK_S: Final = 0.01
"""How often, and with which pauses, writes under way are looked at: a second, and mostly less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What an upstream write did to the rows under its fence; the rest were deleted, or nobody
    knows."""

    puts: Mapping[RowKey, tuple[bytes, bytes]] = field(default_factory=dict)
    """New attributes and vectors of replaced rows."""

    patches: Mapping[RowKey, bytes] = field(default_factory=dict)
    """Changed attributes of patched rows."""

    lifts: AbstractSet[RowKey] = frozenset()
    """Rows that were not written after all."""

    is_outcome_known: bool = False
    """Whether every other row is known to have been written or deleted."""

    is_partial: bool = False
    """Whether the fence goes on standing for every other row."""

    @property
    def keys(self) -> list[RowKey]:
        return [*self.puts, *self.patches, *self.lifts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """How a settlement went."""

    stored_count: int
    is_fence_lost: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Writes:
    """Keeps the store behind no acknowledged write."""

    store: RowStore
    ledger: LedgerStore
    order: Order
    members: Members
    warmth: Warmth
    oversize: Oversize
    clock: Monotonic
    wall_ms: EpochMilliseconds

    async def fence(
        self, session_id: str, name: FenceName, keys: Sequence[RowKey], *, ttl_s: float
    ) -> None:
        """Hide rows until their write is settled or ``ttl_s`` after the last of them was hidden.

        Entries leave the store at once, so that no crash can bring them back; their bytes stay
        with the fence for a patch or a lift.

        Raises:
            NotFoundError: ``SESSION_UNKNOWN``.
            QuotaExceededError: ``TOO_MANY_FENCES``.
            UnavailableError: ``STORE_DOWN``.
        """
        self.members.check(session_id, self.clock())
        fences = self.order.fences
        fence = fences.open(name, ids_count=len(keys), era=self.order.eras.current)
        try:
            async for chunk in in_turns(keys, self.store.rows_at_once):
                if fence.is_closed:  # settled while it was being set up, by a caller that gave up
                    return
                fences.cover(fence, chunk)
                self.order.touch(chunk, self.clock())
                taken = await self.store.take(chunk)
                if fence.is_closed and any(taken):
                    await self.warmth.void([name.namespace])
                fences.hide(fence, chunk, taken)
        finally:
            fences.arm(fence, self.clock() + ttl_s)
        self.ledger.vouch()

    async def settle(self, name: FenceName, settlement: Settlement) -> Settled:
        """End a fence as its write did, and drop what cannot be vouched for.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """
        fences = self.order.fences
        find = fences.find if settlement.is_partial else fences.take
        fence, is_standing = find(name, self.clock())
        if fence is None or not is_standing:
            if fence is not None:
                fences.abandon(fence)
            return await self._settle_lost(name, settlement)
        if settlement.is_partial:
            return await self._settle_part(fence, settlement)
        if not settlement.is_outcome_known:
            await self.warmth.void([name.namespace])
        stored_count = 0
        try:
            await self._drop_strays(fence, settlement)
            async for chunk in in_turns(list(fence.hidden)):
                stored_count += await self._settle_chunk(fence, chunk, settlement)
        finally:
            if fence.hidden:
                fences.abandon(fence)
        self.ledger.vouch()
        return Settled(stored_count=stored_count, is_fence_lost=False)

    async def _settle_part(self, fence: Fence, settlement: Settlement) -> Settled:
        """Settle some rows of a fence, which may run out between two chunks of them."""
        is_settled, stored_count = False, 0
        try:
            await self._drop_strays(fence, settlement)
            keys = [key for key in dict.fromkeys(settlement.keys) if key in fence.hidden]
            async for chunk in in_turns(keys):
                if fence.is_closed:
                    return await self._settle_lost(fence.name, settlement)
                stored_count += await self._settle_chunk(fence, chunk, settlement)
            is_settled = True
        finally:
            if not is_settled and not fence.is_closed:  # nobody will settle what is left
                self.order.fences.take(fence.name, self.clock())
                self.order.fences.abandon(fence)
        self.ledger.vouch()
        return Settled(stored_count=stored_count, is_fence_lost=False)

    async def settled(self, namespaces: Iterable[Namespace]) -> None:
        """Wait until every write has ended that hides rows now, so that numbers of warmth may be
        compared. Namespaces where some do not end in time get another number.
        """
        hiding = [(one, self.order.fences.hiding(one)) for one in namespaces]
        for _ in range(SETTLING_CHECKS):
            hiding = [(one, fences) for one, fences in hiding if any(f.hidden for f in fences)]
            if not hiding:
                return
            await asyncio.sleep(SETTLING_CHECK_S)
        for namespace, _ in hiding:
            self.warmth.renumber(namespace)

    async def _settle_lost(self, name: FenceName, settlement: Settlement) -> Settled:
        """Drop what a write did under a fence that has not stood until now."""
        await self.warmth.void([name.namespace])
        await self.drop(settlement.keys)
        self.ledger.vouch()
        return Settled(stored_count=0, is_fence_lost=True)

    async def _drop_strays(self, fence: Fence, settlement: Settlement) -> None:
        if strays := [key for key in settlement.keys if key not in fence.hidden]:
            await self.warmth.void([fence.name.namespace])
            await self.drop(strays)

    async def drop(self, keys: Sequence[RowKey]) -> None:
        """Forget rows that were written without a fence that stands.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """
        async for chunk in in_turns(keys):
            self.order.fences.spoil(chunk)
            self.order.touch(chunk, self.clock())
            await self.store.delete(chunk)

    async def invalidate(self, session_id: str, namespace: Namespace) -> None:
        """Void everything cached of ``namespace`` so far.

        Raises:
            NotFoundError: ``SESSION_UNKNOWN``.
            UnavailableError: ``STORE_DOWN``.
        """
        self.members.check(session_id, self.clock())
        await self.void_namespace(namespace)
        self.ledger.vouch()

    async def void_namespace(self, namespace: Namespace) -> None:
        """Raise one epoch, or all of them when too many would have to be remembered."""
        eras = self.order.eras
        if namespace not in eras.epochs and len(eras.epochs) >= self.order.limits.epochs_max:
            log.warning("epochs_overflowed", count_max=self.order.limits.epochs_max)
            await self.void_everything()
            return
        epoch = eras.raise_namespace(namespace)
        await self.warmth.void([namespace])
        await self.ledger.record_epoch(namespace, epoch)

    async def void_everything(self) -> None:
        """Void everything cached so far."""
        floor = self.order.eras.raise_all()
        await self.warmth.void_everything()
        await self.ledger.record_floor(floor)

    async def _settle_chunk(
        self, fence: Fence, keys: Sequence[RowKey], settlement: Settlement
    ) -> int:
        self.order.touch(keys, self.clock())
        era = self.order.eras.current
        epoch = self.order.eras.epoch(fence.name.namespace)
        written_ms = self.wall_ms()
        released = self.order.fences.release(fence, keys)
        if not (settlement.patches or settlement.lifts):
            rows = self._new_rows(
                [key for key, _, is_alone in released if is_alone and fence.era >= epoch],
                settlement.puts,
            )
            return await self.store.put_new(rows, era=era, written_ms=written_ms)
        kept: list[tuple[RowKey, Entry]] = []
        is_back = False
        for key, found, is_alone in released:
            if not is_alone or fence.era < epoch:
                continue
            hidden = None if found is None or found.era < epoch else found
            is_back |= hidden is not None and key in settlement.lifts
            entry = _outcome(key, hidden, settlement, era=era, written_ms=written_ms)
            if entry is not None and not self.oversize.refuses(entry.body, entry.vectors):
                kept.append((key, entry))
        if is_back:
            self.warmth.renumber(fence.name.namespace)
        stored_count = await self.store.put(kept)
        if is_back:  # again, for scans that began before a store that is far had them
            self.warmth.renumber(fence.name.namespace)
        is_any_lost = fence.has_lost or stored_count < len(kept)
        if is_any_lost and not settlement.lifts.isdisjoint(keys):
            await self.warmth.void([fence.name.namespace])
        return stored_count

    def _new_rows(
        self, keys: Sequence[RowKey], puts: Mapping[RowKey, tuple[bytes, bytes]]
    ) -> NewRows:
        """Return those of ``puts`` that are of ``keys`` and of a size that a store takes."""
        rows = [
            (key, *row)
            for key in keys
            if (row := puts.get(key)) is not None and not self.oversize.refuses(*row)
        ]
        return NewRows(*zip(*rows, strict=True)) if rows else NewRows((), (), ())


def _outcome(
    key: RowKey, hidden: Entry | None, settlement: Settlement, *, era: int, written_ms: int
) -> Entry | None:
    if (row := settlement.puts.get(key)) is not None:
        return Entry(era, written_ms, *row)
    if hidden is None:
        return None
    if (patch := settlement.patches.get(key)) is not None:
        body = merge(hidden.body, patch)
        return None if body is None else Entry(era, hidden.written_ms, body, hidden.vectors)
    if key in settlement.lifts:
        return msgspec.structs.replace(hidden, era=era)
    return None
