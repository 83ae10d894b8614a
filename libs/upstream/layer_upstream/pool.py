"""The connections of one origin: last in, first out, with bounds and one timer for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque

from layer_kit.clock import Monotonic
from layer_upstream.connection import Connection
from layer_upstream.faults import client_closed, closed, pool_full, timed_out, unreachable
from layer_upstream.limits import READ_BUFFER_BYTES, TICK_S, UpstreamLimits
from layer_upstream.origin import Origin
from layer_upstream.places import Places

_Waiter = asyncio.Future[Connection | None]
"""Resolves to a free connection, or to None: a place to dial a new one has been reserved."""


class ConnectionPool:
    """Gives out connections.

    The most recently used one first: that keeps few connections warm and lets the rest expire.
    Deadlines are not timers of their own. One tick looks at every connection and waiter, which
    are few, so that a request costs no timer at all.
    """

    def __init__(
        self,
        origin: Origin,
        limits: UpstreamLimits,
        ssl_context: ssl.SSLContext | None,
        monotonic: Monotonic,
    ) -> None:
        self._origin = origin
        self._limits = limits
        self._ssl_context = ssl_context
        self._monotonic = monotonic
        self._connections: set[Connection] = set()
        self._dialling_count = 0
        self._idle: list[Connection] = []
        self._waiters: deque[tuple[float, _Waiter]] = deque()
        self._read_buffer = bytearray(READ_BUFFER_BYTES)
        self._places = Places()
        self._tick: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def open_count(self) -> int:
        return len(self._connections)

    @property
    def idle_count(self) -> int:
        return len(self._idle)

    @property
    def waiting_count(self) -> int:
        return len(self._waiters)

    def take_idle(self) -> Connection | None:
        """Return the connection that was used last, if one is free."""
        return self._idle.pop() if self._idle else None

    async def acquire(self, deadline_s: float, *, is_fresh: bool = False) -> Connection:
        """Return a connection that is open: a free one, a new one, or the next to become free.

        Args:
            deadline_s: Monotonic time at which to give up.
            is_fresh: Rather dial a new one, since free ones are suspected to be gone.

        Raises:
            UnavailableError: ``UPSTREAM_POOL_FULL``, ``UPSTREAM_CLIENT_CLOSED``.
            UpstreamError: ``UPSTREAM_UNREACHABLE``.
            DeadlineError: ``UPSTREAM_TIMEOUT``.
        """
        while True:
            if self._is_closed:
                raise client_closed(self._origin.text)
            if is_fresh and self._idle and not self._has_place():
                self._idle[0].discard()
            if not is_fresh and (free := self.take_idle()):
                return free
            if self._has_place():
                self._dialling_count += 1
                return await self._dial(deadline_s)
            given = await self._wait(deadline_s)
            if given is None:
                return await self._dial(deadline_s)
            if not given.is_closed:
                return given

    def released(self, connection: Connection) -> None:
        """Give ``connection`` to whoever has waited longest, else keep it."""
        if self._waiters and (waiter := self._next_waiter()):
            waiter.set_result(connection)
        else:
            self._idle.append(connection)

    def discarded(self, connection: Connection) -> None:
        """Forget ``connection`` and let the next waiter dial in its place."""
        self._connections.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)
        self._offer_place()

    def close(self) -> None:
        """Fail the waiters and close every connection. Idempotent."""
        self._is_closed = True
        while waiter := self._next_waiter():
            waiter.set_exception(client_closed(self._origin.text))
        for connection in list(self._connections):
            connection.fail(client_closed(self._origin.text))
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None

    def _has_place(self) -> bool:
        return len(self._connections) + self._dialling_count < self._limits.connections_max

    async def _dial(self, deadline_s: float) -> Connection:
        """Open a connection in the place that the caller has reserved."""
        left_s = max(0.0, deadline_s - self._monotonic())
        try:
            async with asyncio.timeout(min(self._limits.connect_timeout_s, left_s)):
                connection = await self._open()
        except TimeoutError as error:
            raise timed_out(self._origin.text, "accept a connection") from error
        except OSError as error:
            raise unreachable(self._origin.text, error) from error
        finally:
            self._dialling_count -= 1
            self._offer_place()
        if self._is_closed:
            connection.discard()
            raise client_closed(self._origin.text)
        if connection.is_closed:
            raise closed(self._origin.text, "before it was used")
        return connection

    async def _open(self) -> Connection:
        loop = asyncio.get_running_loop()
        origin = self._origin

        def make() -> Connection:
            return Connection(self, origin.text, self._limits, self._read_buffer, self._places)

        if origin.unix_path:
            _, connection = await loop.create_unix_connection(make, origin.unix_path)
        else:
            _, connection = await loop.create_connection(
                make,
                origin.host,
                origin.port,
                ssl=self._ssl_context,
                server_hostname=origin.host if self._ssl_context else None,
            )
        if not connection.is_closed:
            self._connections.add(connection)
        self._keep_ticking()
        return connection

    async def _wait(self, deadline_s: float) -> Connection | None:
        if len(self._waiters) >= self._limits.waiters_max:
            raise pool_full(self._origin.text, self._limits.waiters_max)
        waiter: _Waiter = asyncio.get_running_loop().create_future()
        entry = (deadline_s, waiter)
        self._waiters.append(entry)
        self._keep_ticking()
        try:
            return await waiter
        except asyncio.CancelledError:
            self._return_gift(entry)
            raise

    def _return_gift(self, entry: tuple[float, _Waiter]) -> None:
        """Pass on what a waiter was given in the moment in which it was cancelled."""
        waiter = entry[1]
        if waiter.cancelled() or waiter.exception() is not None:
            with contextlib.suppress(ValueError):
                self._waiters.remove(entry)
        elif (connection := waiter.result()) is None:
            self._dialling_count -= 1
            self._offer_place()
        elif not connection.is_closed:
            self.released(connection)

    def _next_waiter(self) -> _Waiter | None:
        while self._waiters:
            _, waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def _offer_place(self) -> None:
        if self._has_place() and (waiter := self._next_waiter()):
            self._dialling_count += 1
            waiter.set_result(None)

    def _keep_ticking(self) -> None:
        if self._tick is None and not self._is_closed:
            self._tick = asyncio.get_running_loop().call_later(TICK_S, self._check_deadlines)

    def _check_deadlines(self) -> None:
        self._tick = None
        now_s = self._monotonic()
        for connection in list(self._connections):
            connection.check_deadlines(now_s)
        for deadline_s, waiter in self._waiters:
            if now_s >= deadline_s and not waiter.done():
                waiter.set_exception(timed_out(self._origin.text, "free a connection"))
        if any(waiter.done() for _, waiter in self._waiters):
            self._waiters = deque(entry for entry in self._waiters if not entry[1].done())
        if self._connections or self._waiters:
            self._keep_ticking()
