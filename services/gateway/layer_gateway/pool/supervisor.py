"""The parent of a gateway's workers: it starts them, restarts them, and sums up their metrics.

It serves no request. The kernel spreads connections over the workers, which listen on the same
ports; each is a member of the cache of its own. A gateway of one worker has no parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, generate_latest

from layer_gateway.adapters.draining import MARKER_WATCH_INTERVAL_S, Draining
from layer_gateway.pool.expositions import summed
from layer_gateway.pool.flights import clear_flights, new_flights
from layer_gateway.pool.marks import new_table
from layer_gateway.pool.runs import NotServingError, start_run
from layer_gateway.pool.worker import Worker, this_worker
from layer_gateway.settings import GatewaySettings
from layer_kit.addresses import TcpAddress, explain, parse_address
from layer_kit.children import Child
from layer_kit.clock import monotonic
from layer_kit.configuration import ConfigurationError
from layer_kit.errors import LayerError
from layer_kit.health import Health
from layer_kit.loops import background_loops
from layer_kit.ops import ops_server
from layer_kit.process import Addresses
from layer_kit.supervision import SUPERVISOR_VARIABLE
from layer_upstream import UpstreamClient, UpstreamLimits

log = structlog.get_logger(__name__)

BACKOFF_S_MIN: Final = 0.1
BACKOFF_S_MAX: Final = 10.0
STEADY_S: Final = 30.0
"""A worker that has lived as long is restarted at once when it ends."""
START_PATIENCE_S: Final = 60.0
"""As long as the probes of an orchestrator wait for a pod to start."""

WORKER_COMMAND: Final = (sys.executable, "-m", "layer_gateway")

SCRAPE_TIMEOUT_S: Final = 2.0
STOP_MARGIN_S: Final = 5.0


def serving(settings: GatewaySettings) -> AbstractAsyncContextManager[Addresses]:
    """Run the gateway: in this process, or in as many as it is to have."""
    if settings.workers > 1 and this_worker() is None:
        return pool(settings)
    # Imported here, since the parent needs nothing of what it takes to serve a request.
    from layer_gateway.bootstrap import serving as serving_alone  # noqa: PLC0415

    return serving_alone(settings)


@asynccontextmanager
async def pool(settings: GatewaySettings) -> AsyncIterator[Addresses]:
    """Run the workers for the length of the block; yield what all of them listen on."""
    health, registry = Health(), CollectorRegistry()
    async with AsyncExitStack() as resources:
        ports = {
            kind: resources.enter_context(_reserved(address))
            for kind, address in (
                ("http", settings.http_address),
                ("grpc", settings.grpc_address),
            )
        }
        marks_fd = new_table()
        resources.callback(os.close, marks_fd)
        flights_fd = new_flights(settings.workers)
        resources.callback(os.close, flights_fd)
        workers = Workers(settings, health, registry, marks_fd, flights_fd)
        ops_address = await resources.enter_async_context(
            ops_server(settings.ops_address, health=health, exposition=workers.exposition)
        )
        loops = await resources.enter_async_context(background_loops(registry))
        is_draining = Draining(health, settings.drain_marker, monotonic)
        loops.every(MARKER_WATCH_INTERVAL_S, is_draining.tell_health, name="drain_marker")
        resources.push_async_callback(workers.stop)
        await workers.start(ports, ops_address)
        yield {**ports, "ops": ops_address}
        health.drain()


class Workers:
    """The processes of a pool."""

    def __init__(
        self,
        settings: GatewaySettings,
        health: Health,
        registry: CollectorRegistry,
        marks_fd: int,
        flights_fd: int,
        *,
        command: Sequence[str] = WORKER_COMMAND,
        start_patience_s: float = START_PATIENCE_S,
    ) -> None:
        self._settings = settings
        self._health = health
        self._registry = registry
        self._marks_fd = marks_fd
        self._flights_fd = flights_fd
        self._command = command
        self._start_patience_s = start_patience_s
        self._environment: dict[str, str] = {}
        self._pool_address = ""
        self._running: dict[int, Child] = {}
        self._scraped: dict[int, UpstreamClient] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._restarts = Counter(
            "layer_worker_restarts_total",
            "Workers that ended without being told to.",
            registry=registry,
        )
        self._failed_starts = Counter(
            "layer_worker_failed_starts_total",
            "Attempts to start a worker again from which none came to serve.",
            registry=registry,
        )

    async def start(self, ports: Addresses, pool_address: str) -> None:
        """Start every worker and keep it running.

        Raises:
            ConfigurationError: When one does not come to serve.
        """
        self._pool_address = pool_address
        self._environment = {
            **os.environ,
            "LAYER_GATEWAY_HTTP_ADDRESS": ports["http"],
            "LAYER_GATEWAY_GRPC_ADDRESS": ports["grpc"],
            "LAYER_GATEWAY_OPS_ADDRESS": "127.0.0.1:0",
            SUPERVISOR_VARIABLE: str(os.getpid()),
        }
        numbers = range(self._settings.workers)
        for number in numbers:
            self._health.require(_component(number))
        # The first of several failures is told, once there is no worker that still starts.
        for outcome in await asyncio.gather(*map(self._launch, numbers), return_exceptions=True):
            if isinstance(outcome, NotServingError):
                raise ConfigurationError(f"a worker {outcome}") from outcome
            if outcome is not None:
                raise outcome
        self._keepers = [asyncio.create_task(self._keep(number)) for number in numbers]

    async def stop(self) -> None:
        """Let every worker drain, and end those that take longer than they may."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        processes = list(self._running.values())
        for process in processes:
            process.send_signal(signal.SIGTERM)
        ending = [asyncio.create_task(process.wait()) for process in processes]
        if ending:
            _, late = await asyncio.wait(
                ending, timeout=self._settings.shutdown_grace_s + STOP_MARGIN_S
            )
            if late:
                log.warning("workers_killed", count=len(late))
            for process in processes:
                process.kill()
            await asyncio.gather(*ending)
        for client in self._scraped.values():
            await client.aclose()

    async def exposition(self) -> bytes:
        """Return the metrics of all workers that answer, and those of the pool itself."""
        found = await asyncio.gather(*map(_scrape, list(self._scraped.values())))
        texts = [text for text in found if text is not None]
        return summed([*texts, generate_latest(self._registry).decode()])

    async def _keep(self, number: int) -> None:
        """Restart a worker whenever it ends; one that keeps ending waits longer each time."""
        loop = asyncio.get_running_loop()
        pause_s = BACKOFF_S_MIN
        while True:
            began_s = loop.time()
            code = await self._running[number].wait()
            clear_flights(self._flights_fd, number)
            self._health.unready(_component(number), f"ended with {code}")
            self._restarts.inc()
            if loop.time() - began_s >= STEADY_S:
                pause_s = BACKOFF_S_MIN
            log.error("worker_ended", number=number, code=code, restart_s=pause_s)
            pause_s = await self._relaunch(number, pause_s)

    async def _relaunch(self, number: int, pause_s: float) -> float:
        """Start a worker, as often as it takes; return the pause before the next time."""
        while True:
            await asyncio.sleep(pause_s)
            pause_s = min(BACKOFF_S_MAX, pause_s * 2)
            try:
                await self._launch(number)
            except NotServingError as error:
                why = str(error)
            else:
                return pause_s
            self._health.unready(_component(number), why)
            self._failed_starts.inc()
            log.error("worker_not_started", number=number, why=why, retry_s=pause_s)

    async def _launch(self, number: int) -> None:
        worker = Worker(
            number=number,
            marks_fd=self._marks_fd,
            flights_fd=self._flights_fd,
            pool_address=self._pool_address,
        )
        self._running[number], addresses = await start_run(
            self._command,
            env={**self._environment, **worker.variables()},
            pass_fds=(self._marks_fd, self._flights_fd),
            patience_s=self._start_patience_s,
        )
        await self._serves(number, addresses)

    async def _serves(self, number: int, addresses: Addresses) -> None:
        if (before := self._scraped.get(number)) is not None:
            await before.aclose()
        limits = UpstreamLimits(connections_max=1, total_timeout_s=SCRAPE_TIMEOUT_S)
        self._scraped[number] = UpstreamClient(f"http://{addresses['ops']}", limits)
        self._health.ready(_component(number))


@contextlib.contextmanager
def _reserved(address: str) -> Iterator[str]:
    """Keep a port for the workers: yield the address, its port chosen, while nobody else gets it.

    The socket is bound and never listens, so that no connection comes to it.
    """
    parsed = parse_address(address)
    if not isinstance(parsed, TcpAddress):
        raise ConfigurationError(f"{address} cannot be shared by several workers; give host:port")
    found = socket.getaddrinfo(
        parsed.host or None, parsed.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(found[0], socket.SOCK_STREAM) as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            reserved.bind(found[4])
        except OSError as error:
            raise ConfigurationError(f"cannot listen on {address}: {explain(error)}") from error
        yield parsed.bound(reserved.getsockname()[1])


async def _scrape(client: UpstreamClient) -> str | None:
    try:
        answer = await client.request(b"GET", b"/metrics", ())
    except LayerError:
        return None  # it is being restarted
    return answer.body.decode()


def _component(number: int) -> str:
    return f"worker_{number}"
