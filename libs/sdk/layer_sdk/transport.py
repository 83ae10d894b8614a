"""What a worker asks of layer, whichever way it travels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from layer_sdk.items import Chunk, Failure, Item, Result, Row


class Unavailable(Exception):  # noqa: N818 -- a state, not a mistake
    """Layer cannot be reached, or asks to come back later.

    Args:
        retry_after_s: What it asked for; None where it did not say.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unreached(Unavailable):
    """Layer cannot be reached this way; by another it may."""


class Refused(Exception):  # noqa: N818
    """Layer will never take this call as it is."""


class FunctionTransport(Protocol):
    """Calls about the items of one function. Each may raise ``Unavailable`` or ``Refused``."""

    async def claim(self, limit: int, lease_s: int | None) -> Sequence[Item]:
        """Claim items."""
        ...

    async def heartbeat(self, items: Sequence[Item]) -> int:
        """Renew leases; return how many are still held."""
        ...

    async def complete(self, results: Sequence[Result]) -> int:
        """Hand results in; return how many were accepted."""
        ...

    async def fail(self, failures: Sequence[Failure]) -> int:
        """Report failures; return how many were accepted."""
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...


@dataclass(frozen=True, slots=True)
class Claim:
    """Documents that a worker has been given."""

    document_ids: Sequence[str]
    lease_token: int


class DocumentTransport(Protocol):
    """Calls about the documents of one pipeline. Each may raise ``Unavailable`` or ``Refused``."""

    async def claim(self, stage: str, claim_stage: str, limit: int, lease_s: int) -> Claim:
        """Claim documents of a stage."""
        ...

    async def heartbeat(self, claim: Claim, ids: Sequence[str], stage: str) -> int:
        """Renew leases of a claim; return how many are still held."""
        ...

    async def chunks(self, document_id: str) -> Sequence[Chunk]:
        """Return the chunks of a document."""
        ...

    async def write(self, claim: Claim, document_id: str, rows: Sequence[Row]) -> None:
        """Write the rows of a document, which is then indexed."""
        ...

    async def move(
        self, claim: Claim, ids: Sequence[str], stage: str, *, from_stage: str, reason: str = ""
    ) -> int:
        """Move documents that a claim still holds; return how many.

        Args:
            reason: Why they failed; those that are not given up then wait for another attempt.
        """
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...
