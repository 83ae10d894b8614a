"""Membership of gateways, and what their silence does to hits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from layer_cache.application.pauses import give_way
from layer_cache.application.writes import Writes
from layer_cache.domain.limits import CHUNK_ROWS
from layer_cache.domain.members import FORGOTTEN, Members
from layer_cache.domain.order import Order
from layer_cache.domain.rows import RowKey, namespace_of
from layer_cache.ports import LedgerStore
from layer_kit.clock import Monotonic
from layer_kit.names import Namespace

log = structlog.get_logger(__name__)


RING_PREFIX: Final = "ring/"


@dataclass(frozen=True, slots=True, kw_only=True)
class DirtySet:
    """What a member wrote without a fence, at whichever grain it remembers."""

    keys: Sequence[RowKey] = ()
    namespaces: Sequence[Namespace] = ()
    is_everything: bool = False


class Sessions:
    """Opens, renews and ends memberships, and does what time alone brings about."""

    def __init__(
        self,
        *,
        members: Members,
        writes: Writes,
        order: Order,
        ledger: LedgerStore,
        clock: Monotonic,
        new_session_id: Callable[[], str],
    ) -> None:
        self.members = members
        self._writes = writes
        self._order = order
        self._ledger = ledger
        self._clock = clock
        self._new_session_id = new_session_id
        self._was_suspended = False
        self._ring = next(
            (
                bytes.fromhex(name.removeprefix(RING_PREFIX))
                for name in order.eras.epochs
                if name.startswith(RING_PREFIX)
            ),
            b"",
        )
        self.suspensions_count = 0
        self.gone_count = 0

    async def open(
        self, member_id: str, dirty: DirtySet, *, is_returning: bool = False, ring: bytes = b""
    ) -> str:
        """Drop what a member wrote unseen, then give it a session.

        Args:
            ring: How the member divides rows among replicas; another way than the last member's
                drops everything.
            is_returning: Whether the member had a session before. If it is not known all the
                same, the memory of the members was lost, and the others are waited for as well.

        Raises:
            InvalidRequestError: ``MEMBER_ID_INVALID``.
            QuotaExceededError: ``TOO_MANY_MEMBERS``.
            UnavailableError: ``STORE_DOWN``.
        """
        received_s = self._clock()
        self.members.check_admission(member_id)
        if ring != self._ring:
            await self._change_ring(ring)
        if dirty.is_everything:
            await self._writes.void_everything()
        for namespace in dirty.namespaces:
            await self._writes.void_namespace(namespace)
        await self._writes.warmth.void(map(namespace_of, dirty.keys))
        await self._writes.drop(dirty.keys)
        if not self.members.is_known(member_id):
            self.members.check_admission(member_id)
            if is_returning and self.members.has_forgotten(received_s):
                await self._ledger.add_member(FORGOTTEN)
                self.members.await_forgotten()
                log.warning("members_forgotten")
            await self._ledger.add_member(member_id)
            log.info("member_joined", member_id=member_id)
        session_id = self._new_session_id()
        self.members.open(member_id, session_id, received_s, ring)
        self._ledger.vouch()
        return session_id

    def renew(self, session_id: str, *, answered_number: int, elapsed_s: float) -> int:
        """Extend a membership; return the number of this renewal.

        Raises:
            NotFoundError: ``SESSION_UNKNOWN``.
            UnavailableError: ``STORE_DOWN``.
        """
        number = self.members.renew(
            session_id,
            answered_number=answered_number,
            elapsed_s=elapsed_s,
            received_s=self._clock(),
        )
        self._ledger.vouch()
        return number

    async def close(self, session_id: str) -> None:
        """End a membership. Nobody waits for it any more."""
        if (member_id := self.members.close(session_id)) is not None:
            await self._ledger.remove_members([member_id])
            log.info("member_left", member_id=member_id)

    async def advance(self) -> None:
        """Do what time alone brings about: release expired fences, give up silent members."""
        self._order.fences.expire(self._clock())
        while released := self._order.release_expired(self._clock(), count_max=CHUNK_ROWS):
            await self._writes.warmth.void(map(namespace_of, released))
            await give_way()
        if silent := set(self.members.gone(self._clock())):
            # What they wrote is unknown. Everything goes first, only then may hits resume.
            await self._writes.void_everything()
            # One that was heard of meanwhile counts on being known.
            gone = [
                member_id for member_id in self.members.gone(self._clock()) if member_id in silent
            ]
            for member_id in gone:
                self.members.forget(member_id)
                log.warning("member_declared_gone", member_id=member_id)
            self.gone_count += len(gone)
            await self._ledger.remove_members(gone)
        self._notice_suspension(is_suspended=self.members.is_suspended(self._clock()))

    async def _change_ring(self, ring: bytes) -> None:
        """Begin anew under another division of rows.

        It is remembered as the epoch of a name that no namespace has. Dropping everything forgets
        it, and a start that does not find it drops everything once more.
        """
        log.warning("ring_changed")
        await self._writes.void_everything()
        self._ring = ring
        if ring:
            await self._writes.void_namespace(Namespace(RING_PREFIX + ring.hex()))

    def _notice_suspension(self, *, is_suspended: bool) -> None:
        if is_suspended == self._was_suspended:
            return
        self._was_suspended = is_suspended
        self.suspensions_count += is_suspended
        log.info("hits_suspended" if is_suspended else "hits_resumed", members=len(self.members))
