"""What the door needs to know of keys."""

from __future__ import annotations

from typing import Protocol

from layer_gateway.domain.access import Grant


class KeyRing(Protocol):
    """Keys that are made and revoked while the gateway runs."""

    async def find(self, token: bytes) -> Grant | None:
        """Return what a key may do now; None when it is unknown, revoked or expired."""
        ...
