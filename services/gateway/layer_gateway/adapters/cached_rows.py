"""The cache over gRPC: soft in every failure, strict in what it lets a write acknowledge."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from functools import partial
from typing import Final

import structlog

from layer.cache.v1 import cache_pb2
from layer_gateway.adapters.cache_metrics import ReplicaMetrics
from layer_gateway.adapters.direct_lookups import DirectWay
from layer_gateway.adapters.joined_lookups import JoinedLookups
from layer_gateway.adapters.lookup_messages import lookup_of, request_of
from layer_gateway.adapters.lookup_stream import LookupStream
from layer_gateway.adapters.membership import Membership
from layer_gateway.adapters.settlements import (
    CacheStub,
    Outcome,
    first_bytes,
    settlement_message,
    settlement_parts,
)
from layer_gateway.adapters.standing_fences import StandingFence, announce_timeout_s, standing
from layer_gateway.ports.rows import CacheConnection, CacheLookup, Fence, LookupKind, TellLookup
from layer_kit.errors import InvalidRequestError, LayerError
from layer_kit.names import Namespace
from layer_kit.rpc.client import invoke
from layer_wire.stamping import CacheRows

log = structlog.get_logger(__name__)

PATIENT_TIMEOUT_S: Final = 5.0
"""For many rows that nobody waits for; as long as their read token is good."""

FENCE_MARGIN_S: Final = 30.0
BACKFILL_BYTES_MAX: Final = 32 * 1024 * 1024


class CachedRows:
    """Implements ``RowCache``; see there and in ``Membership`` for the promise.

    Args:
        lookup_timeout_s: A read waits no longer than this before it goes upstream.
        write_timeout_s: The deadline of an upstream write, which a fence must outlive.
        replica: The address of the cache.
    """

    def __init__(
        self,
        stub: CacheStub,
        membership: Membership,
        *,
        lookup_timeout_s: float,
        write_timeout_s: float,
        metrics: ReplicaMetrics,
        replica: str = "",
    ) -> None:
        self._stub = stub
        self._membership = membership
        self._lookup_timeout_s = lookup_timeout_s
        self._fence_ttl_ms = int((write_timeout_s + FENCE_MARGIN_S) * 1000)
        direct = DirectWay(
            replica,
            lambda: membership.lookup_offer,
            timeout_s=lookup_timeout_s,
            is_open=metrics.direct,
        )
        self._look_up = LookupStream(stub, timeout_s=lookup_timeout_s, direct=direct)
        self._joined_lookups = JoinedLookups(self.ask)
        self._unannounced = metrics.unannounced

    @property
    def is_available(self) -> bool:
        return self._membership.is_confirmed

    @property
    def is_ring_mixed(self) -> bool:
        """Whether another gateway divides rows among replicas in another way."""
        return self._membership.is_ring_mixed

    @property
    def connection(self) -> CacheConnection:
        return self._membership.connection

    async def lookup(
        self,
        namespace: Namespace,
        ids: Sequence[bytes],
        *,
        names: Sequence[str] | None = None,
        with_vectors: bool = False,
    ) -> CacheLookup:
        kind = LookupKind(namespace, None if names is None else tuple(names), with_vectors)
        return await self._joined_lookups(kind, ids)

    def begin_lookup(self, kind: LookupKind, ids: Sequence[bytes], tell: TellLookup) -> None:
        self._joined_lookups.begin(kind, ids, tell)

    def ask(self, kind: LookupKind, ids: Sequence[bytes], tell: TellLookup) -> None:
        """Look ``ids`` up, joined with nobody's, and ``tell`` of them."""
        if not self.is_available:
            tell(CacheLookup(is_available=False))
            return
        self._look_up(request_of(kind, ids), partial(self._answered, tell))

    def _answered(
        self, tell: TellLookup, outcome: cache_pb2.LookupRowsResponse | BaseException
    ) -> None:
        if not isinstance(outcome, BaseException):
            tell(lookup_of(outcome))
        elif isinstance(outcome, InvalidRequestError):
            # Something about this lookup, which is nobody else's: the cache is there.
            log.warning("lookup_refused", reason=outcome.reason, message=outcome.message)
            tell(CacheLookup(is_available=False))
        elif isinstance(outcome, LayerError):
            self._membership.lose(outcome)
            tell(CacheLookup(is_available=False))
        else:
            tell(outcome)

    async def close(self) -> None:
        """Let go of the way to the cache; what waits for it is a miss."""
        await self._look_up.close()

    def join_tokens(self, earlier: bytes, later: bytes) -> bytes:
        return later or earlier  # the later one admits more

    async def backfill(
        self, namespace: Namespace, read_token: bytes, rows: CacheRows, *, is_patient: bool = False
    ) -> int:
        kept = first_bytes(rows, BACKFILL_BYTES_MAX)
        if not kept.ids or not self.is_available:
            return 0
        request = cache_pb2.BackfillRowsRequest(
            namespace=namespace,
            read_token=read_token,
            ids=kept.ids,
            bodies=kept.bodies,
            vectors=kept.vector_objects(),
        )
        timeout_s = PATIENT_TIMEOUT_S if is_patient else self._lookup_timeout_s
        try:
            answer = await invoke(self._stub.BackfillRows, request, timeout_s=timeout_s)
        except LayerError as error:
            log.info("backfill_refused", namespace=namespace, reason=error.reason)
            return 0
        return answer.stored_count

    async def fence(self, namespace: Namespace, ids: Sequence[bytes]) -> Fence:
        fence_id = secrets.token_bytes(16)
        is_held = bool(ids) and await self._announce_fence(namespace, fence_id, ids)
        return StandingFence(namespace=namespace, ids=ids, fence_id=fence_id, is_held=is_held)

    async def settle(
        self,
        fence: Fence,
        *,
        puts: CacheRows,
        patches: CacheRows,
        lifted: Sequence[bytes],
        is_outcome_known: bool = True,
    ) -> None:
        stood = standing(fence)
        if not stood.ids:
            return
        are_all_written = is_outcome_known and not lifted
        if not stood.is_held:
            await self.drop(stood.namespace, stood.ids, is_outcome_known=are_all_written)
            return
        outcome = Outcome(
            puts=puts, patches=patches, lifted=lifted, is_outcome_known=is_outcome_known
        )
        if not await self._settle(stood, outcome):
            await self.drop(stood.namespace, stood.ids, is_outcome_known=are_all_written)

    async def _settle(self, fence: StandingFence, outcome: Outcome) -> bool:
        """Settle what the cache fenced; tell whether its fence has stood until now."""
        *early, last = settlement_parts(outcome)
        asking: list[asyncio.Task[bool]] = []
        async with asyncio.TaskGroup() as group:
            for part in early:
                asking.append(group.create_task(self._settle_part(fence, part)))
                await asyncio.sleep(0)  # others have their turn between two messages
        return all(task.result() for task in asking) and await self._settle_part(fence, last)

    async def _settle_part(self, fence: StandingFence, part: Outcome) -> bool:
        message = settlement_message(fence.namespace, fence.fence_id, part)
        timeout_s = announce_timeout_s(fence.ids)
        try:
            answer = await invoke(self._stub.settle, message, timeout_s=timeout_s)
        except LayerError as error:
            self._membership.lose(error)
            return False
        return not answer.is_fence_lost

    async def release(self, fence: Fence) -> None:
        await self._end(fence, lifted=fence.ids)

    async def abandon(self, fence: Fence) -> None:
        stood = standing(fence)
        if stood.is_held:
            await self._end(stood, lifted=())
        elif not await self._announce_drop(stood.namespace, stood.ids, is_outcome_known=False):
            self._membership.owe_ids(stood.namespace, stood.ids)  # nothing waits to be acknowledged

    async def drop(
        self, namespace: Namespace, ids: Sequence[bytes], *, is_outcome_known: bool = True
    ) -> None:
        if await self._announce_drop(namespace, ids, is_outcome_known=is_outcome_known):
            return
        self._unannounced.inc()
        await self._membership.acknowledge_ids(namespace, ids)

    async def invalidate(self, namespace: Namespace) -> None:
        if session_id := self._membership.session_id:
            request = cache_pb2.InvalidateNamespaceRequest(
                namespace=namespace, session_id=session_id
            )
            try:
                await invoke(
                    self._stub.InvalidateNamespace, request, timeout_s=announce_timeout_s()
                )
            except LayerError as error:
                self._membership.lose(error)
            else:
                return
        self._unannounced.inc()
        await self._membership.acknowledge_namespace(namespace)

    async def _announce_fence(
        self, namespace: Namespace, fence_id: bytes, ids: Sequence[bytes]
    ) -> bool:
        session_id = self._membership.session_id
        if not session_id:
            return False
        request = cache_pb2.FenceRowsRequest(
            session_id=session_id,
            namespace=namespace,
            fence_id=fence_id,
            ids=ids,
            ttl_ms=self._fence_ttl_ms,
        )
        try:
            await invoke(self._stub.FenceRows, request, timeout_s=announce_timeout_s(ids))
        except LayerError as error:
            self._membership.lose(error)
            return False
        return True

    async def _announce_drop(
        self, namespace: Namespace, ids: Sequence[bytes], *, is_outcome_known: bool
    ) -> bool:
        """Have the cache drop rows; tell whether it surely has."""
        if not ids:
            return True
        fence_id = secrets.token_bytes(16)
        if not await self._announce_fence(namespace, fence_id, ids):
            return False
        request = cache_pb2.SettleRowsRequest(
            namespace=namespace, fence_id=fence_id, is_outcome_known=is_outcome_known
        )
        timeout_s = announce_timeout_s(ids)
        try:
            answer = await invoke(self._stub.SettleRows, request, timeout_s=timeout_s)
        except LayerError as error:
            self._membership.lose(error)
            return False
        return not answer.is_fence_lost

    async def _end(self, fence: Fence, *, lifted: Sequence[bytes]) -> None:
        """End a fence behind which nothing was acknowledged: failing to is harmless.

        The fence runs out by itself and drops what it hid.
        """
        stood = standing(fence)
        if not stood.is_held:
            return
        request = cache_pb2.SettleRowsRequest(
            namespace=stood.namespace,
            fence_id=stood.fence_id,
            lift_ids=lifted,
            is_outcome_known=len(lifted) == len(stood.ids),
        )
        timeout_s = announce_timeout_s(stood.ids)
        try:
            await invoke(self._stub.SettleRows, request, timeout_s=timeout_s)
        except LayerError as error:
            self._membership.lose(error)
