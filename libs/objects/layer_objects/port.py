"""The object store as its users see it.

Every operation may raise, besides what it names:

    InvalidRequestError   OBJECT_KEY_INVALID     a key or prefix outside the rules of ``keys``
    UpstreamError         OBJECT_STORE_FAILED    the store answered with an error, or not at all
    DeadlineError         OBJECT_STORE_TIMEOUT   it took longer than the store's deadline
    UnavailableError      OBJECT_STORE_BUSY      too many operations wait already
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

OBJECT_BYTES_MAX: Final = 1024 * 1024 * 1024
LIST_LIMIT_MAX: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """What a store knows about an object without reading it.

    Attributes:
        etag: Opaque; another one after every write that changed the object.
        modified_ms: Epoch milliseconds; S3 counts whole seconds, and a put to it goes by our clock.
    """

    key: str
    etag: str
    size_bytes: int
    modified_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    info: ObjectInfo
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectPage:
    """Objects in the order of their keys' UTF-8 bytes.

    Attributes:
        next_after: The ``after`` of the next page; None on the last.
    """

    objects: list[ObjectInfo]
    next_after: str | None


class ObjectStore(Protocol):
    """Immutable bodies under keys. A finished put survives the death of any process."""

    async def put(
        self,
        key: str,
        body: bytes,
        *,
        content_type: str = "application/octet-stream",
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        """Write an object whole, or not at all.

        Args:
            content_type: For whoever reads the store directly; a folder does not keep it.
            if_absent: Only if the key is free. Of any number of racing writers one wins.
            if_match: Only if the object's etag is still this one.

        Raises:
            PreconditionError: ``OBJECT_EXISTS`` or ``OBJECT_CHANGED``; nothing was written.
            PayloadTooLargeError: ``OBJECT_TOO_LARGE`` over ``OBJECT_BYTES_MAX``.
        """
        ...

    async def get(self, key: str) -> Object | None:
        """Read an object; None when there is none.

        Raises:
            PayloadTooLargeError: ``OBJECT_TOO_LARGE`` over ``OBJECT_BYTES_MAX``.
        """
        ...

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        """Read ``length`` bytes from ``start``, fewer where the object ends earlier.

        Raises:
            NotFoundError: ``OBJECT_NOT_FOUND``.
            InvalidRequestError: ``OBJECT_RANGE_INVALID`` when ``start`` is not inside the object.
            PayloadTooLargeError: ``OBJECT_TOO_LARGE`` over ``OBJECT_BYTES_MAX``.
        """
        ...

    async def head(self, key: str) -> ObjectInfo | None:
        """Tell about an object; None when there is none."""
        ...

    async def list(
        self, prefix: str = "", *, after: str = "", limit: int = LIST_LIMIT_MAX
    ) -> ObjectPage:
        """List objects whose key starts with ``prefix`` and is greater than ``after``.

        Args:
            limit: 1 to ``LIST_LIMIT_MAX`` objects.
        """
        ...

    def iter_keys(self, prefix: str = "") -> AsyncIterator[str]:
        """Yield every key that starts with ``prefix``, reading one page at a time."""
        ...

    async def delete(self, key: str) -> None:
        """Delete an object; one that is missing is fine."""
        ...

    async def delete_prefix(self, prefix: str) -> int:
        """Delete everything under a prefix that is not empty; return how many objects that was.

        Works in pages of ``LIST_LIMIT_MAX``; objects written meanwhile may stay.
        """
        ...

    async def aclose(self) -> None:
        """Take no more operations; those already asked for still run. Idempotent."""
        ...


async def iter_keys(store: ObjectStore, prefix: str) -> AsyncIterator[str]:
    after: str | None = ""
    while after is not None:
        page = await store.list(prefix, after=after)
        for info in page.objects:
            yield info.key
        after = page.next_after
