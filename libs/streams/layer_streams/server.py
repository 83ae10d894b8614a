"""The serving side: streams by method, beside or instead of a server of grpc."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from layer_kit.addresses import UnixAddress, explain, parse_address, remove_stale_socket
from layer_kit.configuration import ConfigurationError
from layer_kit.rpc.calls import CallMetrics
from layer_streams.limits import CONNECTIONS_MAX
from layer_streams.server_connection import ServerConnection
from layer_streams.server_stream import Accept

BACKLOG: Final = 128


@dataclass(slots=True, kw_only=True)
class _Connections:
    """Those that stand, of one server."""

    standing: set[ServerConnection] = field(default_factory=set)
    are_gone: asyncio.Event = field(default_factory=asyncio.Event)

    def made(self, connection: ServerConnection) -> bool:
        """Count one in, unless there are too many."""
        if len(self.standing) >= CONNECTIONS_MAX:
            return False
        self.standing.add(connection)
        return True

    def lost(self, connection: ServerConnection) -> None:
        self.standing.discard(connection)
        if not self.standing:
            self.are_gone.set()

    async def close(self, grace_s: float) -> None:
        """Let the streams end by themselves for so long, and then end them."""
        self.are_gone.clear()
        for connection in list(self.standing):
            connection.drain()
        if self.standing:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self.are_gone.wait()
        for connection in list(self.standing):
            connection.leave()


@asynccontextmanager
async def stream_server(
    *,
    address: str,
    methods: Mapping[str, Accept],
    domain: str,
    calls: CallMetrics,
    shutdown_grace_s: float,
) -> AsyncIterator[str]:
    """Serve until the block ends; yield the bound address.

    Args:
        methods: Who takes the calls, by names such as ``/package.Service/Method``.
        domain: Of the errors, as a server of grpc has it.

    Raises:
        ConfigurationError: When the address cannot be bound.
    """
    connections = _Connections()

    def connection() -> ServerConnection:
        return ServerConnection(
            methods=methods,
            domain=domain,
            calls=calls,
            made=connections.made,
            lost=connections.lost,
        )

    server, bound = await _listen(address, connection)
    try:
        yield bound
    finally:
        server.close()
        await connections.close(shutdown_grace_s)


async def _listen(
    address: str, factory: Callable[[], asyncio.Protocol]
) -> tuple[asyncio.AbstractServer, str]:
    parsed, loop = parse_address(address), asyncio.get_running_loop()
    try:
        if isinstance(parsed, UnixAddress):
            remove_stale_socket(parsed.path)
            return await loop.create_unix_server(
                factory, str(parsed.path), backlog=BACKLOG
            ), address
        server = await loop.create_server(
            factory, parsed.host or None, parsed.port, backlog=BACKLOG
        )
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {address}: {explain(error)}") from error
    return server, parsed.bound(server.sockets[-1].getsockname()[1])
