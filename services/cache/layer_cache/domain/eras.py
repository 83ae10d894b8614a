"""Eras: how everything stored in a namespace, or at all, is dropped in one step.

One number, the *era*, grows each time anything is invalidated. Every entry, read token and fence
carries the era of its making. Invalidating a namespace sets its *epoch* to a new era, and what
was made in an earlier era is void there from then on. Dropping everything raises the *floor*,
the epoch of all namespaces, and lets the single epochs be forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from layer_kit.names import Namespace


@dataclass(slots=True, kw_only=True)
class Eras:
    """The current era and the epochs. Whoever raises one records it before answering."""

    current: int = 1
    floor: int = 0
    epochs: dict[Namespace, int] = field(default_factory=dict)

    def epoch(self, namespace: Namespace) -> int:
        """Return the first era of which entries of ``namespace`` are alive."""
        return self.epochs.get(namespace, self.floor)

    def raise_namespace(self, namespace: Namespace) -> int:
        """Void what was made so far in ``namespace``; return its new epoch."""
        self.current += 1
        self.epochs[namespace] = self.current
        return self.current

    def raise_all(self) -> int:
        """Void everything made so far; return the new floor."""
        self.current += 1
        self.floor = self.current
        self.epochs.clear()
        return self.current
