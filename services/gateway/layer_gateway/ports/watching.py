"""What gateways learn from each other, and what those who watch them are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from layer_gateway.ports.stores import StoreAnswer
from layer_kit.names import Namespace
from layer_wire.metadata import IndexStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What one poll has shown, for gateways that share what they learn."""

    namespace: Namespace
    status: IndexStatus
    watermark_ms: int | None
    polled_at_ms: int
    is_deleted: bool = False
    """Whether the namespace was deleted then, so that nothing older is true of it."""


class SharedMarks(Protocol):
    """What gateways that share what they learn see of each other, at once."""

    def read(self, namespace: Namespace) -> Mark | None: ...
    def publish(self, mark: Mark) -> None: ...
    def forget(self, namespace: Namespace, at_ms: int) -> None:
        """Remember that a namespace was deleted, unless it was polled since."""


class SharedFlights(Protocol):
    """What gateways that share what they learn see of the writes that are on their way."""

    def begun(self, namespace: Namespace, stamp_ms: int) -> None:
        """Tell that no write of this gateway to ``namespace`` has an earlier stamp."""

    def ended(self, namespace: Namespace) -> None:
        """Tell that this gateway has no write to ``namespace`` on its way any more."""

    def earliest(self, namespace: Namespace) -> int | None:
        """Return a stamp before which none is on its way; None where there is none at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenScan:
    """One scan, as it ended."""

    namespace: Namespace
    mode: str
    selector: str
    """``filter``, ``fts``, ``ann`` or ``hybrid_text``."""
    served_by: str
    """Empty where it did not come to that."""
    status: str
    """As of a search."""
    seconds: float
    rows_count: int


class SearchObserver(Protocol):
    """Is told of searches, for whoever watches the gateway."""

    def searched(self, namespace: str, status: str, tokens_count: int | None) -> None:
        """Take note of a search by hybrid text.

        Args:
            status: ``ok``, ``tpuf_error``, ``timeout`` or ``layer_error``.
            tokens_count: Words looked for one by one; None where it did not come to that.
        """
        ...

    def routed(self, namespace: str, route: str, *, is_executed: bool) -> None:
        """Take note of a search that left its route to layer."""
        ...

    def asked_together(
        self, namespace: str, status: str, legs_count: int, requests_count: int | None
    ) -> None:
        """Take note of a multi-query.

        Args:
            status: As of a search.
            requests_count: Requests to the store; None where it did not come to an answer.
        """
        ...


class ScanObserver(Protocol):
    """Is told of scans, for whoever watches the gateway."""

    def scanned(self, seen: SeenScan) -> None:
        """Take note of a scan that has ended."""
        ...


class MetricsSource(Protocol):
    """Where metrics are kept; answers of any status are answers, errors are as for ``Store``."""

    async def query(self, path: str, parameters: str) -> StoreAnswer:
        """Ask a query, with its parameters as a form."""
        ...

    async def write(self, body: bytes) -> StoreAnswer:
        """Hand over samples in Prometheus' text format."""
        ...
