"""What errands stand on: exchanges with whoever is asked, and who keeps account of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from aiohttp import web

from layer_gateway.application.inbound import Identity
from layer_gateway.application.limits import Pass
from layer_gateway.http.answers import ErrandAnswer, WholeAnswer
from layer_gateway.http.counting import Tally
from layer_gateway.http.edge_request import EdgeRequest
from layer_gateway.http.routes import Route

Answer = TypeVar("Answer")
Told_contra = TypeVar("Told_contra", contravariant=True)


class Receiver(Protocol[Told_contra]):
    """Who is told how an exchange ended; as that of the store is."""

    def answered(self, answer: Told_contra, /) -> None:
        """Take the answer. Raises nothing."""
        ...

    def failed(self, error: Exception, /) -> None:
        """Take the error that there is instead. Raises nothing."""
        ...


class Exchange(Protocol[Answer]):
    """What a request asks of the store, or of the cache, and what it makes of the answer."""

    def begin(self, receiver: Receiver[Answer]) -> None:
        """Ask it; ``receiver`` is told of the end, in a later turn."""
        ...

    def prepare(self, identifier: str) -> None:
        """Do what can be done for the answer beforehand, while the store is at work.

        Args:
            identifier: The request's id, which the answer tells.
        """
        ...

    def conclude(self, answer: Answer) -> ErrandAnswer | None:
        """Return the answer to the request; None where it takes more than this exchange.

        Raises:
            LayerError: What the request is refused with.
        """
        ...

    def go_on(self, answer: Answer) -> Coroutine[Any, Any, web.StreamResponse]:
        """Serve the request from here, where :meth:`conclude` could not; errors as there."""
        ...

    def settle(self) -> None:
        """Do what the caller need not wait for, once what :meth:`conclude` returned is sent."""
        ...

    @property
    def body_opening(self) -> bytes | None:
        """How bodies begin for which it may, once settled, be right as well; None for none."""
        ...

    def takes(self, data: bytes, start: int) -> bool:
        """Take another request with the same head, if this exchange seems right for it, too.

        Args:
            data: Ends with the request's body, which begins, at ``start``, with ``body_opening``.
        """
        ...

    @property
    def is_right(self) -> bool:
        """Whether it is right for what it has taken; asked when the store is at work already."""
        ...


QuickHandler = Callable[[EdgeRequest, Route], Exchange[Any] | None]
"""Returns the exchange that serves a request; None where one cannot be enough. It changes nothing,
and an error that it raises is met again by the handler proper, which serves the request then."""


class Accounts(Protocol):
    """Who lets in, renders what goes wrong, and counts what was served."""

    def let_in(self, identity: Identity, /) -> Pass:
        """Let in a caller who was recognised.

        Raises:
            LayerError: What the request is refused with.
        """
        ...

    def handled(self, request: EdgeRequest, route: Route) -> Awaitable[web.StreamResponse]:
        """Return what the handler proper answers to a request that was let in; errors as there."""
        ...

    def refusal(self, error: Exception, route: Route | None, identifier: str) -> WholeAnswer:
        """Return the answer to a request that failed; logs what nobody expected."""
        ...

    def answered(
        self,
        request: EdgeRequest,
        response: ErrandAnswer,
        identifier: str,
        *,
        seconds: float,
        upstream_s: float,
    ) -> None:
        """Count a request that one exchange has served, of ``upstream_s``."""
        ...

    def served(self, request: EdgeRequest, response: web.StreamResponse, tally: Tally) -> None:
        """Count a request that was answered in any other way."""
        ...
