"""Into how many shards a namespace is stamped, and whether they have all its rows between them.

Rows are counted to be in shards only once none is outside: one that a shard-by-shard query would
not find must not exist. So what is known runs out after a while and is looked up again, since a
write that goes around layer brings rows without a shard. A gateway that does not know yet of a
marker stamps rows by what was true before; until none of them can, queries ask for the rest too
(docs/decisions/0032-shards-that-settle.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Final

import msgspec
import structlog

from layer_gateway.ports.stores import Caller, Store, StoreAnswer
from layer_kit.clock import EpochMilliseconds, Monotonic, epoch_milliseconds
from layer_kit.errors import LayerError, UpstreamError
from layer_kit.names import Namespace
from layer_objects import ObjectStore
from layer_wire import filters
from layer_wire.jsontext import Raw, encode
from layer_wire.reserved import (
    MARKER_ID,
    MARKER_SCHEMA_VERSION,
    MARKER_SHARD_COUNT,
    SHARD,
)
from layer_wire.rows import query_answer, read_answer

log = structlog.get_logger(__name__)

SHARD_COUNT_MAX: Final = 1024
INITIALISED_S: Final = 600.0
"""How long a marker just written counts where eventual reads do not show it yet."""

_SHARD_COUNT: Final[msgspec.json.Decoder[int]] = msgspec.json.Decoder(
    Annotated[int, msgspec.Meta(ge=1, le=SHARD_COUNT_MAX)]
)
_VERSION: Final[msgspec.json.Decoder[int | None]] = msgspec.json.Decoder(int | None)


class _Counted(msgspec.Struct):
    aggregations: dict[str, int] = {}


_LAG: Final = "lag"
_COUNTED: Final[msgspec.json.Decoder[_Counted]] = msgspec.json.Decoder(_Counted)


class _Manifest(msgspec.Struct):
    shard_count: Annotated[int, msgspec.Meta(ge=0, le=SHARD_COUNT_MAX)] = 0


class _Begun(msgspec.Struct):
    initialised_at_ms: int


_BEGUN: Final[msgspec.json.Decoder[_Begun]] = msgspec.json.Decoder(_Begun)
_MANIFEST: Final[msgspec.json.Decoder[_Manifest]] = msgspec.json.Decoder(_Manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """The row that records how a namespace was initialised."""

    shard_count: int
    schema_version: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharding:
    """How the rows of a namespace are spread."""

    shard_count: int
    """Into how many shards rows are stamped."""
    is_initialised: bool = False
    """Whether a marker or a manifest says so, and not the settings."""
    is_complete: bool = False
    """Whether every row is known to be in one of the shards."""
    is_settling: bool = False
    """Whether a gateway may still stamp rows as if it had not been initialised."""
    marker: Marker | None = None

    @property
    def initialised_count(self) -> int | None:
        """The number of shards where it is not only that of the settings."""
        return self.shard_count if self.is_initialised else None

    @property
    def scatter_count(self) -> int:
        """How many shards have all rows between them."""
        return self.shard_count if self.is_complete else 1


class Shards:
    """Finds out how namespaces are sharded: from memory, a manifest or the marker row."""

    def __init__(
        self,
        store: Store,
        objects: ObjectStore | None,
        *,
        shard_count_default: int,
        monotonic: Monotonic,
        settle_s: float = 0.0,
        now_ms: EpochMilliseconds = epoch_milliseconds,
    ) -> None:
        """Look nothing up yet.

        Args:
            settle_s: How long a gateway may go by what it knew, with what it is sending.
        """
        self._store = store
        self._objects = objects
        self.unsharded = Sharding(shard_count=shard_count_default)
        """Of every namespace that was not initialised; its rows are stamped all the same."""
        self._settle_s = settle_s
        self._monotonic = monotonic
        self._now_ms = now_ms
        self._initialised: dict[Namespace, tuple[float, Marker]] = {}

    async def of(self, namespace: Namespace, types: Mapping[str, str], caller: Caller) -> Sharding:
        """Look up how a namespace with string ids is sharded.

        Args:
            types: The types of its attributes.

        Raises:
            UpstreamError: ``MARKER_UNREADABLE``, or the store's own.
        """
        marker, count = await asyncio.gather(
            self._marker(namespace, caller), self._manifested(namespace)
        )
        if count is None and marker is not None:
            count = marker.shard_count
        if count is None:
            return self.unsharded
        # In this order: who finds it settled has to see all that came before.
        is_settling = await self._is_settling(namespace)
        return Sharding(
            shard_count=count,
            is_initialised=True,
            is_complete=SHARD in types and await self._is_drained(namespace, count, caller),
            is_settling=is_settling,
            marker=marker,
        )

    async def rows_outside(
        self, namespace: Namespace, types: Mapping[str, str], sharding: Sharding, caller: Caller
    ) -> int | None:
        """Count the rows that are in none of the shards; None when the store does not say."""
        outside = filters.outside_shards(sharding.shard_count)
        body = {
            "aggregate_by": {_LAG: ["Count"]},
            "filters": outside if SHARD in types else filters.not_id(MARKER_ID),
            "consistency": {"level": "strong"},
        }
        answer = await self._store.query(namespace, encode(body), caller)
        if answer.status != HTTPStatus.OK:
            return None
        return read_answer(_COUNTED, answer.body).aggregations.get(_LAG)

    async def begin(self, namespace: Namespace) -> None:
        """Tell all gateways that a marker is about to be written; raises the object store's own."""
        if self._objects is not None:
            body = msgspec.json.encode(_Begun(initialised_at_ms=self._now_ms()))
            await self._objects.put(begun_key(namespace), body, content_type="application/json")

    def initialised(self, namespace: Namespace, marker: Marker) -> None:
        """Rely on a marker that was written just now."""
        now_s = self._monotonic()
        self._initialised = {
            name: known for name, known in self._initialised.items() if known[0] > now_s
        }
        self._initialised[namespace] = (now_s + INITIALISED_S, marker)

    def forget(self, namespace: Namespace) -> None:
        """Forget a namespace that was deleted."""
        self._initialised.pop(namespace, None)

    async def _marker(self, namespace: Namespace, caller: Caller) -> Marker | None:
        known = self._initialised.get(namespace)
        if known is not None and self._monotonic() < known[0]:
            return known[1]
        answer = await self._store.query(namespace, marker_body("eventual"), caller)
        return read_marker(namespace, answer)

    async def _manifested(self, namespace: Namespace) -> int | None:
        """Return the shard count of a manifest, as an early release left them."""
        if self._objects is None:
            return None
        try:
            found = await self._objects.get(manifest_key(namespace))
            return None if found is None else _MANIFEST.decode(found.body).shard_count or None
        except (LayerError, msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("shard_manifest_unread", namespace=namespace, message=str(error))
            return None

    async def _is_settling(self, namespace: Namespace) -> bool:
        """Tell whether the marker is younger than what a gateway may remember and be sending."""
        known = self._initialised.get(namespace)
        if known is not None and self._monotonic() < known[0]:
            return True
        if self._objects is None:
            return False
        try:
            found = await self._objects.get(begun_key(namespace))
            if found is None:
                return False
            begun_ms = _BEGUN.decode(found.body).initialised_at_ms
        except (LayerError, msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("shard_beginning_unread", namespace=namespace, message=str(error))
            return True
        return self._now_ms() - begun_ms < self._settle_s * 1000

    async def _is_drained(self, namespace: Namespace, count: int, caller: Caller) -> bool:
        """Tell whether no row is outside, neither as it is nor as eventual reads see it.

        A row that was given its shard a moment ago is outside for them until it is indexed.
        """
        answers = await asyncio.gather(
            *(
                self._store.query(namespace, drain_body(count, level, row_count=1), caller)
                for level in ("strong", "eventual")
            )
        )
        if any(answer.status != HTTPStatus.OK for answer in answers):
            return False  # a whole query is always right, only slower
        return not any(read_answer(query_answer, answer.body).rows for answer in answers)


def manifest_key(namespace: Namespace) -> str:
    """Return where the manifest of a namespace is kept."""
    return f"shards/{namespace}/manifest.json"


def begun_key(namespace: Namespace) -> str:
    """Return where it is kept when the marker of a namespace was written."""
    return f"shards/{namespace}/initialised.json"


def marker_body(level: str) -> bytes:
    """Return the query that reads the marker row."""
    return encode(
        {
            "rank_by": ["id", "asc"],
            "top_k": 1,
            "filters": ["id", "Eq", MARKER_ID],
            "include_attributes": True,
            "consistency": {"level": level},
        }
    )


def drain_body(shard_count: int, level: str, *, row_count: int, after: Raw | None = None) -> bytes:
    """Return the query for rows that are in none of the shards, in order of id.

    Args:
        level: At strong consistency rows count that an eventual read does not see yet.
        after: An id to begin after, as JSON.
    """
    drain = filters.outside_shards(shard_count)
    kept = drain if after is None else filters.both(filters.after_id(after), drain)
    return encode(
        {
            "rank_by": ["id", "asc"],
            "top_k": row_count,
            "filters": kept,
            "include_attributes": [],
            "consistency": {"level": level},
        }
    )


def read_marker(namespace: Namespace, answer: StoreAnswer) -> Marker | None:
    """Read the answer to :func:`marker_body`.

    Raises:
        UpstreamError: ``MARKER_UNREADABLE`` or ``UPSTREAM_UNREADABLE``.
    """
    if answer.status == HTTPStatus.BAD_REQUEST:
        return None  # ids of another kind: the marker's, a string, cannot be there
    if answer.status != HTTPStatus.OK:
        raise UpstreamError(
            "MARKER_UNREADABLE",
            f"The marker row of {namespace} could not be read upstream: status {answer.status}.",
            namespace=namespace,
            status=answer.status,
        )
    rows = read_answer(query_answer, answer.body).rows
    if not rows or MARKER_SHARD_COUNT not in rows[0]:
        return None
    return Marker(
        shard_count=read_answer(_SHARD_COUNT, rows[0][MARKER_SHARD_COUNT]),
        schema_version=read_answer(_VERSION, rows[0].get(MARKER_SCHEMA_VERSION, Raw(b"null"))),
    )
