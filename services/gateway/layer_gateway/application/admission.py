"""The door: who it is, whether we still take requests, whether there is room — in this order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from layer_gateway.application.inbound import Identity, InboundAuth
from layer_gateway.application.limits import Limits, Pass
from layer_gateway.domain.access import Scope
from layer_kit.errors import DrainingError

DRAINING_RETRY_S: Final = 1.0
"""By then a load balancer has another replica for the caller."""


class Admission:
    """Lets requests in, over either transport."""

    def __init__(self, auth: InboundAuth, limits: Limits, is_draining: Callable[[], bool]) -> None:
        self._auth = auth
        self._limits = limits
        self._is_draining = is_draining

    async def enter(self, authorization: str | None, scope: Scope) -> Pass:
        """Let a request in; the pass is given back when it is answered.

        Raises:
            UnauthenticatedError: ``BEARER_MISSING``.
            KeyRefusedError: ``KEY_INVALID`` or ``SCOPE_MISSING``.
            DrainingError: ``GATEWAY_DRAINING``.
            QuotaExceededError: ``KEY_RATE`` or ``KEY_INFLIGHT``.
            UnavailableError: ``GATEWAY_FULL``.
        """
        return self._let_in(await self._auth.identify(authorization, scope))

    def enter_known(self, authorization: str | None, scope: Scope) -> Pass | None:
        """Do the same without waiting; None for a caller whom only :meth:`enter` may know."""
        identity = self._auth.identify_known(authorization, scope)
        return None if identity is None else self._let_in(identity)

    def _let_in(self, identity: Identity) -> Pass:
        if self._is_draining():
            raise DrainingError(
                "GATEWAY_DRAINING",
                "This gateway is about to stop; send the request again.",
                retry_after_s=DRAINING_RETRY_S,
            )
        return self._limits.enter(identity.digest)
