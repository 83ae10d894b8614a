"""A circuit breaker: a cluster that is away costs the first call its timeout, not every call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

import structlog

from layer_kit.clock import Monotonic
from layer_kit.errors import UnavailableError

log = structlog.get_logger(__name__)

OPEN_S: Final = 2.0

Status = Literal["ok", "aerospike_error", "aerospike_stop_writes", "timeout"]
"""How a call went, in the words of the metrics."""


class NotSentError(UnavailableError):
    """A call that never left this process."""


class Attempt:
    """One call that was let through."""

    __slots__ = ("failure", "status")

    def __init__(self) -> None:
        self.failure = ""
        self.status: Status = "ok"

    def fail(self, reason: str) -> None:
        """Say that the cluster is out of reach, though the call may go on."""
        self.failure = reason
        self.status = "aerospike_error"


class Breaker:
    """Opens after one failure, for two seconds; then a single call probes.

    It starts open and ready to be probed: what was never reached is not connected.
    """

    def __init__(self, clock: Monotonic) -> None:
        self._clock = clock
        self._open_until_s = -float("inf")
        self._is_probing = False
        self.is_closed = False
        self.last_error = ""
        self.generation = 0
        """How often a connection came about, the first included."""

    @contextmanager
    def attempt(self) -> Iterator[Attempt]:
        """Let one call through.

        Raises:
            NotSentError: ``STORE_DOWN``, at once, while the breaker is open.
        """
        is_probe = not self.is_closed
        if is_probe and (self._is_probing or self._clock() < self._open_until_s):
            raise NotSentError("STORE_DOWN", "The cache's Aerospike cluster is out of reach.")
        self._is_probing = self._is_probing or is_probe
        attempt = Attempt()
        try:
            yield attempt
            if is_probe and not attempt.failure:
                self._close()
        finally:
            if is_probe:
                self._is_probing = False
            if attempt.failure:
                self._open(attempt.failure)

    def _open(self, reason: str) -> None:
        self._open_until_s = self._clock() + OPEN_S
        self.last_error = reason
        if self.is_closed:
            self.is_closed = False
            log.warning("aerospike_disconnected", error=reason)

    def _close(self) -> None:
        self.is_closed = True
        self.last_error = ""
        self.generation += 1
        log.info("aerospike_connected", generation=self.generation)
