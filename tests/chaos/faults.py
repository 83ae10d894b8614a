"""What can go wrong between a gateway and the cache, and with the cache itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from layer_testing.processes import ServiceProcess, running
from tests.chaos.stores import CacheStore

CHUNK_BYTES: Final = 64 * 1024


class Valve:
    """One direction of a link. What is held comes through later, in order, as in TCP."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self._is_open = asyncio.Event()
        self._is_open.set()

    def hold(self) -> None:
        """Let nothing through until :meth:`release`."""
        self._is_open.clear()

    def release(self) -> None:
        self._is_open.set()

    async def passed(self) -> None:
        """Wait until one chunk may go on."""
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        await self._is_open.wait()


class Link:
    """A TCP proxy between one gateway and the cache, which can fail in either direction.

    Args:
        target: Tells where the cache listens now; None while it does not.
    """

    def __init__(self, target: Callable[[], str | None]) -> None:
        self.requests = Valve()
        self.answers = Valve()
        self.is_refusing = False
        self.address = ""
        self._target = target
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Begin to listen on ``address``."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"

    async def close(self) -> None:
        """Stop listening and break off every connection."""
        if self._server is not None:
            self._server.close()
        await self.cut()

    async def cut(self) -> None:
        """Break off every connection; what is under way in it is lost."""
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        if connections:
            await asyncio.wait(connections)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        # One that is cut before it has begun to run never comes to its own end.
        connection.add_done_callback(lambda _: writer.transport.abort())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            target = self._target()
            if self.is_refusing or target is None:
                return
            host, _, port = target.rpartition(":")
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            writers.append(far_writer)
            async with asyncio.TaskGroup() as directions:
                directions.create_task(_pump(reader, far_writer, self.requests))
                directions.create_task(_pump(far_reader, writer, self.answers))
        except (OSError, ExceptionGroup):
            pass  # one end went away, and so does the other
        finally:
            for opened in writers:
                opened.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, valve: Valve) -> None:
    while chunk := await reader.read(CHUNK_BYTES):
        await valve.passed()
        writer.write(chunk)
        await writer.drain()
    raise ConnectionResetError("the other end has closed")


@asynccontextmanager
async def open_link(target: Callable[[], str | None]) -> AsyncIterator[Link]:
    """Open a link for the length of the block; see :class:`Link`."""
    link = Link(target)
    await link.open()
    try:
        yield link
    finally:
        await link.close()


@dataclass(slots=True, kw_only=True)
class CacheProcess:
    """The real cache, which can be killed, stopped for a while, and robbed of its store."""

    store: CacheStore
    lease_s: float
    declared_gone_s: float
    _process: ServiceProcess | None = None
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    def address(self) -> str | None:
        """Return where it listens; None while it does not run."""
        return None if self._process is None else self._process.addresses["grpc"]

    def lookups_address(self) -> str | None:
        """Return where it serves lookups alone; None while it does not run."""
        return None if self._process is None else self._process.addresses["lookups"]

    async def start(self) -> None:
        """Start it over what its store holds."""
        self._process = await self._stack.enter_async_context(
            running(
                "layer_cache",
                LAYER_CACHE_GRPC_ADDRESS="127.0.0.1:0",
                LAYER_CACHE_LEASE_S=str(self.lease_s),
                LAYER_CACHE_DECLARED_GONE_S=str(self.declared_gone_s),
                **self.store.environment(),
            )
        )

    async def kill(self) -> None:
        """End it as a power cut does."""
        process, self._process = self._process, None
        if process is not None:
            await process.kill()
        await self._stack.aclose()

    @contextlib.asynccontextmanager
    async def stopped(self) -> AsyncIterator[None]:
        """Stop its clockwork, but not its clock, for the length of the block."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)


@asynccontextmanager
async def cache_process(
    store: CacheStore, *, lease_s: float, declared_gone_s: float
) -> AsyncIterator[CacheProcess]:
    """Run the cache for the length of the block."""
    cache = CacheProcess(store=store, lease_s=lease_s, declared_gone_s=declared_gone_s)
    await cache.start()
    try:
        yield cache
    finally:
        await cache.kill()
