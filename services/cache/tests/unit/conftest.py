"""One incarnation of the cache over memory, with a clock that tests move."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from layer_cache.adapters.memory import MemoryLedger, MemoryStore
from layer_cache.application.found import Found, Projection
from layer_cache.application.sessions import DirtySet
from layer_cache.application.writes import Settled, Settlement
from layer_cache.bootstrap import build
from layer_cache.domain.fences import FenceName
from layer_cache.domain.limits import Limits
from layer_cache.domain.rows import RowKey, row_keys
from layer_cache.settings import CacheSettings
from layer_kit.names import Namespace

BOOKS = Namespace("books")
LIMITS = Limits(
    members_max=3,
    fences_max=3,
    fenced_ids_max=600,
    hidden_bytes_max=100,
    touched_ids_max=10,
    epochs_max=2,
)


@dataclass
class Cache:
    """The cache as a gateway with one session sees it."""

    now_s: float = 1000.0
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    limits: Limits = LIMITS

    def __post_init__(self) -> None:
        self.store = MemoryStore(bytes_max=10**7, ttl_s=10**6, now_ms=self.now_ms)
        self.restart()

    def now_ms(self) -> int:
        return int(self.now_s * 1000)

    def restart(self) -> None:
        """Start another incarnation on the same backend."""
        servicer = build(
            self.store,
            self.ledger,
            CacheSettings(backend="memory"),
            CollectorRegistry(),
            records=self.store,
            clock=lambda: self.now_s,
            wall_ms=self.now_ms,
            limits=self.limits,
            draining=asyncio.Event(),
        )
        self.reads, self.writes = servicer.reads, servicer.writes
        self.sessions, self.statistics = servicer.sessions, servicer.statistics

    async def join(self, member_id: str = "gateway") -> str:
        return await self.sessions.open(member_id, DirtySet())

    async def lookup(self, *ids: bytes, namespace: Namespace = BOOKS) -> Found:
        return await self.reads.lookup(namespace, ids, Projection(with_vectors=True))

    async def holds(self, row_id: bytes, namespace: Namespace = BOOKS) -> bytes | None:
        """Return the body of one row, or None."""
        found = await self.lookup(row_id, namespace=namespace)
        return found.bodies[0] if found.bodies else None

    async def backfill(
        self, token: bytes, *ids: bytes, body: bytes = b"{}", namespace: Namespace = BOOKS
    ) -> int:
        count = len(ids)
        return await self.reads.backfill(namespace, token, ids, [body] * count, [b""] * count)

    async def fill(self, *ids: bytes, body: bytes = b"{}", namespace: Namespace = BOOKS) -> None:
        token = (await self.lookup(*ids, namespace=namespace)).read_token
        assert await self.backfill(token, *ids, body=body, namespace=namespace) == len(ids)

    async def fence(self, session: str, fence_id: bytes, *ids: bytes, ttl_s: float = 60.0) -> None:
        await self.writes.fence(session, FenceName(BOOKS, fence_id), keys(*ids), ttl_s=ttl_s)

    async def settle(
        self,
        fence_id: bytes,
        *,
        puts: dict[bytes, bytes] | None = None,
        patches: dict[bytes, bytes] | None = None,
        lifts: list[bytes] | None = None,
        is_outcome_known: bool = False,
        is_partial: bool = False,
    ) -> Settled:
        settlement = Settlement(
            puts={key(row_id): (body, b"") for row_id, body in (puts or {}).items()},
            patches={key(row_id): body for row_id, body in (patches or {}).items()},
            lifts=frozenset(keys(*(lifts or []))),
            is_outcome_known=is_outcome_known,
            is_partial=is_partial,
        )
        return await self.writes.settle(FenceName(BOOKS, fence_id), settlement)


def keys(*ids: bytes) -> list[RowKey]:
    return row_keys(BOOKS, ids, count_max=len(ids))


def key(row_id: bytes) -> RowKey:
    return keys(row_id)[0]


@pytest.fixture
def cache() -> Cache:
    return Cache()
