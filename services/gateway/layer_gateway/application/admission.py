"""The door: who it is, whether we still take requests, whether there is room — in this order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from layer_gateway.application.inbound import Identity, InboundAuth
from layer_gateway.application.limits import Limits, Pass
from layer_gateway.domain.access import Scope, is_within
from layer_kit.errors import DrainingError, ForbiddenError

DRAINING_RETRY_S: Final = 1.0
"""By then a load balancer has another replica for the caller."""


class Admission:
    """Lets requests in, over either transport."""

    def __init__(self, auth: InboundAuth, limits: Limits, is_draining: Callable[[], bool]) -> None:
        self._auth = auth
        self._limits = limits
        self._is_draining = is_draining
        self.recognise = auth.identify_known
        """Returns who a caller is whom :meth:`enter_known` knows; changes nothing."""

    async def enter(
        self,
        authorization: str | None,
        scope: Scope,
        namespace: str | None = None,
        *,
        is_about_many: bool = False,
    ) -> tuple[Pass, Sequence[str]]:
        """Let a request in; the pass is given back when it is answered.

        Args:
            namespace: The one that it is about.
            is_about_many: Whether it is about as many as the caller may name.

        Returns:
            The pass, and patterns of the only namespaces that the caller may name; none is all.

        Raises:
            UnauthenticatedError: ``BEARER_MISSING``.
            KeyRefusedError: ``KEY_INVALID`` or ``SCOPE_MISSING``.
            ForbiddenError: ``NAMESPACE_FORBIDDEN``.
            DrainingError: ``GATEWAY_DRAINING``.
            QuotaExceededError: ``KEY_RATE`` or ``KEY_INFLIGHT``.
            UnavailableError: ``GATEWAY_FULL``.
        """
        identity = await self._auth.identify(authorization, scope)
        patterns = identity.grant.namespaces
        if patterns and not is_about_many:
            check_reach(patterns, namespace)
        return self.let_in(identity), patterns

    def enter_known(self, authorization: str | None, scope: Scope) -> Pass | None:
        """Do the same without waiting; None for a caller whom only :meth:`enter` may know.

        Those who are known here may name every namespace.
        """
        identity = self.recognise(authorization, scope)
        return None if identity is None else self.let_in(identity)

    def let_in(self, identity: Identity) -> Pass:
        """Let in a caller who was recognised; errors as for :meth:`enter`."""
        if self._is_draining():
            raise DrainingError(
                "GATEWAY_DRAINING",
                "This gateway is about to stop; send the request again.",
                retry_after_s=DRAINING_RETRY_S,
            )
        return self._limits.enter(identity.digest)


def check_reach(patterns: Sequence[str], namespace: str | None) -> None:
    """Refuse what a key of some namespaces is not for; a request about none is not for it.

    Raises:
        ForbiddenError: ``NAMESPACE_FORBIDDEN``.
    """
    if namespace is None:
        raise ForbiddenError("NAMESPACE_FORBIDDEN", "This key is for some namespaces alone.")
    if not is_within(patterns, namespace):
        raise ForbiddenError(
            "NAMESPACE_FORBIDDEN",
            f"This key is not for the namespace {namespace}.",
            namespace=namespace,
        )
