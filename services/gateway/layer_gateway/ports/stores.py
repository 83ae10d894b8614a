"""What the use cases need of the upstream store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec
from msgspec import structs

from layer_kit.errors import LayerError
from layer_kit.names import Namespace
from layer_wire.jsontext import Piece

Headers = Sequence[tuple[bytes, bytes]]


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """On whose behalf a request is sent upstream.

    Attributes:
        authorization: What the caller showed to come in; empty when nothing.
    """

    headers: Headers = ()
    """Headers to send on, ``authorization`` among them where the caller sent one."""

    namespaces: Sequence[str] = ()
    """Patterns of the only namespaces that the caller may name; none is all of them."""

    authorization: bytes = b""

    def __post_init__(self) -> None:
        found = next((value for name, value in self.headers if name == b"authorization"), b"")
        structs.force_setattr(self, "authorization", found)


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
    def parts(self) -> Sequence[bytes | bytearray]:
        """``body`` in the pieces in which it came."""
        ...

    @property
    def is_complete(self) -> bool:
        """Tell whether ``body`` is the whole body, and not only its beginning."""
        ...

    def passed_on(self) -> None:
        """Have the memory of a complete body used again: all of it was sent to somebody."""
        ...

    def iter_body(self) -> AsyncIterator[bytes]:
        """Yield what follows ``body`` as it arrives; for an answer that is not complete."""
        ...

    async def aclose(self) -> None:
        """Give up on what has not been read."""
        ...


class Receiver(Protocol):
    """Who is told how an exchange with the store ended, in the turn in which that is known."""

    def answered(self, answer: StreamedAnswer, /) -> None:
        """Take the answer, whatever its status. Raises nothing."""
        ...

    def failed(self, error: LayerError, /) -> None:
        """Take the error that there is instead: one of those of ``Store``. Raises nothing."""
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


class StoreCall(Protocol):
    """A request to the store but for its body, worked out once for as often as it is sent."""

    def begin(self, body: Sequence[Piece], receiver: Receiver) -> None:
        """Send it, without a task and so at half the cost, for whatever one exchange serves.

        Nobody can give it up.

        Args:
            body: In pieces, of which none is empty.
        """
        ...


class StoreCalls(Protocol):
    """The requests that can be made so. Both raise ``InvalidRequestError``."""

    def query_call(self, namespace: Namespace, caller: Caller) -> StoreCall:
        """Return a query."""
        ...

    def forward_call(self, method: bytes, target: bytes, headers: Headers) -> StoreCall:
        """Return a request that is passed on; a large answer may come before it is complete."""
        ...


class StoreHints(Protocol):
    """What the store may be told beforehand; errors as for ``Store``."""

    async def hint_cache_warm(self, namespace: Namespace, caller: Caller) -> StoreAnswer:
        """Have the store bring a namespace into its own cache."""


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
