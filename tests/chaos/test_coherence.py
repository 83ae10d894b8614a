"""The promise of docs/ARCHITECTURE.md, "Coherence", under everything that can go wrong at once.

Several real gateways, in this process, write and fetch a few rows through the real cache and over
a small store, while links, the cache and gateways fail. ``LAYER_TEST_SEED`` repeats a program and
``LAYER_TEST_CHECKER_OPERATIONS`` sets its length. Whether the checker would notice is a question
of its own: gateways with one rule taken out have to be caught.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest
import structlog

from layer_gateway.adapters import cached_rows, membership, standing_fences
from layer_gateway.adapters.cached_rows import CachedRows
from layer_gateway.adapters.membership import Membership
from layer_gateway.adapters.standing_fences import StandingFence
from layer_gateway.application.joined_reads import JoinedReads, ReadRows
from layer_gateway.ports.rows import Fence
from layer_gateway.ports.stores import Caller
from layer_kit.names import Namespace
from layer_wire.ids import IdKind, JsonId
from layer_wire.stamping import CacheRows
from tests.chaos import breakdowns
from tests.chaos.program import run_program
from tests.chaos.replicas import Parts
from tests.chaos.stores import DirectoryStore, cluster_store

log = structlog.get_logger(__name__)

OPERATIONS_COUNT = int(os.environ.get("LAYER_TEST_CHECKER_OPERATIONS") or 2_000)
SEED = int(os.environ.get("LAYER_TEST_SEED") or secrets.randbelow(2**32))
BROKEN_OPERATIONS_COUNT_MAX = 10_000
HITS_SHARE_MIN = 0.02


@pytest.fixture(autouse=True)
def _short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten every wait as the lease is shortened, so that each of them runs out."""
    monkeypatch.setattr(membership, "SESSION_TIMEOUT_S", 0.3)
    monkeypatch.setattr(membership, "OPEN_TIMEOUT_S", 0.6)
    monkeypatch.setattr(membership, "HANDOVER_POLL_S", 0.01)
    monkeypatch.setattr(standing_fences, "ANNOUNCE_TIMEOUT_S", 0.3)
    monkeypatch.setattr(cached_rows, "FENCE_MARGIN_S", 0.9)


@pytest.mark.timeout(600)
async def test_no_fetch_is_older_than_an_acknowledged_write(tmp_path: Path) -> None:
    stores = [DirectoryStore(directory=tmp_path)]
    outcome = await run_program(stores, seed=SEED, operations_count=OPERATIONS_COUNT)

    log.info("coherence_checked", outcome=str(outcome))
    assert outcome.violations == [], "\n\n".join(outcome.violations)
    assert outcome.hits_count > outcome.fetched_count * HITS_SHARE_MIN, f"no test: {outcome}"


@pytest.mark.timeout(600)
async def test_nor_is_it_when_rows_are_spread_over_three_caches_that_get_lost(
    tmp_path: Path,
) -> None:
    stores = [DirectoryStore(directory=tmp_path / f"{number}") for number in range(3)]
    outcome = await run_program(stores, seed=SEED, operations_count=OPERATIONS_COUNT)

    log.info("coherence_checked", outcome=str(outcome))
    assert outcome.violations == [], "\n\n".join(outcome.violations)
    assert outcome.hits_count > outcome.fetched_count * HITS_SHARE_MIN, f"no test: {outcome}"


@pytest.mark.timeout(600)
async def test_nor_is_it_when_rows_are_in_a_cluster_that_fails_as_well() -> None:
    with cluster_store() as store:
        outcome = await run_program([store], seed=SEED, operations_count=OPERATIONS_COUNT)

    log.info("coherence_checked", outcome=str(outcome))
    assert outcome.violations == [], "\n\n".join(outcome.violations)
    assert outcome.hits_count > outcome.fetched_count * HITS_SHARE_MIN, f"no test: {outcome}"


class WithoutFences(CachedRows):
    """Mirrors after the write, as if nobody else could have written in between."""

    async def fence(self, namespace: Namespace, ids: Sequence[bytes]) -> Fence:
        return StandingFence(namespace=namespace, ids=ids, fence_id=b"none", is_held=True)

    async def settle(
        self,
        fence: Fence,
        *,
        puts: CacheRows,
        patches: CacheRows,
        lifted: Sequence[bytes],
        is_outcome_known: bool = True,
    ) -> None:
        assert isinstance(fence, StandingFence)
        late = await super().fence(fence.namespace, fence.ids)
        await super().settle(late, puts=puts, patches=patches, lifted=lifted)


class WithoutInvalidations(CachedRows):
    """Leaves what a deleted namespace held."""

    async def invalidate(self, namespace: Namespace) -> None:
        return


class WithoutDrops(CachedRows):
    """Trusts that the rows of a write by filter, or of a lost fence, are not cached."""

    async def drop(
        self, namespace: Namespace, ids: Sequence[bytes], *, is_outcome_known: bool = True
    ) -> None:
        return


class BackfillingUnderFreshTokens(CachedRows):
    """Asks for the permission after the read that it is for."""

    async def backfill(
        self, namespace: Namespace, read_token: bytes, rows: CacheRows, *, is_patient: bool = False
    ) -> int:
        fresh = await self.lookup(namespace, rows.ids)
        return await super().backfill(namespace, fresh.read_token, rows)


class TakingTheAnswerUnderWay(JoinedReads):
    """Answers with a read that began before the request did."""

    async def ended(self, reads: Iterable[asyncio.Future[ReadRows]]) -> None:
        return

    async def __call__(
        self,
        namespace: Namespace,
        ids: Mapping[bytes, JsonId],
        kind: IdKind,
        caller: Caller,
        read_token: bytes,
    ) -> ReadRows:
        reads = {self._under_way.get((namespace, key)) for key in ids}
        if len(reads) == 1 and (read := reads.pop()) is not None:
            return await asyncio.shield(read)
        return await super().__call__(namespace, ids, kind, caller, read_token)


class WithoutLeaseWait(Membership):
    """Acknowledges at once what it could not announce."""

    async def _outlive_lease(self) -> None:
        return


class WithoutDirtyRows(Membership):
    """Comes back without a word about what it wrote meanwhile."""

    async def acknowledge_ids(self, namespace: Namespace, ids: Sequence[bytes]) -> None:
        await super().acknowledge_ids(namespace, ())


@pytest.mark.parametrize(
    "parts",
    [
        Parts(cached_rows=WithoutFences),
        Parts(cached_rows=WithoutInvalidations),
        Parts(cached_rows=WithoutDrops),
        Parts(cached_rows=BackfillingUnderFreshTokens),
        Parts(joined_reads=TakingTheAnswerUnderWay),
        Parts(membership=WithoutLeaseWait),
        Parts(membership=WithoutDirtyRows),
    ],
    ids=lambda parts: parts.broken,
)
async def test_a_gateway_without_one_of_the_rules_is_caught(
    tmp_path: Path, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The rules are about announcing writes, which go over the other links.
    monkeypatch.setattr(breakdowns, "LOOKUP_LINKS_SHARE", 0.0)
    outcome = await run_program(
        [DirectoryStore(directory=tmp_path)],
        seed=SEED,
        operations_count=BROKEN_OPERATIONS_COUNT_MAX,
        parts=parts,
        spares_processes=True,
    )

    assert outcome.violations, f"not caught: {outcome}"
