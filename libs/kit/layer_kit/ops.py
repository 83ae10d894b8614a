"""The operations port of a process: ``/livez``, ``/readyz``, ``/metrics``.

It is apart from the public ports, so that probes and scrapes need no key and keep answering when
those are saturated.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web

from layer_kit.addresses import bind_site
from layer_kit.health import Health
from layer_kit.telemetry.metrics import CONTENT_TYPE, Exposition


@asynccontextmanager
async def ops_server(address: str, *, health: Health, exposition: Exposition) -> AsyncIterator[str]:
    """Serve the operations endpoints for the length of the block; yield the bound address."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        match request.path:
            case "/livez":
                return _json(200, {"status": "ok"})
            case "/readyz":
                status = 200 if health.is_ready else 503
                return _json(status, {"ready": health.is_ready, "components": health.components})
            case "/metrics":
                return web.Response(body=await exposition(), headers={"content-type": CONTENT_TYPE})
            case _:
                message = "This port serves /livez, /readyz and /metrics."
                return _json(404, {"error": "not_found", "message": message})

    runner = web.ServerRunner(web.Server(handle, access_log=None))
    await runner.setup()
    try:
        yield await bind_site(runner, address)
    finally:
        await runner.cleanup()


def _json(status: int, body: object) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(body), content_type="application/json"
    )
