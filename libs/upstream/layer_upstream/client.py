"""The client: one request in, one answer or one typed error out."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from layer_kit.clock import Monotonic
from layer_kit.errors import DeadlineError, InternalError, LayerError, UpstreamError
from layer_kit.lost_errors import report_lost
from layer_upstream.calls import Call, Receiver
from layer_upstream.connection import Connection
from layer_upstream.faults import client_closed
from layer_upstream.headers import Header
from layer_upstream.limits import UpstreamLimits
from layer_upstream.origin import parse_origin
from layer_upstream.pool import ConnectionPool
from layer_upstream.request import OutgoingRequest, Piece, RequestHead, is_length_told
from layer_upstream.response import UpstreamResponse

IDEMPOTENT_METHODS: Final = frozenset({b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"TRACE"})


class Watcher(Protocol):
    """Who is told whether the origin answers, whenever that changes."""

    def note(self, *, is_reachable: bool) -> None: ...


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
        self._origin = parsed.text
        if parsed.is_tls and ssl_context is None:
            ssl_context = ssl.create_default_context()
        self._limits = limits
        self.total_timeout_s = limits.total_timeout_s
        self._is_reachable: bool | None = None
        self.monotonic = monotonic
        self._head = RequestHead(parsed.authority, parsed.path_prefix)
        self._pool = ConnectionPool(
            parsed, limits, ssl_context if parsed.is_tls else None, monotonic
        )
        self.take_idle = self._pool.take_idle
        self.inflight_count = 0
        self._watcher: Watcher | None = None
        self._begun: set[asyncio.Task[None]] = set()
        self._replays: Counter | None = None
        if registry is not None:
            self._register_metrics(registry)

    def watch(self, watcher: Watcher) -> None:
        """Tell ``watcher`` how requests end from now on."""
        self._watcher = watcher
        self._is_reachable = None

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
        deadline_s = self.monotonic() + (self.total_timeout_s if timeout_s is None else timeout_s)
        request = self._outgoing(method, target, headers, body, deadline_s, stream=stream)
        if idempotent is None:
            idempotent = method in IDEMPOTENT_METHODS
        self.inflight_count += 1
        try:
            answer = await self._exchange(request, idempotent=idempotent)
        except (UpstreamError, DeadlineError):
            self._note(is_reachable=False)
            raise
        finally:
            self.inflight_count -= 1
        self._note(is_reachable=True)
        return answer

    def call(
        self,
        method: bytes,
        target: bytes,
        headers: Sequence[Header],
        *,
        stream: bool = False,
        idempotent: bool,
    ) -> Call:
        """Return a request but for its body, to be begun any number of times.

        The arguments are those of :meth:`request`.

        Raises:
            InvalidRequestError: ``UPSTREAM_REQUEST_INVALID``.
        """
        return Call(
            self,
            self._head.begin(method, target, headers),
            is_length_told=is_length_told(method),
            is_head=method == b"HEAD",
            is_streaming_allowed=stream,
            is_idempotent=idempotent,
        )

    def begin_waiting(
        self, request: OutgoingRequest, receiver: Receiver, *, is_idempotent: bool
    ) -> None:
        """Send a request that was begun and for which no connection was free."""
        self._finish_in_task(self._exchange(request, idempotent=is_idempotent), receiver)

    def answered(self) -> None:
        """Note that a request that was begun is answered."""
        self.inflight_count -= 1
        if not self._is_reachable:
            self._note(is_reachable=True)

    def failed(self, error: LayerError, receiver: Receiver) -> None:
        """Note that a request that was begun has failed, and tell ``receiver``."""
        self.inflight_count -= 1
        if isinstance(error, UpstreamError | DeadlineError):
            self._note(is_reachable=False)
        receiver.failed(error)

    def begin_replay(self, request: OutgoingRequest, receiver: Receiver) -> None:
        """Send a request that was begun once more, over a new connection."""
        self._finish_in_task(self._replay(request), receiver)

    async def aclose(self) -> None:
        """Close every connection; requests in flight fail. Idempotent."""
        self._pool.close()

    def _outgoing(
        self,
        method: bytes,
        target: bytes,
        headers: Sequence[Header],
        body: bytes | Sequence[Piece],
        deadline_s: float,
        *,
        stream: bool,
    ) -> OutgoingRequest:
        if isinstance(body, bytes):
            pieces: Sequence[Piece] = (body,) if body else ()
            body_bytes = len(body)
        else:
            pieces, body_bytes = body, sum(map(len, body))
        head = self._head.encode(method, target, headers, body_bytes)
        return OutgoingRequest(head, pieces, body_bytes, method == b"HEAD", stream, deadline_s)

    async def _exchange(self, request: OutgoingRequest, *, idempotent: bool) -> UpstreamResponse:
        """Send a request, and once more where that may be; errors as for :meth:`request`."""
        connection = self._pool.take_idle()
        if connection is None:
            connection = await self._pool.acquire(request.deadline_s)
        is_reused = connection.has_answered
        answer = connection.send(request)
        try:
            return await answer
        except asyncio.CancelledError:
            await _give_up(connection, answer)
            raise
        except UpstreamError:
            if not (idempotent and is_reused and connection.was_unanswered):
                raise
        return await self._replay(request)

    async def _replay(self, request: OutgoingRequest) -> UpstreamResponse:
        if self._replays is not None:
            self._replays.inc()
        connection = await self._pool.acquire(request.deadline_s, is_fresh=True)
        answer = connection.send(request)
        try:
            return await answer
        except asyncio.CancelledError:
            await _give_up(connection, answer)
            raise

    def _finish_in_task(
        self, work: Coroutine[Any, Any, UpstreamResponse], receiver: Receiver
    ) -> None:
        """Tell ``receiver`` of the end of a request that was begun and has to wait after all."""
        task = asyncio.create_task(self._told(work, receiver))
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        task.add_done_callback(report_lost)

    async def _told(self, work: Coroutine[Any, Any, UpstreamResponse], receiver: Receiver) -> None:
        try:
            answer = await work
        except LayerError as error:
            self.failed(error, receiver)
        except asyncio.CancelledError:
            self.failed(client_closed(self._origin), receiver)
            raise
        except Exception:
            self.failed(InternalError("INTERNAL", "Internal error."), receiver)
            raise  # to be told of as any error that nobody expected
        else:
            self.answered()
            receiver.answered(answer)

    def _note(self, *, is_reachable: bool) -> None:
        """Note whether the origin has answered, and tell the watcher if that is news."""
        if is_reachable is not self._is_reachable:
            self._is_reachable = is_reachable
            if self._watcher is not None:
                self._watcher.note(is_reachable=is_reachable)

    def _register_metrics(self, registry: CollectorRegistry) -> None:
        Gauge(
            "layer_tpuf_inflight",
            "Requests to the upstream that have not been answered, waiting ones included.",
            registry=registry,
        ).set_function(lambda: self.inflight_count)
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
