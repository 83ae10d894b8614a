"""The client: one request in, one answer or one typed error out."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from layer_kit.clock import Monotonic
from layer_kit.errors import UpstreamError
from layer_upstream.connection import Connection
from layer_upstream.headers import Header
from layer_upstream.limits import UpstreamLimits
from layer_upstream.origin import parse_origin
from layer_upstream.pool import ConnectionPool
from layer_upstream.request import OutgoingRequest, Piece, RequestHead
from layer_upstream.response import UpstreamResponse

IDEMPOTENT_METHODS: Final = frozenset({b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"TRACE"})


class UpstreamClient:
    """Sends requests to one origin over kept-alive HTTP/1.1 connections.

    Args:
        origin: ``http://host[:port][/prefix]``, ``https://…`` or ``unix:/path``.
        ssl_context: For https; None for the system's certificates.
        registry: Where the client's metrics go; it may be given to one client only.
    """

    def __init__(
        self,
        origin: str,
        limits: UpstreamLimits,
        *,
        ssl_context: ssl.SSLContext | None = None,
        monotonic: Monotonic = time.monotonic,
        registry: CollectorRegistry | None = None,
    ) -> None:
        parsed = parse_origin(origin)
        if parsed.is_tls and ssl_context is None:
            ssl_context = ssl.create_default_context()
        self._limits = limits
        self._monotonic = monotonic
        self._head = RequestHead(parsed.authority, parsed.path_prefix)
        self._pool = ConnectionPool(
            parsed, limits, ssl_context if parsed.is_tls else None, monotonic
        )
        self._inflight_count = 0
        self._replays: Counter | None = None
        if registry is not None:
            self._register_metrics(registry)

    async def request(
        self,
        method: bytes,
        target: bytes,
        headers: Sequence[Header],
        body: bytes | Sequence[Piece] = b"",
        *,
        stream: bool = False,
        idempotent: bool | None = None,
        timeout_s: float | None = None,
    ) -> UpstreamResponse:
        """Send one request and return its answer, whatever its status.

        Args:
            target: Path and query as they go on the wire, after the origin's path prefix.
            headers: Sent in this order, names in lower case, without those that end at this hop
                or that ``connection`` names; ``host`` and ``content-length`` are ours.
            body: Pieces are sent one after another without being joined.
            stream: Hand over an answer larger than ``buffer_bytes_max``, or one of unknown length
                that takes longer than a tick, before it is complete. The caller must then read
                it to the end or call its ``aclose``.
            idempotent: Whether it may be sent again when a kept-alive connection turns out to be
                gone; None to go by the method.
            timeout_s: Replaces ``total_timeout_s``.

        Raises:
            UpstreamError: ``UPSTREAM_UNREACHABLE``, ``UPSTREAM_CLOSED``,
                ``UPSTREAM_PROTOCOL_ERROR``, ``UPSTREAM_RESPONSE_TOO_LARGE``.
            DeadlineError: ``UPSTREAM_TIMEOUT``.
            UnavailableError: ``UPSTREAM_POOL_FULL``, ``UPSTREAM_CLIENT_CLOSED``.
            InvalidRequestError: ``UPSTREAM_REQUEST_INVALID``.
        """
        if isinstance(body, bytes):
            pieces: Sequence[Piece] = (body,) if body else ()
            body_bytes = len(body)
        else:
            pieces, body_bytes = body, sum(map(len, body))
        now_s = self._monotonic()
        deadline_s = now_s + (self._limits.total_timeout_s if timeout_s is None else timeout_s)
        head = self._head.encode(method, target, headers, body_bytes)
        request = OutgoingRequest(head, pieces, method == b"HEAD", stream, deadline_s)
        self._inflight_count += 1
        try:
            connection = self._pool.take_idle()
            if connection is None:
                connection = await self._pool.acquire(deadline_s)
                now_s = self._monotonic()
            is_reused = connection.requests_count > 0
            answer = connection.send(request, now_s)
            try:
                return await answer
            except asyncio.CancelledError:
                await _give_up(connection, answer)
                raise
            except UpstreamError:
                if idempotent is None:
                    idempotent = method in IDEMPOTENT_METHODS
                if not (idempotent and is_reused and connection.was_unanswered):
                    raise
            return await self._replay(request)
        finally:
            self._inflight_count -= 1

    async def aclose(self) -> None:
        """Close every connection; requests in flight fail. Idempotent."""
        self._pool.close()

    async def _replay(self, request: OutgoingRequest) -> UpstreamResponse:
        if self._replays is not None:
            self._replays.inc()
        connection = await self._pool.acquire(request.deadline_s, is_fresh=True)
        answer = connection.send(request, self._monotonic())
        try:
            return await answer
        except asyncio.CancelledError:
            await _give_up(connection, answer)
            raise

    def _register_metrics(self, registry: CollectorRegistry) -> None:
        Gauge(
            "layer_tpuf_inflight",
            "Requests to the upstream that have not been answered, waiting ones included.",
            registry=registry,
        ).set_function(lambda: self._inflight_count)
        connections = Gauge(
            "layer_upstream_connections",
            "Connections to the upstream.",
            ["state"],
            registry=registry,
        )
        pool = self._pool
        connections.labels(state="idle").set_function(lambda: pool.idle_count)
        connections.labels(state="busy").set_function(lambda: pool.open_count - pool.idle_count)
        self._replays = Counter(
            "layer_upstream_replays_total",
            "Requests sent again because a kept-alive connection turned out to be gone.",
            registry=registry,
        )


async def _give_up(connection: Connection, answer: asyncio.Future[UpstreamResponse]) -> None:
    """End an exchange for whose answer nobody waits any longer."""
    if answer.cancelled():
        connection.discard()
    elif answer.exception() is None:
        # It came in the same turn; the connection may already be somebody else's.
        await answer.result().aclose()
