"""How much of a namespace the cache holds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class WarmState(StrEnum):
    """How much of a namespace the cache holds; the value is the contract's."""

    COLD = "cold"
    WARMING = "warming"
    WARM = "warm"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceWarmth:
    """How much of one namespace the cache holds."""

    state: WarmState = WarmState.COLD
    warmed_through_ms: int | None = None
    """Every row stamped at or before this is held; None while the namespace is not warm."""
    numbers: tuple[int, ...] = ()
    """Others each time that it became warm: a scan between two equal ones saw every row."""
