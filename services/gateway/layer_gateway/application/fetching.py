"""Fetch by id: near copies first, the store for what is missing (docs/reference/http.md, "Fetch").

A miss always reads the whole row at strong consistency, since what is read is cached for
everyone: an eventual read could put a row older than an acknowledged write in front of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Final, cast

import msgspec

from layer_gateway.application.begun_fetches import BegunFetch
from layer_gateway.application.facts import Facts
from layer_gateway.application.joined_reads import (
    FactsOutdatedError,
    JoinedReads,
    fetch_failed,
    no_namespace,
)
from layer_gateway.ports.rows import LOOKUP_IDS_MAX, CachedRow, CacheLookup, RowCache
from layer_gateway.ports.stores import Caller
from layer_kit.errors import InvalidRequestError
from layer_kit.names import Namespace
from layer_wire import ids as wire_ids
from layer_wire.ids import IdKind, JsonId
from layer_wire.jsontext import RawObject, encode
from layer_wire.rows import project
from layer_wire.stamping import CacheRows, vector_object

FETCH_IDS_MAX: Final = 100_000
ATTRIBUTES_MAX: Final = 1_024
ATTRIBUTE_LENGTH_MAX: Final = 1_024
"""No row has an attribute whose name is longer, or empty."""

_OBJECT: Final[msgspec.json.Decoder[RawObject]] = msgspec.json.Decoder(RawObject)


class CacheResult(StrEnum):
    """How much of a fetch the cache answered; the value is that of ``x-layer-cache``."""

    HIT = "hit"
    MISS = "miss"
    MISS_ON_ERROR = "miss-on-error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """Rows by position in the ids asked for; absent positions do not exist."""

    rows: dict[int, CachedRow]
    cached: frozenset[int]
    """Positions of the rows that the cache answered."""
    result: CacheResult


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRows:
    """Reads whole rows, or some of their attributes, by id."""

    cache: RowCache
    facts: Facts
    reads: JoinedReads
    missed: Callable[[Namespace, Caller], None] = lambda _, __: None
    """Told of rows that the cache could have held and did not; nobody waits for it."""

    async def by_text(
        self,
        namespace: Namespace,
        ids: Sequence[str],
        caller: Caller,
        *,
        names: Sequence[str] | None,
        with_vectors: bool = False,
        field: str = "include_attributes",
    ) -> Fetched:
        """Fetch rows whose ids are given as text, as paths and the batch route give them.

        Args:
            ids: At most ``FETCH_IDS_MAX``; a text that cannot be an id of the namespace is
                simply not found.
            names: Attributes wanted; None means all, empty means none (an existence check).
            field: What the names are called where they come from.

        Raises:
            InvalidRequestError: ``TOO_MANY_IDS``, ``TOO_MANY_ATTRIBUTES``.
            NotFoundError: ``NAMESPACE_NOT_FOUND``.
            UpstreamError: ``FETCH_FAILED``, or the store's own.
        """
        if len(ids) > FETCH_IDS_MAX:
            raise InvalidRequestError(
                "TOO_MANY_IDS",
                f"{len(ids)} ids in one fetch; the limit is {FETCH_IDS_MAX}.",
                count=len(ids),
                count_max=FETCH_IDS_MAX,
            )
        if names is not None:
            names = _possible(names, field)
        try:
            return await self._by_text(namespace, ids, caller, names, with_vectors=with_vectors)
        except FactsOutdatedError:
            return await self._again(namespace, ids, caller, names, with_vectors=with_vectors)

    def begin(
        self,
        namespace: Namespace,
        texts: Sequence[str],
        caller: Caller,
        *,
        names: Sequence[str] | None,
        field: str = "include_attributes",
    ) -> BegunFetch | None:
        """Return the fetch that one lookup is probably enough for; None where it is not.

        It is to be looked up in the turn in which this is called. It is what :meth:`by_text` begins
        with, where nobody has to be asked for more, and changes nothing; errors as there.
        """
        if not 0 < len(texts) <= LOOKUP_IDS_MAX or not self.cache.is_available:
            return None
        if names is not None:
            names = _possible(names, field)
        facts = self.facts.known(namespace, caller)
        if facts is None or facts.id_kind is None:
            return None
        kind = facts.id_kind
        parsed = wire_ids.from_texts(texts, kind)
        if None in parsed:
            return None
        ids = cast("list[JsonId]", parsed)
        if kind is IdKind.STRING:
            keys = wire_ids.canonical_texts(texts)
        else:
            keys = wire_ids.canonical_all(ids, kind)
        earlier = self.reads.under_way(namespace, keys)
        return BegunFetch(namespace, texts, ids, keys, kind, caller, names, earlier)

    async def go_on(self, begun: BegunFetch, lookup: CacheLookup) -> Fetched:
        """Return all of a fetch, from its lookup on; errors as for :meth:`by_text`."""
        try:
            return await self._completed(begun, lookup, with_vectors=False)
        except FactsOutdatedError:
            return await self._again(
                begun.namespace, begun.texts, begun.caller, begun.names, with_vectors=False
            )

    async def _again(
        self,
        namespace: Namespace,
        ids: Sequence[str],
        caller: Caller,
        names: Sequence[str] | None,
        *,
        with_vectors: bool,
    ) -> Fetched:
        """Look once more: another gateway made the namespace anew, with ids of another kind."""
        self.facts.forget(namespace)
        try:
            return await self._by_text(namespace, ids, caller, names, with_vectors=with_vectors)
        except FactsOutdatedError as error:
            self.facts.forget(namespace)
            raise fetch_failed(namespace, HTTPStatus.BAD_REQUEST) from error

    async def _by_text(
        self,
        namespace: Namespace,
        ids: Sequence[str],
        caller: Caller,
        names: Sequence[str] | None,
        *,
        with_vectors: bool,
    ) -> Fetched:
        kind, parsed = await self._parsed(namespace, ids, caller)
        places = [at for at, id_ in enumerate(parsed) if id_ is not None]
        wanted = [id_ for id_ in parsed if id_ is not None]
        if 0 < len(places) == len(parsed) <= LOOKUP_IDS_MAX:
            return await self._batch(
                namespace, wanted, kind, caller, names=names, with_vectors=with_vectors
            )
        rows: dict[int, CachedRow] = {}
        cached: set[int] = set()
        results: set[CacheResult] = set()
        for start in range(0, len(wanted), LOOKUP_IDS_MAX):
            batch = wanted[start : start + LOOKUP_IDS_MAX]
            found = await self._batch(
                namespace, batch, kind, caller, names=names, with_vectors=with_vectors
            )
            rows |= {places[start + at]: row for at, row in found.rows.items()}
            cached |= {places[start + at] for at in found.cached}
            results.add(found.result)
        return Fetched(rows=rows, cached=frozenset(cached), result=_overall(results))

    async def _parsed(
        self, namespace: Namespace, texts: Sequence[str], caller: Caller
    ) -> tuple[IdKind, list[JsonId | None]]:
        """Return the kind of the namespace's ids and each text as one, None where it cannot be."""
        kind = await self._id_kind(namespace, caller)
        parsed = wire_ids.from_texts(texts, kind)
        if None in parsed:
            # Another gateway may have made the namespace anew, with ids of another kind.
            self.facts.forget(namespace)
            kind = await self._id_kind(namespace, caller)
            parsed = wire_ids.from_texts(texts, kind)
        return kind, parsed

    async def _id_kind(self, namespace: Namespace, caller: Caller) -> IdKind:
        kind = (await self.facts.get(namespace, caller)).id_kind
        if kind is None:
            raise no_namespace(namespace)
        return kind

    async def _batch(
        self,
        namespace: Namespace,
        ids: Sequence[JsonId],
        kind: IdKind,
        caller: Caller,
        *,
        names: Sequence[str] | None,
        with_vectors: bool,
    ) -> Fetched:
        keys = wire_ids.canonical_all(ids, kind)
        # Some may end while the lookup is on its way, and what they brought has not been seen then.
        earlier = self.reads.under_way(namespace, keys)
        begun = BegunFetch(namespace, (), ids, keys, kind, caller, names, earlier)
        lookup = await self._look_up(begun, with_vectors=with_vectors)
        return await self._completed(begun, lookup, with_vectors=with_vectors)

    async def _look_up(self, begun: BegunFetch, *, with_vectors: bool) -> CacheLookup:
        return await self.cache.lookup(
            begun.namespace, begun.keys, names=begun.names, with_vectors=with_vectors
        )

    async def _completed(
        self, begun: BegunFetch, lookup: CacheLookup, *, with_vectors: bool
    ) -> Fetched:
        """Read upstream what a lookup has missed."""
        rows = lookup.hits
        namespace, ids, keys = begun.namespace, begun.ids, begun.keys
        if len(rows) == len(keys):
            return Fetched(rows=rows, cached=frozenset(rows), result=CacheResult.HIT)
        missed = {key: ids[at] for at, key in enumerate(keys) if at not in rows}
        reads = {**begun.earlier, **self.reads.under_way(namespace, missed)}
        if followed := [reads[key] for key in missed if key in reads]:
            await self.reads.ended(followed)
            if lookup.is_available:  # what that read has brought is there now, and coherent
                lookup = await self._look_up(begun, with_vectors=with_vectors)
                rows = lookup.hits
                missed = {key: ids[at] for at, key in enumerate(keys) if at not in rows}
        cached = frozenset(rows)
        if not missed:
            result = CacheResult.HIT
        else:
            result = CacheResult.MISS if lookup.is_available else CacheResult.MISS_ON_ERROR
            if result is CacheResult.MISS:
                self.missed(namespace, begun.caller)
            read = await self.reads(namespace, missed, begun.kind, begun.caller, lookup.read_token)
            for at, key in enumerate(keys):
                if at not in rows and key in read.positions:
                    place = read.positions[key]
                    rows[at] = _projected(read.rows, place, begun.names, with_vectors=with_vectors)
        return Fetched(rows=rows, cached=cached, result=result)


def _possible(names: Sequence[str], field: str) -> Sequence[str]:
    """Return the names that an attribute can have, each once."""
    possible = [name for name in dict.fromkeys(names) if 0 < len(name) <= ATTRIBUTE_LENGTH_MAX]
    if len(possible) > ATTRIBUTES_MAX:
        raise InvalidRequestError(
            "TOO_MANY_ATTRIBUTES",
            f"{field} names {len(possible)} attributes; the limit is {ATTRIBUTES_MAX}. Leave it "
            "out for all of them.",
            field=field,
            count=len(possible),
            count_max=ATTRIBUTES_MAX,
        )
    return possible


def _projected(
    read: CacheRows, at: int, names: Sequence[str] | None, *, with_vectors: bool
) -> CachedRow:
    body = read.bodies[at]
    if names is not None:
        body = encode(project(_OBJECT.decode(body), frozenset(names)))
    return CachedRow(body=body, vectors=vector_object(read.vectors[at]) if with_vectors else b"")


def _overall(results: set[CacheResult]) -> CacheResult:
    for worst in (CacheResult.MISS_ON_ERROR, CacheResult.MISS):
        if worst in results:
            return worst
    return CacheResult.HIT
