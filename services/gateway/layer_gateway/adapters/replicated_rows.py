"""Several caches as one: each row has its place in one of them, by its id.

The owner of a row is the replica whose name and the row's id hash highest together (rendezvous
hashing), so that losing or adding a replica moves no rows between the others. Every gateway must
be given the same replicas: one that fences a row in another place than where it is read would
break the promise of ``CachedRows``, which holds for each replica by itself. The order in which
they are named does not matter. A replica that hears of gateways who were given others tells so,
and then nobody is asked for rows; after a change of the replicas each of them begins from nothing.

Losing a replica costs its share of the hits. Writes of its rows wait out its lease once, like
those of a single cache that is away; those of other rows are not held up.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import msgspec
import xxhash

from layer_gateway.adapters.joined_lookups import settle
from layer_gateway.ports.rows import (
    CacheConnection,
    CachedRow,
    CacheLookup,
    Fence,
    LookupKind,
    RowCache,
    TellLookup,
)
from layer_kit.names import Namespace
from layer_wire.stamping import CacheRows

_TOKENS: Final[msgspec.msgpack.Decoder[list[bytes]]] = msgspec.msgpack.Decoder(list[bytes])


class Replica(RowCache, Protocol):
    """The way to one cache of several."""

    @property
    def is_ring_mixed(self) -> bool:
        """Whether another gateway divides rows among replicas in another way."""
        ...


class Ring:
    """Which replica owns what."""

    def __init__(self, names: Sequence[str]) -> None:
        self.fingerprint = hashlib.sha256("\0".join(sorted(names)).encode()).digest()
        self._seeds = [xxhash.xxh64_intdigest(name.encode()) for name in names]
        self._places = range(len(self._seeds))

    def owner(self, key: bytes) -> int:
        """Return the position of the replica that owns ``key``."""
        seeds, score = self._seeds, xxhash.xxh64_intdigest
        return max(self._places, key=lambda place: score(key, seeds[place]))

    def split(self, keys: Iterable[bytes]) -> dict[int, list[int]]:
        """Return the positions of ``keys`` by their owners."""
        found: dict[int, list[int]] = {}
        for at, key in enumerate(keys):
            found.setdefault(self.owner(key), []).append(at)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitFence:
    """A fence in parts, one on each replica that owns some of its rows."""

    ids: Sequence[bytes]
    parts: Mapping[int, Fence]


class _LookupParts(msgspec.Struct, eq=False):
    """What several replicas answer to one lookup.

    Args:
        _tell: Told once, of everything.
        _awaited_count: How many have not answered.
        _tokens: By replica.
    """

    _tell: TellLookup
    _awaited_count: int
    _tokens: list[bytes]
    _hits: dict[int, CachedRow] = msgspec.field(default_factory=dict)
    _is_available: bool = True
    _error: BaseException | None = None

    def add(self, place: int, ats: Sequence[int], outcome: CacheLookup | BaseException) -> None:
        """Take the answer of one replica about the ids at ``ats``."""
        if isinstance(outcome, BaseException):
            self._error = outcome
        else:
            self._hits |= {ats[at]: row for at, row in outcome.hits.items()}
            self._tokens[place] = outcome.read_token
            self._is_available = self._is_available and outcome.is_available
        self._awaited_count -= 1
        if not self._awaited_count:
            self._tell(self._error or self._whole())

    def _whole(self) -> CacheLookup:
        return CacheLookup.of(
            self._hits, read_token=_packed(self._tokens), is_available=self._is_available
        )


class ReplicatedRows:
    """Implements ``RowCache`` over one for each replica."""

    def __init__(self, replicas: Mapping[str, Replica]) -> None:
        """Take the replicas by their names, which every gateway must know them by."""
        self._replicas = list(replicas.values())
        self._ring = Ring(list(replicas))

    @property
    def is_available(self) -> bool:
        return all(replica.is_available and not replica.is_ring_mixed for replica in self._replicas)

    @property
    def connection(self) -> CacheConnection:
        found = [replica.connection for replica in self._replicas]
        return CacheConnection(
            is_connected=all(one.is_connected for one in found),
            generation=sum(one.generation for one in found),
            last_error=next((one.last_error for one in found if not one.is_connected), "")
            or next((one.last_error for one in found if one.last_error), ""),
        )

    async def lookup(
        self,
        namespace: Namespace,
        ids: Sequence[bytes],
        *,
        names: Sequence[str] | None = None,
        with_vectors: bool = False,
    ) -> CacheLookup:
        answer: asyncio.Future[CacheLookup] = asyncio.get_running_loop().create_future()
        kind = LookupKind(namespace, None if names is None else tuple(names), with_vectors)
        self.begin_lookup(kind, ids, partial(settle, answer))
        return await answer

    def begin_lookup(self, kind: LookupKind, ids: Sequence[bytes], tell: TellLookup) -> None:
        if any(replica.is_ring_mixed for replica in self._replicas):
            tell(CacheLookup(is_available=False))
            return
        # Without ids only tokens are wanted, from everyone.
        places = self._ring.split(ids) if ids else {place: [] for place in self._everywhere}
        parts = _LookupParts(tell, len(places), [b""] * len(self._replicas))
        for place, ats in places.items():
            wanted = [ids[at] for at in ats]
            self._replicas[place].begin_lookup(kind, wanted, partial(parts.add, place, ats))

    def join_tokens(self, earlier: bytes, later: bytes) -> bytes:
        if not (earlier and later):
            return later or earlier
        pairs = zip(_TOKENS.decode(earlier), _TOKENS.decode(later), strict=True)
        return _packed([second or first for first, second in pairs])

    async def backfill(
        self, namespace: Namespace, read_token: bytes, rows: CacheRows, *, is_patient: bool = False
    ) -> int:
        tokens = _TOKENS.decode(read_token)
        counts = await asyncio.gather(
            *(
                self._replicas[place].backfill(
                    namespace, tokens[place], _only(rows, ats), is_patient=is_patient
                )
                for place, ats in self._ring.split(rows.ids).items()
                if tokens[place]
            )
        )
        return sum(counts)

    async def fence(self, namespace: Namespace, ids: Sequence[bytes]) -> Fence:
        places = self._ring.split(ids)
        fences = await asyncio.gather(
            *(
                self._replicas[place].fence(namespace, [ids[at] for at in ats])
                for place, ats in places.items()
            )
        )
        return SplitFence(ids=ids, parts=dict(zip(places, fences, strict=True)))

    async def settle(
        self,
        fence: Fence,
        *,
        puts: CacheRows,
        patches: CacheRows,
        lifted: Sequence[bytes],
        is_outcome_known: bool = True,
    ) -> None:
        put, patched, left = (self._ring.split(ids) for ids in (puts.ids, patches.ids, lifted))
        await asyncio.gather(
            *(
                self._replicas[place].settle(
                    part,
                    puts=_only(puts, put.get(place, ())),
                    patches=_only(patches, patched.get(place, ())),
                    lifted=[lifted[at] for at in left.get(place, ())],
                    is_outcome_known=is_outcome_known,
                )
                for place, part in _parts(fence).items()
            )
        )

    async def release(self, fence: Fence) -> None:
        parts = _parts(fence).items()
        await asyncio.gather(*(self._replicas[place].release(part) for place, part in parts))

    async def abandon(self, fence: Fence) -> None:
        parts = _parts(fence).items()
        await asyncio.gather(*(self._replicas[place].abandon(part) for place, part in parts))

    async def drop(
        self, namespace: Namespace, ids: Sequence[bytes], *, is_outcome_known: bool = True
    ) -> None:
        await asyncio.gather(
            *(
                self._replicas[place].drop(
                    namespace, [ids[at] for at in ats], is_outcome_known=is_outcome_known
                )
                for place, ats in self._ring.split(ids).items()
            )
        )

    async def invalidate(self, namespace: Namespace) -> None:
        await asyncio.gather(*(replica.invalidate(namespace) for replica in self._replicas))

    @property
    def _everywhere(self) -> range:
        return range(len(self._replicas))


def _packed(tokens: list[bytes]) -> bytes:
    return msgspec.msgpack.encode(tokens) if any(tokens) else b""


def _parts(fence: Fence) -> Mapping[int, Fence]:
    if not isinstance(fence, SplitFence):
        raise TypeError("a fence ends at the adapter that made it")
    return fence.parts


def _only(rows: CacheRows, ats: Sequence[int]) -> CacheRows:
    return CacheRows(
        ids=[rows.ids[at] for at in ats],
        bodies=[rows.bodies[at] for at in ats],
        vectors=[rows.vectors[at] for at in ats],
    )
