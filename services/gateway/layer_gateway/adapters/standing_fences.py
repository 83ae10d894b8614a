"""Fences as the adapter of one cache makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from layer_gateway.ports.rows import Fence
from layer_kit.names import Namespace

ANNOUNCE_TIMEOUT_S: Final = 1.0
"""For what a write waits on; longer than a lookup's, since giving up costs a whole lease."""

ANNOUNCE_ID_TIMEOUT_S: Final = 20e-6
"""What each row adds to that: several times what the cache takes for it."""


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


def announce_timeout_s(ids: Sequence[bytes] = ()) -> float:
    """Return how long the cache may take to hear of a write of these rows."""
    return ANNOUNCE_TIMEOUT_S + ANNOUNCE_ID_TIMEOUT_S * len(ids)
