"""The oracle: which rows a fetch may return, given the order in which upstream applied writes.

Upstream's own order is the truth. Each write that changed a row left an *effect* there. A write
binds a fetch when it was acknowledged before the fetch began; any other one may be seen or not,
since its caller cannot know whether it has happened yet. So a row is right if it is what some of
its effects make of it, applied in upstream's order: all that bind and any of the others. A row
that lacks a binding write, or that holds what no write put there, is a violation.

Every write sets the attributes it touches to its own number, so a row tells what made it.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from layer_kit.names import Namespace

NOTES_SHOWN_MAX: Final = 60

Attributes = Mapping[str, int]
"""Attributes of a row, each with the number of the write that set it."""


class Row(NamedTuple):
    """A row's identity, whatever the kind of its id."""

    namespace: Namespace
    id_text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What one write did to one row."""

    operation: int
    attributes: Attributes | None
    """What was set; None when the row was deleted."""
    is_whole: bool
    """Whether nothing of the row before is left."""
    is_repeated: bool = False
    """Whether the write had been acknowledged before: upstream got it twice, and was late once."""


NEVER_WRITTEN: Final = Effect(operation=0, attributes=None, is_whole=True)


class History:
    """What upstream applied, what was acknowledged and when, and whether a fetch agrees."""

    def __init__(self) -> None:
        self._moment = 0
        self._acknowledged: dict[int, int] = {}
        self._effects: dict[Row, list[Effect]] = defaultdict(lambda: [NEVER_WRITTEN])
        self._notes: dict[Row, deque[str]] = defaultdict(lambda: deque(maxlen=NOTES_SHOWN_MAX))

    def now(self) -> int:
        """Return a moment later than all that were returned or recorded."""
        self._moment += 1
        return self._moment

    def rows(self, namespace: Namespace) -> list[Row]:
        """Return every row of ``namespace`` that upstream ever held."""
        return [row for row in self._effects if row.namespace == namespace]

    def apply(
        self, row: Row, operation: int, attributes: Attributes | None, *, is_whole: bool
    ) -> None:
        """Record that upstream applied a write to ``row`` just now."""
        self._effects[row].append(
            Effect(
                operation=operation,
                attributes=attributes,
                is_whole=is_whole,
                is_repeated=operation in self._acknowledged,
            )
        )
        shown = "delete" if attributes is None else f"{'put' if is_whole else 'patch'} {attributes}"
        self.note(row, f"upstream applies {operation}: {shown}")

    def acknowledge(self, operation: int) -> None:
        """Record that the caller of ``operation`` was just told that it happened."""
        self._acknowledged[operation] = self.now()

    def note(self, row: Row, text: str) -> None:
        """Remember a line for :meth:`slice`."""
        self._notes[row].append(f"{self.now():>7}  {text}")

    def slice(self, row: Row) -> str:
        """Show what happened to ``row`` lately, oldest first."""
        return "\n".join(self._notes[row])

    def is_explained(
        self, row: Row, seen: Attributes | None, names: Collection[str], *, began: int
    ) -> bool:
        """Tell whether a fetch that began at ``began`` may return ``seen``.

        Args:
            seen: The attributes returned; None when the row was said not to exist.
            names: The attributes asked for; others say nothing.
        """
        return any(
            _projected(state, names) == seen for state in self._possible(row, seen, began=began)
        )

    def _binds(self, effect: Effect, began: int) -> bool:
        acknowledged = self._acknowledged.get(effect.operation, math.inf)
        return acknowledged <= began and not effect.is_repeated

    def _possible(
        self, row: Row, seen: Attributes | None, *, began: int
    ) -> Iterator[Attributes | None]:
        effects = self._effects[row]
        visible = frozenset((seen or {}).values())
        included = [self._binds(effect, began) for effect in effects]
        newest_binding = max(
            (at for at, effect in enumerate(effects) if effect.is_whole and included[at]), default=0
        )
        for at in range(newest_binding, len(effects)):
            if effects[at].is_whole:
                # A patch that does not show can be left out: what it set is set again later.
                patches = [
                    effect
                    for effect, is_binding in zip(effects[at:], included[at:], strict=True)
                    if not effect.is_whole and (is_binding or effect.operation in visible)
                ]
                yield _patched(effects[at].attributes, patches)


def _patched(attributes: Attributes | None, patches: Sequence[Effect]) -> Attributes | None:
    if attributes is None:
        return None  # a patch does not make a row
    state = dict(attributes)
    for patch in patches:
        state.update(patch.attributes or {})
    return state


def _projected(state: Attributes | None, names: Collection[str]) -> Attributes | None:
    return None if state is None else {name: state[name] for name in names if name in state}
