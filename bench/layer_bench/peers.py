"""What is measured: the gateway, and other proxies, before the same upstream."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from layer_testing.processes import running

START_POLL_S: Final = 0.02
START_POLLS_MAX: Final = 250
PROXY_CORE: Final = 0
"""Proxies are pinned to this core, the load and the upstream to the others."""

_NGINX: Final = """
daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log error;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  client_max_body_size 64m; client_body_buffer_size 32m; proxy_buffers 64 16k;
  upstream store {{ server {upstream}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    keepalive_requests 1000000;
    location / {{
      proxy_pass http://store; proxy_http_version 1.1; proxy_set_header Connection "";
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A running proxy."""

    name: str
    address: str
    pids: tuple[int, ...]
    """Processes whose CPU time counts."""
    cache_address: str = ""
    """Of the cache beside a gateway."""


def nginx_binary() -> str | None:
    """Return where nginx is, or None."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


@asynccontextmanager
async def nginx(upstream: str, port: int) -> AsyncIterator[Peer]:
    """Run nginx as a keep-alive reverse proxy on one core."""
    binary = nginx_binary()
    if binary is None:
        raise FileNotFoundError("nginx")
    with tempfile.TemporaryDirectory(prefix="n") as directory:
        configuration = Path(directory) / "nginx.conf"
        configuration.write_text(
            _NGINX.format(directory=directory, upstream=upstream, port=port), encoding="utf-8"
        )
        process = await asyncio.create_subprocess_exec(binary, "-c", str(configuration))
        try:
            await _until_listening(f"127.0.0.1:{port}")
            os.sched_setaffinity(process.pid, {PROXY_CORE})
            yield Peer(name="nginx", address=f"127.0.0.1:{port}", pids=(process.pid,))
        finally:
            process.terminate()
            await process.wait()


@asynccontextmanager
async def gateway(upstream: str, *, with_cache: bool) -> AsyncIterator[Peer]:
    """Run one gateway, with a cache of its own if asked, both on the proxies' core."""
    with tempfile.TemporaryDirectory(prefix="b") as directory:
        if not with_cache:
            async with _gateway(upstream, cache_address="") as peer:
                yield peer
            return
        socket = f"unix:{directory}/cache.sock"
        async with running(
            "layer_cache",
            LAYER_CACHE_GRPC_ADDRESS=socket,
            LAYER_CACHE_DATA_DIRECTORY=f"{directory}/cache",
        ) as cache:
            os.sched_setaffinity(cache.pid, {PROXY_CORE})
            async with _gateway(upstream, cache_address=socket) as peer:
                yield replace(peer, pids=(*peer.pids, cache.pid), cache_address=socket)


@asynccontextmanager
async def _gateway(upstream: str, *, cache_address: str) -> AsyncIterator[Peer]:
    async with running(
        "layer_gateway",
        LAYER_GATEWAY_HTTP_ADDRESS="127.0.0.1:0",
        LAYER_GATEWAY_GRPC_ADDRESS="127.0.0.1:0",
        LAYER_GATEWAY_UPSTREAM_URL=f"http://{upstream}",
        LAYER_GATEWAY_CACHE_ADDRESS=cache_address,
        LAYER_GATEWAY_REACTIVE_WARM="false",  # nothing runs beside what is measured
        LAYER_GATEWAY_LOG_LEVEL="warning",
    ) as process:
        os.sched_setaffinity(process.pid, {PROXY_CORE})
        yield Peer(name="gateway", address=process.addresses["http"], pids=(process.pid,))


@asynccontextmanager
async def starlette(upstream: str) -> AsyncIterator[Peer]:
    """Run the proxy that one writes first in Python, on one core."""
    async with running("layer_bench.starlette_proxy", LAYER_BENCH_UPSTREAM=upstream) as process:
        os.sched_setaffinity(process.pid, {PROXY_CORE})
        yield Peer(name="starlette", address=process.addresses["http"], pids=(process.pid,))


async def _until_listening(address: str) -> None:
    host, _, port = address.rpartition(":")
    for _ in range(START_POLLS_MAX):
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except ConnectionRefusedError:
            await asyncio.sleep(START_POLL_S)
        else:
            writer.close()
            return
    raise TimeoutError(f"nothing listens on {address}")
