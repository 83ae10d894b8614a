"""Readiness by component: a process is ready when every component says so.

Shutdown is itself a component. A process that was told to stop turns unready first, so that
load balancers look elsewhere while running calls finish. Liveness is not here on purpose: it
depends on nothing but the process answering at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

DRAINING = "draining"


class Health:
    """The set of named conditions under which this process should get traffic."""

    def __init__(self) -> None:
        self._faults: dict[str, str | None] = {}
        self._listeners: list[Callable[[], None]] = []
        self.is_draining = False

    def require(self, component: str) -> None:
        """Declare ``component`` as needed and not ready yet."""
        self._set(component, "starting")

    def ready(self, component: str) -> None:
        """Mark ``component`` as fit for traffic."""
        self._set(component, None)

    def unready(self, component: str, why: str) -> None:
        """Mark ``component`` as unfit; ``why`` is shown on ``/readyz``."""
        self._set(component, why)

    def drain(self) -> None:
        """Turn unready for good, because the process is about to stop."""
        self.is_draining = True
        self._set(DRAINING, "shutting down")

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever the overall state has changed."""
        self._listeners.append(listener)

    @property
    def is_ready(self) -> bool:
        return not any(self._faults.values())

    @property
    def components(self) -> Mapping[str, str]:
        """Return each component with ``ok`` or what is wrong with it."""
        return {name: fault or "ok" for name, fault in self._faults.items()}

    def _set(self, component: str, fault: str | None) -> None:
        before = self.is_ready
        self._faults[component] = fault
        if self.is_ready != before:
            for listener in self._listeners:
                listener()
