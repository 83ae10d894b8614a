"""What the gateway's use cases need from the world. Adapters satisfy these structurally."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from layer_gateway.domain.access import Grant
from layer_gateway.domain.federation import EmbeddingProfile
from layer_gateway.domain.history import Clicked, HistoryPage, HistoryPolicy, HistoryWanted, Queried
from layer_gateway.domain.warmth import NamespaceWarmth
from layer_kit.names import Namespace
from layer_wire.metadata import IndexStatus
from layer_wire.stamping import CacheRows, Piece

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """On whose behalf a request is sent upstream."""

    headers: Headers = ()
    """Headers to send on, ``authorization`` among them where the caller sent one."""

    @property
    def authorization(self) -> bytes:
        """What the caller showed to come in; empty when nothing."""
        return next((value for name, value in self.headers if name == b"authorization"), b"")


class KeyRing(Protocol):
    """Keys that are made and revoked while the gateway runs."""

    async def find(self, token: bytes) -> Grant | None:
        """Return what a key may do now; None when it is unknown, revoked or expired."""
        ...


class StoreAnswer(Protocol):
    """An answer of the upstream store, relayed or read."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Headers: ...

    @property
    def body(self) -> bytes: ...


class StreamedAnswer(StoreAnswer, Protocol):
    """An answer whose body may still be arriving."""

    @property
    def parts(self) -> Sequence[bytes]:
        """``body`` in the pieces in which it came."""
        ...

    @property
    def is_complete(self) -> bool:
        """Tell whether ``body`` is the whole body, and not only its beginning."""
        ...

    def iter_body(self) -> AsyncIterator[bytes]:
        """Yield what follows ``body`` as it arrives; for an answer that is not complete."""
        ...

    async def aclose(self) -> None:
        """Give up on what has not been read."""
        ...


class Forwarder(Protocol):
    """The way for requests that are the store's alone."""

    async def forward(
        self, method: bytes, target: bytes, headers: Headers, body: bytes, *, stream: bool
    ) -> StreamedAnswer:
        """Pass a request on as it came; errors as for ``Store``.

        Args:
            stream: Whether a large answer may be handed over before it is complete.
        """
        ...


class StoreHints(Protocol):
    """What the store may be told beforehand; errors as for ``Store``."""

    async def hint_cache_warm(self, namespace: Namespace, caller: Caller) -> StoreAnswer:
        """Have the store bring a namespace into its own cache."""


class MetricsSource(Protocol):
    """Where metrics are kept; answers of any status are answers, errors are as for ``Store``."""

    async def query(self, path: str, parameters: str) -> StoreAnswer:
        """Ask a query, with its parameters as a form."""
        ...

    async def write(self, body: bytes) -> StoreAnswer:
        """Hand over samples in Prometheus' text format."""
        ...


class Reachability(Protocol):
    """Whether a store answered when it was last asked something."""

    @property
    def is_reachable(self) -> bool | None:
        """Return None while it was asked nothing."""
        ...

    @property
    def since(self) -> str:
        """Return since when that has been so, in RFC 3339."""
        ...


class Store(Protocol):
    """The upstream store. Every call has a deadline.

    All methods raise ``UpstreamError`` (``UPSTREAM_UNREACHABLE``, ``UPSTREAM_CLOSED``),
    ``DeadlineError`` (``UPSTREAM_TIMEOUT``) or ``UnavailableError`` (``UPSTREAM_POOL_FULL``);
    an answer with an error status is an answer.
    """

    async def write(
        self, namespace: Namespace, body: Sequence[Piece], caller: Caller
    ) -> StoreAnswer:
        """Send a write; never sent twice."""
        ...

    async def query(self, namespace: Namespace, body: bytes, caller: Caller) -> StoreAnswer:
        """Send a query."""
        ...

    async def schema(self, namespace: Namespace, caller: Caller) -> StoreAnswer:
        """Get the schema of a namespace."""
        ...

    async def metadata(self, namespace: Namespace, caller: Caller) -> StoreAnswer:
        """Get the metadata of a namespace."""
        ...

    async def list_namespaces(self, query_string: str, caller: Caller) -> StoreAnswer:
        """List namespaces; ``query_string`` is that of the contract."""
        ...

    async def delete_namespace(self, namespace: Namespace, caller: Caller) -> StoreAnswer:
        """Delete a namespace."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedRow:
    """A row as the cache gives it."""

    body: bytes
    """Attributes as a JSON object, projected to the names asked for."""
    vectors: bytes
    """Vectors as a JSON object; empty when not asked for or absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheLookup:
    """Answer of the cache, or of its absence."""

    hits: Mapping[int, CachedRow] = field(default_factory=dict)
    """Rows found, by position in the ids asked for."""
    read_token: bytes = b""
    """Permits a backfill of what was missed; empty when none is wanted."""
    is_available: bool = True
    """False when the cache could not be asked, so that the misses say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheConnection:
    """How the gateway stands with the cache."""

    is_connected: bool = False
    generation: int = 0
    """Grows each time that it was connected, or connected anew."""
    last_error: str = ""
    """Why it was last disconnected; empty if it never was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What one poll has shown, for gateways that share what they learn."""

    namespace: Namespace
    status: IndexStatus
    watermark_ms: int | None
    polled_at_ms: int


class SharedMarks(Protocol):
    """What gateways that share what they learn see of each other, at once."""

    def read(self, namespace: Namespace) -> Mark | None: ...
    def publish(self, mark: Mark) -> None: ...


class Fence(Protocol):
    """Rows hidden from every reader while they are written upstream."""

    @property
    def ids(self) -> Sequence[bytes]: ...


class RowCache(Protocol):
    """Near copies of rows, kept coherent with every acknowledged write.

    No method raises because the cache is away. The three that follow a write return only once
    that write may be acknowledged: when the cache is told, or has surely stopped answering from
    what it holds (docs/ARCHITECTURE.md, "Coherence").
    """

    @property
    def is_available(self) -> bool:
        """Tell whether the cache answered last."""
        ...

    @property
    def connection(self) -> CacheConnection:
        """Tell how the gateway stands with the cache."""
        ...

    async def lookup(
        self,
        namespace: Namespace,
        ids: Sequence[bytes],
        *,
        names: Sequence[str] | None = None,
        with_vectors: bool = False,
    ) -> CacheLookup:
        """Look up at most ``LOOKUP_IDS_MAX`` canonical ids; ``names`` None means all attributes."""
        ...

    def join_tokens(self, earlier: bytes, later: bytes) -> bytes:
        """Return one read token for a read that begins after both were handed out."""
        ...

    async def backfill(
        self, namespace: Namespace, read_token: bytes, rows: CacheRows, *, is_patient: bool = False
    ) -> int:
        """Offer rows read upstream after a miss; the cache refuses what may be stale.

        Args:
            is_patient: Whether nobody waits for it, so that many rows may take their time.

        Returns:
            How many rows the cache took.
        """
        ...

    async def fence(self, namespace: Namespace, ids: Sequence[bytes]) -> Fence:
        """Hide rows that are about to be written."""
        ...

    async def settle(
        self,
        fence: Fence,
        *,
        puts: CacheRows,
        patches: CacheRows,
        lifted: Sequence[bytes],
        is_outcome_known: bool = True,
    ) -> None:
        """Tell what a write did; every fenced id not named is dropped.

        Args:
            is_outcome_known: Whether each of those is known to have been written or deleted.
        """
        ...

    async def release(self, fence: Fence) -> None:
        """End the fence of a write that upstream refused: its rows come back."""
        ...

    async def abandon(self, fence: Fence) -> None:
        """End the fence of a write whose fate is unknown: its rows are dropped."""
        ...

    async def drop(
        self, namespace: Namespace, ids: Sequence[bytes], *, is_outcome_known: bool = True
    ) -> None:
        """Drop rows that an upstream write has changed, or may have."""
        ...

    async def invalidate(self, namespace: Namespace) -> None:
        """Drop every row of a namespace."""
        ...


LOOKUP_IDS_MAX = 10_000
"""Ids in one lookup or backfill."""


class EmbeddingProfiles(Protocol):
    """How the vectors of each namespace were made, as far as somebody has declared it."""

    def get(self, namespace: Namespace) -> EmbeddingProfile | None: ...


class HistoryRecorder(Protocol):
    """Takes events on their way to the history service."""

    def record(self, event: Queried | Clicked) -> None:
        """Take an event, or drop it when too many wait. Neither waits nor raises."""
        ...


class HistoryArchive(Protocol):
    """What the history service remembers.

    Every method raises ``UnavailableError`` (``HISTORY_OFF``) where there is no such service, and
    ``UpstreamError`` when it, or its object store, fails.
    """

    async def queries(self, namespace: Namespace, wanted: HistoryWanted) -> HistoryPage:
        """Return searches."""
        ...

    async def clicks(self, namespace: Namespace, wanted: HistoryWanted) -> HistoryPage:
        """Return opened results."""
        ...

    async def session(self, namespace: Namespace, trace_id: str) -> dict[str, object]:
        """Return the searches and the opened results of a trace, oldest first.

        Raises:
            NotFoundError: ``TRACE_NOT_FOUND``.
        """
        ...

    async def policy(self, namespace: Namespace) -> dict[str, object]:
        """Return the policy of a namespace."""
        ...

    async def set_policy(self, namespace: Namespace, policy: HistoryPolicy) -> dict[str, object]:
        """Set the policy of a namespace.

        Raises:
            InvalidRequestError: ``POLICY_INVALID``.
            PreconditionError: ``HASH_KEY_MISSING``.
        """
        ...

    async def purge(self, namespace: Namespace) -> int:
        """Delete the history of a namespace; return how many objects went."""
        ...


class Warming(Protocol):
    """A namespace that is being brought in."""

    @property
    def namespace(self) -> Namespace: ...


class CacheWarmth(Protocol):
    """Which namespaces the cache holds as a whole, and bringing one in.

    All methods raise ``UnavailableError`` or ``DeadlineError`` while the cache is away.
    """

    async def begin(self, namespace: Namespace) -> Warming | None:
        """Begin to bring a namespace in; None while someone else is at it."""
        ...

    async def report(self, warming: Warming) -> None:
        """Keep a warming alive; it is given up when it is silent for 30 s.

        Raises:
            NotFoundError: ``WARM_UNKNOWN``: it was given up, or what it stored was dropped.
        """
        ...

    async def finish(self, warming: Warming, warmed_through_ms: int) -> bool:
        """End a warming that stored every row; tell whether the namespace is warm.

        Raises:
            NotFoundError: ``WARM_UNKNOWN``.
        """
        ...

    async def give_up(self, warming: Warming) -> None:
        """End a warming that did not come to its end."""
        ...

    async def states(
        self, namespaces: Sequence[Namespace] = ()
    ) -> dict[Namespace, NamespaceWarmth]:
        """Return the states of namespaces, or with none named of all that are not cold."""
        ...


class RecordKind(StrEnum):
    """What a record in the cache is."""

    SNAPSHOT = "snapshot"


class RecordCache(Protocol):
    """Near copies of what lives in the object store. All methods raise while it is away."""

    async def put(self, kind: RecordKind, scope: str, key: bytes, value: bytes) -> None:
        """Keep a record, or replace it."""
        ...


class SearchObserver(Protocol):
    """Is told of searches, for whoever watches the gateway."""

    def searched(self, namespace: str, status: str, tokens_count: int | None) -> None:
        """Take note of a search by hybrid text.

        Args:
            status: ``ok``, ``tpuf_error``, ``timeout`` or ``layer_error``.
            tokens_count: Words looked for one by one; None where it did not come to that.
        """
        ...

    def routed(self, namespace: str, route: str, *, is_executed: bool) -> None:
        """Take note of a search that left its route to layer."""
        ...

    def asked_together(
        self, namespace: str, status: str, legs_count: int, requests_count: int | None
    ) -> None:
        """Take note of a multi-query.

        Args:
            status: As of a search.
            requests_count: Requests to the store; None where it did not come to an answer.
        """
        ...
