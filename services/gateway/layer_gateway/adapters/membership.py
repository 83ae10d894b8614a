"""This gateway's membership in the cache, and what it owes it.

The cache answers from what it holds only while every member is heard from. A member that cannot
announce its writes therefore stops renewing, remembers what it wrote (the *dirty* set), and waits
until its lease has surely run out before it acknowledges such a write: from then on nobody is
served anything, until the member is back and its dirty rows are gone. docs/ARCHITECTURE.md,
"Coherence", has the argument, and why no clock is compared with another's.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from layer.cache.v1 import cache_pb2, cache_pb2_grpc
from layer_gateway.adapters.cache_metrics import ReplicaMetrics
from layer_gateway.adapters.direct_lookups import NO_OFFER, LookupOffer
from layer_gateway.ports.rows import CacheConnection
from layer_kit.clock import Monotonic
from layer_kit.errors import InvalidRequestError, LayerError, NotFoundError
from layer_kit.names import Namespace
from layer_kit.rpc.client import invoke

log = structlog.get_logger(__name__)

SESSION_TIMEOUT_S: Final = 1.0
OPEN_TIMEOUT_S: Final = 5.0
RENEW_INTERVAL_S: Final = 0.5
OPENING_NUMBER: Final = 1
"""The number of an opening among the renewals of its session."""

HANDOVER_POLL_S: Final = 0.05
DIRTY_IDS_MAX: Final = 50_000
DIRTY_NAMESPACES_MAX: Final = 10_000


@dataclass(slots=True)
class DirtyRows:
    """Rows written without the cache's knowledge: by id, past a bound by namespace, then all."""

    ids: set[tuple[Namespace, bytes]] = field(default_factory=set)
    namespaces: set[Namespace] = field(default_factory=set)
    is_everything: bool = False

    def __bool__(self) -> bool:
        return bool(self.ids or self.namespaces or self.is_everything)

    def add_ids(self, namespace: Namespace, ids: Iterable[bytes]) -> None:
        """Remember rows; a namespace whose rows are too many is remembered whole."""
        if namespace in self.namespaces:
            return
        self.ids.update((namespace, id_) for id_ in ids)
        if len(self.ids) > DIRTY_IDS_MAX:
            named = {name for name, _ in self.ids}
            self.ids.clear()
            for name in named:
                self.add_namespace(name)

    def add_namespace(self, namespace: Namespace) -> None:
        """Remember that any row of ``namespace`` may have changed."""
        self.namespaces.add(namespace)
        if len(self.namespaces) > DIRTY_NAMESPACES_MAX:
            self.namespaces.clear()
            self.is_everything = True


class Membership:
    """Keeps a session with the cache alive, or finds out that there is none."""

    def __init__(
        self,
        stub: cache_pb2_grpc.CacheServiceStub,
        *,
        monotonic: Monotonic,
        metrics: ReplicaMetrics,
        ring: bytes = b"",
    ) -> None:
        """Take the way to one cache.

        Args:
            ring: Fingerprint of the replicas among which rows are divided; empty for one alone.
        """
        self._stub = stub
        self._ring = ring
        self._is_ring_mixed = False
        self._monotonic = monotonic
        self._member_id = secrets.token_hex(16)
        self._session_id = ""
        self._is_confirmed = False
        self._is_closed = False
        self._has_been_member = False
        self._generation = 0
        self._last_error = ""
        self._lookup_offer = NO_OFFER
        self._dirty = DirtyRows()
        self._open_count = 0
        self._sent_at = 0.0
        self._answered_number = OPENING_NUMBER
        self._round_trip_s = 0.0
        self._lease_s = 0.0
        self._lease_until = 0.0
        self._connected = metrics.connected
        self._losses = metrics.losses
        self._came_back = metrics.came_back
        self._went_away = metrics.went_away
        self._away_since_s = monotonic()
        self._went_away()

    @property
    def session_id(self) -> str:
        """The session to announce writes under; empty while there is none."""
        return self._session_id

    @property
    def is_confirmed(self) -> bool:
        """Whether the cache may be asked for rows: it has heard from us and owes us nothing."""
        return self._is_confirmed

    @property
    def is_ring_mixed(self) -> bool:
        """Whether another gateway divides rows among replicas in another way."""
        return self._is_ring_mixed

    @property
    def lookup_offer(self) -> LookupOffer:
        """Where the cache that was last joined serves lookups directly."""
        return self._lookup_offer

    @property
    def connection(self) -> CacheConnection:
        """How this gateway stands with the cache."""
        return CacheConnection(
            is_connected=self._is_confirmed,
            generation=self._generation,
            last_error=self._last_error,
        )

    async def keep(self) -> None:
        """Open or renew the session; called every ``RENEW_INTERVAL_S``.

        The cache being away is no error here: it shows in ``session_id`` and the metrics.
        """
        if self._is_closed:
            return  # a session opened now would be waited for when this process is gone
        try:
            while not self._session_id or self._owes_rows:
                await self._open()
            await self._renew()
        except LayerError as error:
            self.lose(error)

    async def close(self) -> None:
        """Leave cleanly, so that the cache need not wait for a lease; or let the lease run out."""
        self._is_closed = True
        if not self._session_id:
            return
        request = cache_pb2.CloseSessionRequest(session_id=self._session_id)
        self._session_id, self._is_confirmed = "", False
        try:
            await invoke(self._stub.CloseSession, request, timeout_s=SESSION_TIMEOUT_S)
        except LayerError as error:
            log.warning("cache_session_left_open", reason=error.reason)

    def lose(self, error: LayerError) -> None:
        """Stop using and renewing the session, because a call on it failed."""
        self._last_error = error.message
        if self._is_confirmed:
            self._losses.inc()
            log.warning("cache_session_lost", reason=error.reason, message=error.message)
        self._forgo_session()

    async def acknowledge_ids(self, namespace: Namespace, ids: Sequence[bytes]) -> None:
        """Return once rows that were written unannounced may be acknowledged."""
        self.owe_ids(namespace, ids)
        await self._outlive_lease()

    def owe_ids(self, namespace: Namespace, ids: Sequence[bytes]) -> None:
        """Have the next session begin with the drop of rows that may have been written."""
        self._forgo_session()
        self._dirty.add_ids(namespace, ids)

    async def acknowledge_namespace(self, namespace: Namespace) -> None:
        """Return once an unannounced write to any rows of ``namespace`` may be acknowledged."""
        self._forgo_session()
        self._dirty.add_namespace(namespace)
        await self._outlive_lease()

    def _forgo_session(self) -> None:
        """Neither use nor renew the session; the next one begins with what is owed."""
        self._connected.set(0)
        if self._is_confirmed:
            self._away_since_s = self._monotonic()
            self._went_away()
        self._session_id, self._is_confirmed = "", False

    @property
    def _owes_rows(self) -> bool:
        """Whether rows were written while the session was being opened."""
        return bool(self._dirty) and not self._is_confirmed

    async def _outlive_lease(self) -> None:
        """Wait until the cache must have noticed the silence, or has been handed the rows."""
        noted_before_open = self._open_count
        while (wait_s := self._lease_until - self._monotonic()) > 0:
            if self._is_confirmed and self._open_count > noted_before_open:
                return
            await asyncio.sleep(min(wait_s, HANDOVER_POLL_S))

    async def _open(self) -> None:
        """Open a session and hand over the dirty rows; hits wait for the first renewal."""
        dirty, self._dirty = self._dirty, DirtyRows()
        self._open_count += 1
        ids = list(dirty.ids)
        request = cache_pb2.OpenSessionRequest(
            member_id=self._member_id,
            dirty_id_namespaces=[namespace for namespace, _ in ids],
            dirty_ids=[id_ for _, id_ in ids],
            dirty_namespaces=sorted(dirty.namespaces),
            is_everything_dirty=dirty.is_everything,
            is_returning=self._has_been_member,
            ring=self._ring,
        )
        self._sent_at = self._monotonic()
        try:
            answer = await invoke(self._stub.OpenSession, request, timeout_s=OPEN_TIMEOUT_S)
        except LayerError:
            self._take_back(dirty)
            raise
        self._answered(self._sent_at, OPENING_NUMBER, answer.lease_ms)
        self._lease_until = max(self._lease_until, self._counted_on(self._sent_at))
        self._session_id = answer.session_id
        self._lookup_offer = LookupOffer(answer.lookup_address, answer.incarnation)
        self._has_been_member = True
        self._notice_ring(is_mixed=answer.is_ring_mixed)

    async def _renew(self) -> None:
        session_id, sent_at = self._session_id, self._monotonic()
        request = cache_pb2.RenewSessionRequest(
            session_id=session_id,
            elapsed_ms=int((sent_at - self._sent_at) * 1000),
            answered_renewal_number=self._answered_number,
        )
        lease_before = self._lease_until
        # From this moment on the cache may count this member as heard from.
        self._lease_until = max(lease_before, self._counted_on(sent_at))
        try:
            answer = await invoke(self._stub.RenewSession, request, timeout_s=SESSION_TIMEOUT_S)
        except (InvalidRequestError, NotFoundError):
            self._lease_until = lease_before  # it did not count
            raise
        if session_id != self._session_id:
            return  # lost while the answer was on its way
        self._answered(sent_at, answer.renewal_number, answer.lease_ms)
        self._notice_ring(is_mixed=answer.is_ring_mixed)
        if not self._is_confirmed:
            self._generation += 1
            self._came_back(self._monotonic() - self._away_since_s)
        self._is_confirmed = True
        self._connected.set(1)

    def _answered(self, sent_at: float, number: int, lease_ms: int) -> None:
        """Remember what the next renewal counts from."""
        self._round_trip_s = self._monotonic() - sent_at
        self._sent_at, self._answered_number = sent_at, number
        self._lease_s = lease_ms / 1000

    def _counted_on(self, sent_at: float) -> float:
        """Return when a lease that was renewed at ``sent_at`` has surely run out."""
        return sent_at + self._round_trip_s + self._lease_s

    def _notice_ring(self, *, is_mixed: bool) -> None:
        if is_mixed and not self._is_ring_mixed:
            log.error("gateways_divide_rows_differently", member_id=self._member_id)
        self._is_ring_mixed = is_mixed

    def _take_back(self, dirty: DirtyRows) -> None:
        """Keep what could not be handed over, beside what was noted meanwhile."""
        if dirty.is_everything:
            self._dirty.is_everything = True
        for namespace in dirty.namespaces:
            self._dirty.add_namespace(namespace)
        for namespace, id_ in dirty.ids:
            self._dirty.add_ids(namespace, (id_,))
