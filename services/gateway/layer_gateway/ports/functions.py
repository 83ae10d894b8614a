"""What the doors need of the runtime service for functions, in the words of the contract."""

from __future__ import annotations

from typing import Protocol

from layer_wire import functions as wire

Answer = dict[str, object]
"""The body of an answer."""


class Functions(Protocol):
    """Functions and their queues.

    Every method raises ``NotFoundError`` (``FUNCTIONS_OFF``) where there is no runtime service or
    it has no database, and ``UnavailableError`` when either is away; those that name a function
    raise ``NotFoundError`` (``FUNCTION_NOT_FOUND``).
    """

    async def create(self, body: wire.CreateUdf) -> Answer:
        """Register a function.

        Raises:
            AlreadyExistsError: ``FUNCTION_EXISTS``.
            InvalidRequestError: ``SPEC_INVALID`` or ``FUNCTION_ID_INVALID``.
        """
        ...

    async def put(self, function_id: str, spec: wire.UdfSpec) -> Answer:
        """Replace what a function does, or register it; errors as for :meth:`create`."""
        ...

    async def list(self) -> Answer:
        """Return all functions by id."""
        ...

    async def get(self, function_id: str) -> Answer:
        """Return a function with its status."""
        ...

    async def status(self, function_id: str) -> Answer:
        """Return how much work a function has."""
        ...

    async def delete(self, function_id: str) -> None:
        """Delete a function with its queue."""
        ...

    async def pause(self, function_id: str, reason: str) -> Answer:
        """Stop a function; without a reason it was just asked for."""
        ...

    async def resume(self, function_id: str) -> Answer:
        """Let a function go on."""
        ...

    async def reset_failed(self, function_id: str) -> Answer:
        """Make failed items pending again."""
        ...

    async def failed_items(self, function_id: str, *, limit: int, page_token: str) -> Answer:
        """Return the items that were given up, with why."""
        ...

    async def discover(self, function_id: str, body: wire.Discover) -> Answer:
        """Look for due rows and enqueue them."""
        ...

    async def claim(self, function_id: str, body: wire.Claim) -> Answer:
        """Claim items with their inputs."""
        ...

    async def heartbeat(self, function_id: str, body: wire.Heartbeat) -> Answer:
        """Renew leases."""
        ...

    async def complete(self, function_id: str, body: wire.Complete) -> Answer:
        """Write results and take their items off the queue."""
        ...

    async def look_up(self, function_id: str, body: wire.Lookup) -> Answer:
        """Tell where items are."""
        ...

    async def fail(self, function_id: str, body: wire.Fail) -> Answer:
        """Report failures."""
        ...

    async def create_candidate(self, function_id: str, body: wire.CreateCandidate) -> Answer:
        """Register a candidate."""
        ...

    async def candidate(self, function_id: str) -> Answer:
        """Return the candidate of a function."""
        ...

    async def delete_candidate(self, function_id: str) -> None:
        """Discard the candidate of a function with its outputs."""
        ...

    async def compare_candidate(self, function_id: str, wanted: wire.Compare) -> Answer:
        """Compare the outputs of a candidate with those of its function."""
        ...

    async def promote_candidate(self, function_id: str, body: wire.PromoteCandidate) -> Answer:
        """Make a candidate's outputs and version those of its function.

        Raises:
            ConflictError: ``CANDIDATE_UNFINISHED``.
        """
        ...
