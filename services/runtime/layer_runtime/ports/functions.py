"""What functions need: where they are kept, their queue, and the rows they are about."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from layer_runtime.domain.functions import FunctionId, FunctionSpec
from layer_runtime.domain.items import (
    Claimed,
    FailedItem,
    Given,
    Held,
    ItemKey,
    Reference,
    Row,
    Scalar,
    Value,
    Verdict,
)
from layer_runtime.domain.markers import Condition


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A registered function."""

    number: int
    """Its place in the database, never given to another."""
    id: FunctionId
    spec: FunctionSpec
    is_paused: bool
    created_at_ms: int
    updated_at_ms: int
    sweep_count: int
    sweep_failures: int
    swept_at_ms: int | None
    active_namespaces: Sequence[str]
    candidate_of: int | None = None
    outputs: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFigures:
    """How many items are in which state."""

    pending_count: int = 0
    processing_count: int = 0
    failed_count: int = 0
    completed_count: int = 0
    """Of the window that was asked for."""


class FunctionStore(Protocol):
    """Where functions are kept. Every method raises ``UnavailableError`` (``DATABASE_DOWN``)."""

    async def create(
        self,
        function_id: FunctionId,
        spec: FunctionSpec,
        *,
        is_paused: bool,
        candidate_of: int | None = None,
        outputs: Sequence[str] = (),
    ) -> Function:
        """Add a function.

        Raises:
            AlreadyExistsError: ``FUNCTION_EXISTS`` or ``MARKER_TAKEN``.
        """
        ...

    async def upsert(self, function_id: FunctionId, spec: FunctionSpec) -> Function:
        """Replace a specification or add a function; failed items of another version wait again.

        Raises:
            AlreadyExistsError: ``MARKER_TAKEN``.
        """
        ...

    async def get(self, function_id: FunctionId) -> Function:
        """Return a function.

        Raises:
            NotFoundError: ``FUNCTION_NOT_FOUND``.
        """
        ...

    async def page(self, after: str, limit: int) -> Sequence[Function]:
        """Return functions by id, without candidates."""
        ...

    async def all(self) -> Sequence[Function]:
        """Return all functions, candidates among them."""
        ...

    async def delete(self, function_id: FunctionId) -> None:
        """Remove a function, its candidate and their items.

        Raises:
            NotFoundError: ``FUNCTION_NOT_FOUND``.
        """
        ...

    async def set_paused(self, function_id: FunctionId, *, is_paused: bool) -> Function:
        """Stop a function or let it go on."""
        ...

    async def due_sweeps(self, limit: int) -> Sequence[Function]:
        """Return functions whose sweep is due, those that wait longest first."""
        ...

    async def swept(self, number: int, namespaces: Sequence[str], interval_s: float) -> None:
        """Note a sweep that came to its end; the next is due after the interval."""
        ...

    async def sweep_failed(self, number: int, pause_s: float) -> None:
        """Note a sweep that failed; the next is due after a pause."""
        ...

    async def take_duty(self, number: int, duty: str, holder: str, seconds: float) -> bool:
        """Take or renew what one replica at a time does; False while another has it."""
        ...

    async def give_up_duty(self, number: int, duty: str, holder: str) -> None:
        """Let another replica have a duty."""
        ...


class ItemQueue(Protocol):
    """The items of functions. Every method raises ``UnavailableError`` (``DATABASE_DOWN``).

    Time is the database's alone. No two workers hold an item at a time.
    """

    async def enqueue(self, number: int, namespace: str, ids: Sequence[str]) -> int:
        """Add the items that are not there; return how many those are."""
        ...

    async def force(self, number: int, namespace: str, ids: Sequence[str]) -> int:
        """Add items that are due whatever their markers say; return how many are new.

        Those that failed wait again, those at work will once more when they are done.
        """
        ...

    async def claim(
        self, number: int, worker: str, *, limit: int, lease_s: int, attempt_count_max: int
    ) -> Sequence[Claimed]:
        """Hand items to a worker, oldest first, after ending the leases that ran out."""
        ...

    async def remember(self, number: int, lease: int, version: str, given: Sequence[Given]) -> None:
        """Keep what was given out of items."""
        ...

    async def drop(self, number: int, items: Sequence[Claimed]) -> None:
        """Remove items that need no work; one that a write has made due meanwhile waits again."""
        ...

    async def release(self, number: int, lease: int) -> None:
        """Give back all that a claim holds, as if it had never been."""
        ...

    async def held(
        self, number: int, worker: str, items: Sequence[Reference], *, lease_s_min: int
    ) -> Sequence[Held]:
        """Return those items that the worker holds, and let it hold them for that long."""
        ...

    async def heartbeat(self, number: int, worker: str, items: Sequence[Reference]) -> int:
        """Renew leases; return how many the worker still holds."""
        ...

    async def finish(self, number: int, items: Sequence[Held]) -> int:
        """Take completed items off the queue; return how many were still held."""
        ...

    async def requeue(self, number: int, items: Sequence[Held]) -> None:
        """Let items wait again whose rows changed while they were processed."""
        ...

    async def judge(self, number: int, verdicts: Sequence[Verdict]) -> int:
        """Let failed items wait or give them up; return how many were still held."""
        ...

    async def reset_failed(self, number: int) -> int:
        """Let all items wait that were given up."""
        ...

    async def failed(
        self, number: int, *, after: ItemKey | None, limit: int
    ) -> Sequence[FailedItem]:
        """Return items that were given up, by namespace and id."""
        ...

    async def figures(self, number: int, *, window_s: int) -> QueueFigures:
        """Count items, in a time that does not depend on how many wait."""
        ...

    async def all_figures(self, *, window_s: int) -> Mapping[int, QueueFigures]:
        """Count the items of every function that has any."""
        ...

    async def fold(self, *, older_than_s: int) -> None:
        """Sum up what was noted, and remove what no rate needs any more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RowWrite:
    """Some attributes of a row, or all of them."""

    id: str
    attributes: Mapping[str, Value] = field(default_factory=dict)
    marks: Mapping[str, Scalar] = field(default_factory=dict)
    """What layer itself keeps in the row."""


class Rows(Protocol):
    """Rows of namespaces, as the gateway has them.

    Every method raises ``UnavailableError`` (``GATEWAY_DOWN``) when it is away or full,
    ``NotFoundError`` (``NAMESPACE_NOT_FOUND``), and what the gateway refuses as it refused it.
    """

    async def types(self, namespace: str) -> Mapping[str, str]:
        """Return the type of each attribute of a namespace, that of ``id`` among them."""
        ...

    async def labelled(self, labels: Mapping[str, str]) -> Sequence[str]:
        """Return the namespaces whose index has all these labels."""
        ...

    async def lookup(
        self,
        namespace: str,
        ids: Sequence[str],
        *,
        names: Sequence[str] | None,
        scalars: Sequence[str],
    ) -> Mapping[str, Row]:
        """Return the rows that exist, by id.

        Args:
            names: Attributes wanted; None means all, vectors included.
            scalars: Further attributes, to be looked into.
        """
        ...

    def stream(
        self,
        namespace: str,
        *,
        own_filter: bytes,
        condition: Condition | None,
        names: Sequence[str] = (),
        after: str | None = None,
        page_size: int,
    ) -> AsyncGenerator[Sequence[Row]]:
        """Yield pages of rows by id, those that match both filters; without names only ids."""
        ...

    async def write(
        self,
        namespace: str,
        *,
        patches: Sequence[RowWrite] = (),
        upserts: Sequence[RowWrite] = (),
        condition: Condition | None,
        schema: Mapping[str, str],
    ) -> set[str]:
        """Write what functions made, rows that fulfil the condition alone; return their ids."""
        ...

    async def erase(self, namespace: str, names: Sequence[str], where: Condition) -> None:
        """Remove attributes from the rows that match."""
        ...
