"""What the use cases need of the cache beside its rows: whole namespaces, and records."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from layer_gateway.domain.warmth import NamespaceWarmth
from layer_kit.names import Namespace


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
    BLOB = "blob"


class RecordCache(Protocol):
    """Near copies of what lives in the object store. All methods raise while it is away."""

    async def put(self, kind: RecordKind, scope: str, key: bytes, value: bytes) -> None:
        """Keep a record in place of the one before; one that is too large leaves none."""
        ...

    async def get(self, kind: RecordKind, scope: str, key: bytes) -> bytes | None:
        """Return a record; None when it is not kept."""
        ...
