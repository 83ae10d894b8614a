"""Rows have their places, and what is asked of all replicas is asked of the right ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from layer_gateway.adapters.no_cache import NoCache
from layer_gateway.adapters.replicated_rows import ReplicatedRows, Ring
from layer_gateway.ports.rows import (
    CacheConnection,
    CachedRow,
    CacheLookup,
    LookupKind,
    TellLookup,
)
from layer_kit.names import Namespace, parse_namespace
from layer_wire.stamping import CacheRows

BOOKS = parse_namespace("books")
NAMES = ("cache-0:7101", "cache-1:7101", "cache-2:7101")
IDS = [b"u%d" % number for number in range(3000)]


class Replica(NoCache):
    """Remembers what it was given and gives it back."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_available = True
        self.connection = CacheConnection(is_connected=True, generation=1)
        self.rows: dict[bytes, CachedRow] = {}
        self.tokens: list[bytes] = []
        self.lookups_count = 0
        self.dropped: list[bytes] = []
        self.invalidated: list[Namespace] = []

    def begin_lookup(self, kind: LookupKind, ids: Sequence[bytes], tell: TellLookup) -> None:
        if not self.is_available:
            tell(CacheLookup(is_available=False))
            return
        self.lookups_count += 1
        hits = {at: self.rows[id_] for at, id_ in enumerate(ids) if id_ in self.rows}
        read_token = f"{self.name} {self.lookups_count}".encode()
        tell(CacheLookup.of(hits, read_token=read_token))

    async def backfill(
        self, namespace: Namespace, read_token: bytes, rows: CacheRows, *, is_patient: bool = False
    ) -> int:
        self.tokens.append(read_token)
        for id_, body in zip(rows.ids, rows.bodies, strict=True):
            self.rows[id_] = CachedRow(body=body, vectors=b"")
        return len(rows.ids)

    async def drop(
        self, namespace: Namespace, ids: Sequence[bytes], *, is_outcome_known: bool = True
    ) -> None:
        self.dropped += ids

    async def invalidate(self, namespace: Namespace) -> None:
        self.invalidated.append(namespace)


@pytest.fixture
def replicas() -> list[Replica]:
    return [Replica(name) for name in NAMES]


@pytest.fixture
def rows(replicas: list[Replica]) -> ReplicatedRows:
    return ReplicatedRows({replica.name: replica for replica in replicas})


def bodies(ids: Sequence[bytes]) -> CacheRows:
    return CacheRows(ids=list(ids), bodies=list(ids), vectors=[b""] * len(ids))


def owners(names: Sequence[str]) -> dict[bytes, str]:
    ring = Ring(names)
    return {id_: names[ring.owner(id_)] for id_ in IDS}


def test_every_replica_owns_about_as_many_rows() -> None:
    shares = Counter(owners(NAMES).values())
    assert min(shares.values()) > len(IDS) / len(NAMES) * 0.8


def test_the_order_in_which_replicas_are_named_does_not_matter() -> None:
    assert owners(NAMES) == owners(NAMES[::-1])


def test_only_the_rows_of_a_replica_that_leaves_move() -> None:
    before, after = owners(NAMES), owners(NAMES[:2])
    moved = {id_ for id_ in IDS if before[id_] != after[id_]}
    assert moved == {id_ for id_ in IDS if before[id_] == NAMES[2]}


async def test_rows_come_back_in_the_places_asked(
    rows: ReplicatedRows, replicas: list[Replica]
) -> None:
    token = (await rows.lookup(BOOKS, IDS)).read_token
    assert await rows.backfill(BOOKS, token, bodies(IDS)) == len(IDS)
    assert sum(len(replica.rows) for replica in replicas) == len(IDS)
    asked = [b"none", *IDS[100:110], b"neither", IDS[5]]
    found = await rows.lookup(BOOKS, asked)
    assert {at: row.body for at, row in found.hits.items()} == {
        at: id_ for at, id_ in enumerate(asked) if id_ in IDS
    }


async def test_a_backfill_uses_the_token_of_each_rows_owner(
    rows: ReplicatedRows, replicas: list[Replica]
) -> None:
    token = b""
    for id_ in IDS[:20]:  # each lookup asks the owner of one row alone
        token = rows.join_tokens(token, (await rows.lookup(BOOKS, [id_])).read_token)
    await rows.backfill(BOOKS, token, bodies(IDS[:20]))
    for replica in replicas:
        assert replica.tokens == [f"{replica.name} {replica.lookups_count}".encode()]


async def test_without_ids_a_lookup_brings_the_tokens_of_all(rows: ReplicatedRows) -> None:
    token = (await rows.lookup(BOOKS, ())).read_token
    assert await rows.backfill(BOOKS, token, bodies(IDS[:100])) == 100


async def test_a_replica_that_is_away_takes_its_own_rows_along_and_no_others(
    rows: ReplicatedRows, replicas: list[Replica]
) -> None:
    await rows.backfill(BOOKS, (await rows.lookup(BOOKS, IDS)).read_token, bodies(IDS))
    replicas[1].is_available = False
    found = await rows.lookup(BOOKS, IDS)
    assert not found.is_available
    assert len(found.hits) == len(replicas[0].rows) + len(replicas[2].rows)
    token = found.read_token
    assert await rows.backfill(BOOKS, token, bodies(IDS)) == len(found.hits)
    replicas[1].connection = CacheConnection(generation=1, last_error="gone")
    assert rows.connection == CacheConnection(generation=3, last_error="gone")


async def test_drops_go_to_the_owners_and_invalidations_to_all(
    rows: ReplicatedRows, replicas: list[Replica]
) -> None:
    await rows.drop(BOOKS, IDS)
    owned = owners(NAMES)
    for replica in replicas:
        assert replica.dropped == [id_ for id_ in IDS if owned[id_] == replica.name]
    await rows.invalidate(BOOKS)
    assert [replica.invalidated for replica in replicas] == [[BOOKS]] * 3
