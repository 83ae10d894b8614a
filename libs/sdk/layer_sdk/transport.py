"""What a worker asks of layer, whichever way it travels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from layer_sdk.items import Failure, Item, Result


class Unavailable(Exception):  # noqa: N818 -- a state, not a mistake
    """Layer cannot be reached, or asks to come back later.

    Args:
        retry_after_s: What it asked for; None where it did not say.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


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
