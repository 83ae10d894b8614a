"""The absence of a cache, as a choice: every lookup is a plain miss and nothing is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from layer_gateway.ports.rows import CacheConnection, CacheLookup, Fence, LookupKind, TellLookup
from layer_kit.names import Namespace
from layer_wire.stamping import CacheRows


@dataclass(frozen=True, slots=True, kw_only=True)
class NoFence:
    """A fence around nothing."""

    ids: Sequence[bytes]


class NoCache:
    """Implements ``RowCache`` by keeping nothing, which is always coherent."""

    is_available = False
    is_ring_mixed = False
    connection = CacheConnection()

    async def lookup(
        self,
        namespace: Namespace,
        ids: Sequence[bytes],
        *,
        names: Sequence[str] | None = None,
        with_vectors: bool = False,
    ) -> CacheLookup:
        return CacheLookup()

    def begin_lookup(self, kind: LookupKind, ids: Sequence[bytes], tell: TellLookup) -> None:
        tell(CacheLookup())

    def join_tokens(self, earlier: bytes, later: bytes) -> bytes:
        return b""

    async def backfill(
        self, namespace: Namespace, read_token: bytes, rows: CacheRows, *, is_patient: bool = False
    ) -> int:
        return 0

    async def fence(self, namespace: Namespace, ids: Sequence[bytes]) -> Fence:
        return NoFence(ids=ids)

    async def settle(
        self,
        fence: Fence,
        *,
        puts: CacheRows,
        patches: CacheRows,
        lifted: Sequence[bytes],
        is_outcome_known: bool = True,
    ) -> None:
        return

    async def release(self, fence: Fence) -> None:
        return

    async def abandon(self, fence: Fence) -> None:
        return

    async def drop(
        self, namespace: Namespace, ids: Sequence[bytes], *, is_outcome_known: bool = True
    ) -> None:
        return

    async def invalidate(self, namespace: Namespace) -> None:
        return
