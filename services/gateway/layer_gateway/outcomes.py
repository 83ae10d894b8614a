"""How a request ends, once it was let in, in the words of the metrics."""

from __future__ import annotations

from typing import Final

from layer_gateway.upstream_time import UpstreamTime, upstream_time
from layer_kit.errors import CacheColdError, DeadlineError, LayerError, UpstreamError

OK: Final = "ok"
STORE_ERROR: Final = "tpuf_error"
TIMEOUT: Final = "timeout"
LAYER_ERROR: Final = "layer_error"

STORE_REFUSALS: Final = frozenset({"UPSTREAM_REFUSED", "UPSTREAM_BUSY", "NAMESPACE_NOT_FOUND"})
"""Reasons by which the store's own answers are told to those who do not get them as they are."""


class Outcome(UpstreamTime):
    """The end of the request at hand; of one that is not let in there is none to count."""

    __slots__ = ("is_cold", "reason", "status")

    def __init__(self) -> None:
        # Those of the time upstream; a call to its constructor is felt at every request.
        self.seconds = 0.0
        self._waiting_count = 0
        self._since_s = 0.0
        self.status: str | None = None
        """``ok``, ``tpuf_error``, ``timeout`` or ``layer_error``; None unless it was let in."""
        self.is_cold = False
        """Whether only the cache could have served it, and did not."""
        self.reason: str | None = None
        """Of the error that it ended with."""
        upstream_time.set(self)

    def admitted(self) -> None:
        self.status = LAYER_ERROR

    def answered(self, *, is_ok: bool) -> None:
        self.status = OK if is_ok else STORE_ERROR

    def failed(self, error: LayerError) -> None:
        self.reason = error.reason
        self.is_cold = isinstance(error, CacheColdError)
        if self.status is not None and isinstance(error, DeadlineError):
            self.status = TIMEOUT
        elif self.status is not None and (
            isinstance(error, UpstreamError) or error.reason in STORE_REFUSALS
        ):
            self.status = STORE_ERROR
