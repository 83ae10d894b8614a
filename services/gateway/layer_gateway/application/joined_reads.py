"""Rows read upstream by id: one request for all who miss together, and one for all who follow.

*Joined*: the misses of one turn of the loop go upstream in one request. It begins after each of
them was looked up, so it is as good as a request of one's own.

*Following*: whoever misses a row that is being read already may not have that read's answer: it
began before the follower's own request, and in between a write may have been acknowledged, here
or by another gateway, of which the answer knows nothing. The follower waits instead until that
read has ended and its rows were offered to the cache, and looks the row up once more. The same
goes for a read that ends while the follower's lookup is on its way. The cache then answers by its
own order: it has taken the row only if no write was fenced since the read's token was handed out,
and every write acknowledged since has fenced the row. What is a miss still (the row does not
exist, or was refused as it may be old) is read by all followers together.

So a thousand concurrent misses of one row cost one request upstream, and never a stale answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, NamedTuple

from layer_gateway.application.facts import Facts
from layer_gateway.ports.rows import RowCache
from layer_gateway.ports.stores import Caller, Store
from layer_kit.errors import NotFoundError, UpstreamError
from layer_kit.names import Namespace
from layer_wire import ids as wire_ids
from layer_wire.ids import IdKind, JsonId
from layer_wire.jsontext import encode
from layer_wire.rows import query_answer, read_answer, row_id, split_row
from layer_wire.stamping import CacheRows

JOINED_IDS_MAX: Final = 512
"""A request that carries this many ids waits for no others."""

LONE_IDS_MIN: Final = 64
"""So many ids are worth a request of their own."""

FOLLOW_S_MAX: Final = 2.0
"""A follower waits no longer than this before it reads by itself."""

AUTHORIZATION: Final = b"authorization"


class FactsOutdatedError(Exception):
    """The store refused the ids, which are of another kind than is remembered."""


class ReadKind(NamedTuple):
    """What reads have in common when they are joined: one answer is then right for all."""

    namespace: Namespace
    id_kind: IdKind
    authorization: bytes | None


@dataclass(frozen=True, slots=True)
class ReadRows:
    """Whole rows as the store holds them; those it does not hold are absent."""

    rows: CacheRows
    positions: dict[bytes, int]
    """Where each row is in ``rows``, by canonical id."""


@dataclass(slots=True)
class _Batch:
    """Ids that go in one request, by their canonical form."""

    caller: Caller
    answer: asyncio.Future[ReadRows]
    ids: dict[bytes, JsonId] = field(default_factory=dict)
    read_token: bytes = b""
    context: Context = field(default_factory=copy_context)
    """That of the first caller: the request belongs to its trace."""


class JoinedReads:
    """Reads rows upstream at strong consistency, and offers them to the cache."""

    def __init__(self, *, store: Store, cache: RowCache, facts: Facts) -> None:
        self._store = store
        self._cache = cache
        self._facts = facts
        self._gathering: dict[ReadKind, _Batch] = {}
        self._under_way: dict[tuple[Namespace, bytes], asyncio.Future[ReadRows]] = {}

    def under_way(
        self, namespace: Namespace, keys: Iterable[bytes]
    ) -> dict[bytes, asyncio.Future[ReadRows]]:
        """Return the reads of ``keys`` that are under way, by key."""
        if not self._under_way:
            return {}
        reads = self._under_way
        return {key: read for key in keys if (read := reads.get((namespace, key))) is not None}

    async def ended(self, reads: Iterable[asyncio.Future[ReadRows]]) -> None:
        """Wait until reads have ended, well or not."""
        await asyncio.wait(set(reads), timeout=FOLLOW_S_MAX)

    async def __call__(
        self,
        namespace: Namespace,
        ids: Mapping[bytes, JsonId],
        kind: IdKind,
        caller: Caller,
        read_token: bytes,
    ) -> ReadRows:
        """Read whole rows, beside those that others ask for in this turn.

        Args:
            ids: By canonical form.
            read_token: From the lookup that missed them; empty when the cache wants none.

        Raises:
            FactsOutdatedError: The store refused the ids.
            NotFoundError: ``NAMESPACE_NOT_FOUND``.
            UpstreamError: ``FETCH_FAILED``, or the store's own.
        """
        read_kind = ReadKind(namespace, kind, _authorization(caller))
        batch = self._gathering.get(read_kind)
        is_lone = len(ids) >= LONE_IDS_MIN
        if batch is None or is_lone:
            batch = _Batch(caller, asyncio.get_running_loop().create_future())
        batch.ids.update(ids)
        # Any token will do, since all were handed out before the request.
        batch.read_token = self._cache.join_tokens(batch.read_token, read_token)
        if is_lone:
            self._begin(read_kind, batch)
        elif read_kind not in self._gathering:
            self._gathering[read_kind] = batch
            asyncio.get_running_loop().call_soon(self._send, read_kind, batch)
        elif len(batch.ids) >= JOINED_IDS_MAX:
            self._send(read_kind, batch)
        return await asyncio.shield(batch.answer)  # a caller that leaves takes nobody along

    def _send(self, kind: ReadKind, batch: _Batch) -> None:
        if self._gathering.get(kind) is batch:  # otherwise it went early, because it was full
            del self._gathering[kind]
            self._begin(kind, batch)

    def _begin(self, kind: ReadKind, batch: _Batch) -> None:
        for key in batch.ids:
            self._under_way[kind.namespace, key] = batch.answer
        task = asyncio.get_running_loop().create_task(
            self._read(kind, batch), context=batch.context
        )
        task.add_done_callback(lambda task: self._ended(kind, batch, task))

    def _ended(self, kind: ReadKind, batch: _Batch, task: asyncio.Task[ReadRows]) -> None:
        for key in batch.ids:
            if self._under_way.get((kind.namespace, key)) is batch.answer:
                del self._under_way[kind.namespace, key]
        if batch.answer.cancelled():
            return
        if task.cancelled():
            batch.answer.cancel()
        elif (error := task.exception()) is not None:
            batch.answer.set_exception(error)
            batch.answer.exception()  # seen, even if every caller has left
        else:
            batch.answer.set_result(task.result())

    async def _read(self, kind: ReadKind, batch: _Batch) -> ReadRows:
        rows = await self._ask(kind, list(batch.ids.values()), batch.caller)
        if batch.read_token:
            await self._cache.backfill(kind.namespace, batch.read_token, rows)
        return ReadRows(rows, {key: at for at, key in enumerate(rows.ids)})

    async def _ask(self, kind: ReadKind, ids: Sequence[JsonId], caller: Caller) -> CacheRows:
        """Read whole rows upstream, in no particular order."""
        namespace = kind.namespace
        body = encode(
            {
                "rank_by": ["id", "asc"],
                "top_k": len(ids),
                "filters": ["id", "Eq", ids[0]] if len(ids) == 1 else ["id", "In", ids],
                "include_attributes": True,
                "consistency": {"level": "strong"},
            }
        )
        answer = await self._store.query(namespace, body, caller)
        if answer.status == HTTPStatus.NOT_FOUND:
            self._facts.forget(namespace)
            raise no_namespace(namespace)
        if answer.status == HTTPStatus.BAD_REQUEST:
            raise FactsOutdatedError
        if answer.status != HTTPStatus.OK:
            raise fetch_failed(namespace, answer.status)
        read = CacheRows()
        for row in read_answer(query_answer, answer.body).rows:
            attributes, vectors = split_row(row)
            read.ids.append(wire_ids.canonical(row_id(row), kind.id_kind))
            read.bodies.append(attributes)
            read.vectors.append(vectors)
        return read


def fetch_failed(namespace: Namespace, status: int) -> UpstreamError:
    """Return the error for a read that the store answered with another status."""
    return UpstreamError(
        "FETCH_FAILED",
        f"The store answered a fetch from {namespace} with status {status}.",
        namespace=namespace,
        status=status,
    )


def no_namespace(namespace: Namespace) -> NotFoundError:
    """Return the error for a namespace that the store does not have."""
    return NotFoundError(
        "NAMESPACE_NOT_FOUND", f"Namespace {namespace} does not exist.", namespace=namespace
    )


def _authorization(caller: Caller) -> bytes | None:
    return next((value for name, value in caller.headers if name == AUTHORIZATION), None)
