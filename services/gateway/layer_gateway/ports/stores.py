"""What the use cases need of the upstream store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

from layer_kit.names import Namespace
from layer_wire.jsontext import Piece

Headers = Sequence[tuple[bytes, bytes]]


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """On whose behalf a request is sent upstream."""

    headers: Headers = ()
    """Headers to send on, ``authorization`` among them where the caller sent one."""

    namespaces: Sequence[str] = ()
    """Patterns of the only namespaces that the caller may name; none is all of them."""

    @property
    def authorization(self) -> bytes:
        """What the caller showed to come in; empty when nothing."""
        return next((value for name, value in self.headers if name == b"authorization"), b"")


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
