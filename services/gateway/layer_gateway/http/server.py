"""The server of the edge: what makes connections, and serves them for as long as it is open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage

from layer_gateway.http.budget import BodyBudget
from layer_gateway.http.edge_request import EdgeRequest
from layer_gateway.http.head_errors import HEAD_BYTES_MAX
from layer_gateway.http.memory import MemoryRelease
from layer_gateway.http.protocol import EdgeProtocol
from layer_gateway.http.requests import EdgeHandler
from layer_kit.addresses import bind_site

KEEPALIVE_TIMEOUT_S: Final = 75.0


@asynccontextmanager
async def http_edge(
    edge: EdgeHandler,
    address: str,
    *,
    patience_s: float,
    budget: BodyBudget,
    release: MemoryRelease,
    shutdown_grace_s: float,
    reuse_port: bool = False,
) -> AsyncIterator[str]:
    """Serve ``edge`` for the length of the block; yield the bound address.

    On exit no new connection is taken and running requests get ``shutdown_grace_s``.
    """
    server = EdgeServer(
        edge,
        access_log=None,
        patience_s=patience_s,
        budget=budget,
        release=release,
        keepalive_timeout=KEEPALIVE_TIMEOUT_S,
        max_field_size=HEAD_BYTES_MAX,
        max_line_size=HEAD_BYTES_MAX,
        auto_decompress=False,
    )
    runner = web.ServerRunner(server, shutdown_timeout=shutdown_grace_s)
    await runner.setup()
    try:
        yield await bind_site(runner, address, reuse_port=reuse_port)
    finally:
        await runner.cleanup()


class EdgeServer(web.Server):
    """Serves connections that fail in the words of the contract.

    Args:
        patience_s: See :class:`EdgeProtocol`.
        budget: What all connections together may hold of bodies.
        release: Told of answers that wait to be taken.
    """

    def __init__(
        self,
        handler: EdgeHandler,
        *,
        patience_s: float,
        budget: BodyBudget,
        release: MemoryRelease,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            cast("Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]", handler),
            request_factory=cast("Any", _request),
            **kwargs,
        )
        self._handler = handler
        self._patience_s = patience_s
        self._budget = budget
        self._release = release

    def __call__(self) -> web.RequestHandler:
        return EdgeProtocol(
            self,
            self._handler,
            patience_s=self._patience_s,
            budget=self._budget,
            release=self._release,
            loop=self._loop,
            **self._kwargs,
        )


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: EdgeProtocol,
    writer: AbstractStreamWriter,
    _task: asyncio.Task[None],
) -> EdgeRequest:
    """Make a request as aiohttp's own loop asks for one."""
    if isinstance(message, EdgeRequest):  # a plain one that waited before it
        request = message
    else:
        request = EdgeRequest.of(message, payload, protocol)
    request.open_writer(writer)
    return request
