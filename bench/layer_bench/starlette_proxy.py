"""A proxy of Starlette and httpx on uvicorn, as one would write it first; a peer.

Run as ``python -m layer_bench.starlette_proxy``; prints ``listening {"http": …}``.
"""

from __future__ import annotations

import os
import socket
from typing import Final

import httpx
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from layer_kit.supervision import listening_line

UNSENT: Final = frozenset({"host", "content-length", "connection", "transfer-encoding"})
CONNECTIONS_MAX: Final = 256


def application(upstream: str) -> Starlette:
    """Return an application that passes every request on."""
    client = httpx.AsyncClient(
        base_url=f"http://{upstream}",
        limits=httpx.Limits(
            max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX
        ),
    )

    async def forward(request: Request) -> Response:
        headers = {name: value for name, value in request.headers.items() if name not in UNSENT}
        answer = await client.request(
            request.method, request.url.path, headers=headers, content=await request.body()
        )
        kept = {name: value for name, value in answer.headers.items() if name not in UNSENT}
        return Response(answer.content, answer.status_code, kept)

    return Starlette(routes=[Route("/{path:path}", forward, methods=["GET", "POST"])])


async def main() -> None:
    """Serve until SIGTERM."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listening_line({"http": f"127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
        configuration = uvicorn.Config(
            application(os.environ["LAYER_BENCH_UPSTREAM"]),
            http="httptools",
            loop="none",
            log_level="warning",
            access_log=False,
        )
        await uvicorn.Server(configuration).serve(sockets=[listener])


if __name__ == "__main__":
    uvloop.run(main())
