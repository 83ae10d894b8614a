"""What the use cases need of the history service."""

from __future__ import annotations

from typing import Protocol

from layer_gateway.domain.history import Clicked, HistoryPage, HistoryPolicy, HistoryWanted, Queried
from layer_kit.names import Namespace


class HistoryRecorder(Protocol):
    """Takes events on their way to the history service."""

    @property
    def is_recording(self) -> bool:
        """Tell whether events go anywhere, so that they are worth putting together."""
        ...

    def record(self, event: Queried | Clicked) -> None:
        """Take an event, or drop it when too many wait. Neither waits nor raises."""
        ...


class HistoryArchive(Protocol):
    """What the history service remembers.

    Every method raises ``UnavailableError`` (``HISTORY_OFF``) where there is no such service, and
    ``UpstreamError`` when it, or its object store, fails.
    """

    async def queries(self, namespace: Namespace, wanted: HistoryWanted) -> HistoryPage:
        """Return searches."""
        ...

    async def clicks(self, namespace: Namespace, wanted: HistoryWanted) -> HistoryPage:
        """Return opened results."""
        ...

    async def session(self, namespace: Namespace, trace_id: str) -> dict[str, object]:
        """Return the searches and the opened results of a trace, oldest first.

        Raises:
            NotFoundError: ``TRACE_NOT_FOUND``.
        """
        ...

    async def policy(self, namespace: Namespace) -> dict[str, object]:
        """Return the policy of a namespace."""
        ...

    async def set_policy(self, namespace: Namespace, policy: HistoryPolicy) -> dict[str, object]:
        """Set the policy of a namespace.

        Raises:
            InvalidRequestError: ``POLICY_INVALID``.
            PreconditionError: ``HASH_KEY_MISSING``.
        """
        ...

    async def purge(self, namespace: Namespace) -> int:
        """Delete the history of a namespace; return how many objects went."""
        ...
