"""Fences as the adapter of one cache makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from layer_gateway.ports.rows import Fence
from layer_kit.names import Namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingFence:
    """A fence as this adapter made it."""

    namespace: Namespace
    ids: Sequence[bytes]
    fence_id: bytes
    is_held: bool
    """Whether the cache knows of it."""


def standing(fence: Fence) -> StandingFence:
    """Return the fence as what it is."""
    if not isinstance(fence, StandingFence):
        raise TypeError("a fence ends at the adapter that made it")
    return fence
