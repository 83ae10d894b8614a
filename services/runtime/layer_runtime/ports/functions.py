"""Where functions are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from layer_runtime.domain.functions import FunctionId, FunctionSpec


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
    pause_reason: str = ""
    fires_at_ms: int | None = None
    """When its schedule fires next; None without one."""
    fired_at_ms: int | None = None
    firing_count: int = 0
    is_window_open: bool = False
    """Whether what a firing has to find, or has found, is still to be done."""
    candidate_of: int | None = None
    outputs: Sequence[str] = ()


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

    async def upsert(
        self,
        function_id: FunctionId,
        spec: FunctionSpec,
        *,
        candidate_of: int | None = None,
        outputs: Sequence[str] = (),
    ) -> Function:
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

    async def set_paused(
        self, function_id: FunctionId, *, is_paused: bool, reason: str = ""
    ) -> Function:
        """Stop a function, for a reason, or let it go on."""
        ...

    async def due_sweeps(self, limit: int) -> Sequence[Function]:
        """Return functions whose sweep is due, those that wait longest first."""
        ...

    async def swept(
        self, number: int, namespaces: Sequence[str], interval_s: float, *, firing_count: int
    ) -> None:
        """Note a sweep that came to its end; the next is due after the interval.

        Args:
            firing_count: Firings that there had been when it began: it was theirs as well.
        """
        ...

    async def sweep_failed(self, number: int, pause_s: float) -> None:
        """Note a sweep that failed; the next is due after a pause."""
        ...

    async def fire(self, limit: int) -> int:
        """Count the firings that are due by the database's time, each once among all replicas.

        What was missed is one firing. Those of a paused function come when it goes on.
        """
        ...

    async def settle_firings(self) -> None:
        """Close the windows of firings that were swept for and whose work is done."""
        ...

    async def take_duty(self, number: int, duty: str, holder: str, seconds: float) -> bool:
        """Take or renew what one replica at a time does; False while another has it."""
        ...

    async def give_up_duty(self, number: int, duty: str, holder: str) -> None:
        """Let another replica have a duty."""
        ...
