"""Initialising a namespace: a marker that says into how many shards, and a shard for every row.

A call does as much as fits its time and says what is left; the next call goes on from there. It
is safe to call again, and from several gateways at once: every step leaves what is done as it is.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from weakref import WeakValueDictionary

from layer_gateway.application.facts import Facts, NamespaceFacts
from layer_gateway.application.layer_state import DescribeLayer, LayerState
from layer_gateway.application.refusals import is_refused
from layer_gateway.application.sharding import (
    SHARD_COUNT_MAX,
    Marker,
    Shards,
    drain_body,
    marker_body,
    read_marker,
)
from layer_gateway.ports.rows import RowCache
from layer_gateway.ports.stores import Caller, Store, StoreAnswer
from layer_kit.clock import Monotonic
from layer_kit.errors import (
    AlreadyExistsError,
    InvalidRequestError,
    LayerError,
    NotFoundError,
    UpstreamError,
)
from layer_kit.names import Namespace
from layer_wire import ids as wire_ids
from layer_wire.ids import IdKind, JsonId
from layer_wire.jsontext import encode, raw
from layer_wire.reserved import MARKER_ID, MARKER_SCHEMA_VERSION, MARKER_SHARD_COUNT, SHARD
from layer_wire.rows import query_answer, read_answer, row_id
from layer_wire.stamping import CacheRows

BACKFILL_S_MAX: Final = 10.0
"""How long one call gives rows their shards before it answers how many are left."""

_DENSE: Final = re.compile(r"(?P<many>\[\])?\[(?P<dimension>[1-9]\d*)\]f(16|32)")

SCHEMA_VERSION_MAX: Final = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillSettings:
    """How fast rows are given their shards."""

    batch_size: int = 1000
    requests_per_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InitNamespace:
    """Initialises namespaces, or goes on doing so."""

    store: Store
    cache: RowCache
    facts: Facts
    shards: Shards
    describe_layer: DescribeLayer
    settings: BackfillSettings
    monotonic: Monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    _turns: WeakValueDictionary[Namespace, asyncio.Lock] = field(
        default_factory=WeakValueDictionary
    )

    async def __call__(
        self,
        namespace: Namespace,
        *,
        schema_version: int,
        shard_count: int | None,
        caller: Caller,
        assigned: Callable[[int], None] = lambda _: None,
    ) -> LayerState:
        """Write the marker where there is none, and give shards to rows that have none.

        Args:
            shard_count: None goes on with what was begun, and changes nothing where nothing was.
            assigned: Told how many rows were given their shards, some at a time.

        Raises:
            InvalidRequestError: ``SCHEMA_VERSION_RANGE``, ``SHARD_COUNT_RANGE`` or
                ``SHARDS_NEED_STRING_IDS``.
            NotFoundError: ``NAMESPACE_NOT_FOUND``.
            AlreadyExistsError: ``SHARD_COUNT_DIFFERS`` from that of an earlier call.
            UpstreamError: ``INIT_FAILED``, or the store's own: call again.
        """
        _check(schema_version, shard_count)
        async with self._turns.setdefault(namespace, asyncio.Lock()):
            return await self._init(namespace, schema_version, shard_count, caller, assigned)

    async def _init(
        self,
        namespace: Namespace,
        schema_version: int,
        shard_count: int | None,
        caller: Caller,
        assigned: Callable[[int], None],
    ) -> LayerState:
        facts = await self._fresh_facts(namespace, caller)
        if facts.id_kind is not IdKind.STRING:
            if shard_count is not None:
                raise InvalidRequestError(
                    "SHARDS_NEED_STRING_IDS",
                    f"The ids of {namespace} are no strings, so that it cannot have shards.",
                    field="shard_count",
                )
            return await self.describe_layer(namespace, facts, caller)
        marker = await self._marker(namespace, caller)
        known = marker.shard_count if marker else facts.sharding.initialised_count
        check_same(namespace, known, shard_count)
        if marker is None and shard_count is not None:
            wanted = Marker(shard_count=shard_count, schema_version=schema_version)
            await self.shards.begin(namespace)
            marker = await self._mark(namespace, facts, wanted, caller)
            check_same(namespace, marker.shard_count, shard_count)
        if marker is not None:
            self.shards.initialised(namespace, marker)
            await self._backfill(namespace, facts, marker.shard_count, caller, assigned)
        facts = await self._fresh_facts(namespace, caller)
        return await self.describe_layer(namespace, facts, caller)

    async def _fresh_facts(self, namespace: Namespace, caller: Caller) -> NamespaceFacts:
        self.facts.forget(namespace)
        facts = await self.facts.get(namespace, caller)
        if not facts.exists:
            raise NotFoundError(
                "NAMESPACE_NOT_FOUND", f"Namespace {namespace} does not exist.", namespace=namespace
            )
        return facts

    async def _marker(self, namespace: Namespace, caller: Caller) -> Marker | None:
        """Read the marker as it is now, whatever an eventual read would show."""
        return read_marker(
            namespace, await self.store.query(namespace, marker_body("strong"), caller)
        )

    async def _mark(
        self, namespace: Namespace, facts: NamespaceFacts, wanted: Marker, caller: Caller
    ) -> Marker:
        """Write a marker where there is none; return the one that is there then."""
        row = {
            "id": MARKER_ID,
            MARKER_SHARD_COUNT: wanted.shard_count,
            MARKER_SCHEMA_VERSION: wanted.schema_version,
        }
        answer = await self._write(namespace, _insertion(row), [MARKER_ID], caller)
        if answer.status == HTTPStatus.BAD_REQUEST and (vectors := _some_vectors(facts.types)):
            # Some stores take no row without the vectors that all others have.
            answer = await self._write(namespace, _insertion(row | vectors), [MARKER_ID], caller)
        _accepted(answer, namespace)
        marker = await self._marker(namespace, caller)
        if marker is None:
            raise UpstreamError(
                "INIT_FAILED",
                f"The marker row of {namespace} is not there after it was written.",
                namespace=namespace,
            )
        return marker

    async def _backfill(
        self,
        namespace: Namespace,
        facts: NamespaceFacts,
        shard_count: int,
        caller: Caller,
        assigned: Callable[[int], None],
    ) -> None:
        """Give rows their shards, in order of id, until all have one or the time is over."""
        if SHARD not in facts.types:
            await self._declare_shards(namespace, caller)
        ends_s = self.monotonic() + BACKFILL_S_MAX
        batch_size, after = self.settings.batch_size, None
        while True:
            body = drain_body(shard_count, "strong", row_count=batch_size, after=after)
            answer = _accepted(await self.store.query(namespace, body, caller), namespace)
            ids = [row_id(row) for row in read_answer(query_answer, answer.body).rows]
            if ids:
                await self._assign(namespace, ids, shard_count, caller)
                assigned(len(ids))
            if len(ids) < batch_size or self.monotonic() >= ends_s:
                return
            after = raw(ids[-1])
            await self.sleep(1 / self.settings.requests_per_s)

    async def _declare_shards(self, namespace: Namespace, caller: Caller) -> None:
        """Make the attribute known, so that rows without a value of it can be found."""
        body = encode({"schema": {SHARD: {"type": "int", "filterable": True}}})
        _accepted(await self.store.write(namespace, [body], caller), namespace)

    async def _assign(
        self, namespace: Namespace, ids: list[JsonId], shard_count: int, caller: Caller
    ) -> None:
        """Write the shards of some rows, and nothing else: this is no write of theirs."""
        shards = wire_ids.shards(ids, shard_count)
        rows = [{"id": id_, SHARD: shard} for id_, shard in zip(ids, shards, strict=True)]
        patches = [{SHARD: shard} for shard in shards]
        answer = await self._write(namespace, {"patch_rows": rows}, ids, caller, patches)
        _accepted(answer, namespace)

    async def _write(
        self,
        namespace: Namespace,
        body: object,
        ids: Sequence[JsonId],
        caller: Caller,
        patches: Sequence[Mapping[str, object]] = (),
    ) -> StoreAnswer:
        """Send a write; rows that are cached are patched there, too.

        They keep the moment at which they were last written, so that a cache which is whole up to
        a later one would lack them if they only went.
        """
        canonical_ids = [wire_ids.canonical(id_) for id_ in ids]
        fence = await self.cache.fence(namespace, canonical_ids)
        try:
            answer = await self.store.write(namespace, [encode(body)], caller)
        except LayerError:
            await self.cache.abandon(fence)
            raise
        if answer.status == HTTPStatus.OK:
            cached = CacheRows(
                ids=canonical_ids if patches else [],
                bodies=[encode(patch) for patch in patches],
                vectors=[b""] * len(patches),
            )
            await self.cache.settle(fence, puts=CacheRows(), patches=cached, lifted=())
        elif is_refused(answer):
            await self.cache.release(fence)
        else:
            await self.cache.abandon(fence)
        return answer


def _check(schema_version: int, shard_count: int | None) -> None:
    if not 1 <= schema_version <= SCHEMA_VERSION_MAX:
        raise InvalidRequestError(
            "SCHEMA_VERSION_RANGE", "schema_version is at least 1.", field="schema_version"
        )
    if shard_count is not None and not 1 <= shard_count <= SHARD_COUNT_MAX:
        raise InvalidRequestError(
            "SHARD_COUNT_RANGE", f"shard_count is 1 to {SHARD_COUNT_MAX}.", field="shard_count"
        )


def check_same(namespace: Namespace, known: int | None, shard_count: int | None) -> None:
    """Refuse another number of shards than a namespace has.

    Raises:
        AlreadyExistsError: ``SHARD_COUNT_DIFFERS``.
    """
    if known is not None and shard_count not in (None, known):
        raise AlreadyExistsError(
            "SHARD_COUNT_DIFFERS",
            f"Namespace {namespace} has {known} shards already.",
            namespace=namespace,
            shard_count=known,
        )


def _insertion(row: Mapping[str, object]) -> Mapping[str, object]:
    """Insert a row whose id is free: of two at once the second does not meet the condition."""
    return {"upsert_rows": [row], "upsert_condition": ["id", "NotEq", row["id"]]}


def _some_vectors(types: Mapping[str, str]) -> dict[str, list[object]]:
    """Return a vector for each attribute of dense vectors: of length 1, for any metric."""
    found: dict[str, list[object]] = {}
    for name, type_ in types.items():
        if (match := _DENSE.fullmatch(type_)) is not None:
            vector: list[object] = [1.0, *[0.0] * (int(match["dimension"]) - 1)]
            found[name] = [vector] if match["many"] else vector
    return found


def _accepted(answer: StoreAnswer, namespace: Namespace) -> StoreAnswer:
    if answer.status == HTTPStatus.OK:
        return answer
    raise UpstreamError(
        "INIT_FAILED",
        f"The store answered a step of initialising {namespace} with status {answer.status}.",
        namespace=namespace,
        status=answer.status,
        retry_after_s=1.0,
    )
