"""The document cache against a bare gRPC echo and its own raw store, in the same run.

Run alone: ``python -m layer_bench.cache``. Times are CPU of both sides, which other work on the
machine does not change much; ratios are medians over rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc.aio
import uvloop
from prometheus_client import CollectorRegistry
from rich.table import Table
from rocksdict import AccessType, Options, Rdict

from layer.cache.v1 import cache_pb2
from layer.cache.v1.cache_pb2_grpc import CacheServiceStub
from layer_bench.echo import METHOD
from layer_bench.load import cpu_ns
from layer_bench.printing import show
from layer_cache.adapters.embedded import EmbeddedStore
from layer_gateway.adapters.cache_metrics import CacheMetrics
from layer_gateway.adapters.direct_lookups import DirectWay, LookupOffer
from layer_gateway.adapters.lookup_stream import LookupStream
from layer_kit.clock import epoch_milliseconds
from layer_kit.memory import keep_freed_memory
from layer_kit.rpc.client import open_channel
from layer_testing.processes import ServiceProcess, launch, running

ROWS_COUNT: Final = 100_000
BATCH_ROWS: Final = 1_000
DISK_BYTES_MAX: Final = 64 * 1024 * 1024
BODY: Final = b'{"title":"%06d","year":%d,"text":"%s"}'
TEXT_BYTES: Final = 960
NAMESPACE: Final = "bench"
LOOKUP_TIMEOUT_S: Final = 10.0


def _text() -> bytes:
    """Return prose of made-up words, which takes room on disk as real text does."""
    letters = random.Random(7)  # noqa: S311 -- the same in every run
    words = ["".join(letters.choices("etaoinshrdlu", k=letters.randint(2, 9))) for _ in range(2000)]
    return " ".join(letters.choices(words, k=200_000)).encode()


TEXT: Final = _text()


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number with its goal."""

    name: str
    value: float
    unit: str
    goal: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What one call took."""

    wall_us: float
    cpu_us: float
    """Of both sides."""


def body(number: int) -> bytes:
    start = number * 7919 % (len(TEXT) - TEXT_BYTES)
    return BODY % (number, number % 100, TEXT[start : start + TEXT_BYTES])


def row_id(number: int) -> bytes:
    return b"u%d" % number


class Service:
    """A started process with a channel to it, and the CPU that both sides have used."""

    def __init__(self, process: ServiceProcess, channel: grpc.aio.Channel) -> None:
        self.process = process
        self.channel = channel
        self.cache = CacheServiceStub(channel)

    async def cost(self, call: Callable[[], Awaitable[object]], count: int) -> Cost:
        """Make a call ``count`` times, one after the other."""
        started_s, used_ns = time.perf_counter(), self._used_ns()
        for _ in range(count):
            await call()
        cpu_us = (self._used_ns() - used_ns) / 1000 / count
        return Cost((time.perf_counter() - started_s) * 1e6 / count, cpu_us)

    def _used_ns(self) -> int:
        return cpu_ns((self.process.pid,)) + time.process_time_ns()


async def measured(rounds: int, count: int) -> list[Figure]:
    """Measure everything, in an order that leaves the store as the next figure needs it."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        async with _cache(place, "LAYER_CACHE_DISK_BYTES_MAX", str(2**30)) as cache:
            put = await _fill(cache)
            async with _echo(place) as echo:
                gets = await _gets(cache, echo, rounds, count)
            full = _resident_mib(cache.process.pid)
        scan_share = await _scan_share(place, rounds)
        opened_s = await _open(place / "cache" / "rows")
    with tempfile.TemporaryDirectory() as directory:
        bound = await _disk_over_bound(Path(directory))
    return [
        *gets,
        Figure("put of a 1 KB document in a stream of 1000, CPU", put, "µs", "≤ 8"),
        Figure("filtered scan ÷ raw iteration, rows/s", scan_share, "x", "≥ 0.5"),
        Figure(f"opening {ROWS_COUNT:,} rows", opened_s, "s", "< 1"),
        Figure(f"memory with {ROWS_COUNT:,} rows", full, "MiB", "bounded"),
        Figure("disk ÷ bound, after twice as much was put", bound, "x", "≤ 1.15"),
    ]


async def _gets(cache: Service, echo: Service, rounds: int, count: int) -> list[Figure]:
    call: Any = echo.channel.unary_unary(METHOD)
    one = cache_pb2.LookupRowsRequest(namespace=NAMESPACE, ids=[row_id(7)])
    hundred = cache_pb2.LookupRowsRequest(
        namespace=NAMESPACE, ids=[row_id(number * 37) for number in range(100)]
    )
    assert len((await cache.cache.LookupRows(hundred)).bodies) == 100  # noqa: PLR2004
    session = await cache.cache.OpenSession(cache_pb2.OpenSessionRequest(member_id="bench"))
    # Nobody is a member: a lease that runs out would suspend hits.
    await cache.cache.CloseSession(cache_pb2.CloseSessionRequest(session_id=session.session_id))
    direct = DirectWay(
        cache.process.addresses["grpc"],
        partial(LookupOffer, session.lookup_address, session.incarnation),
        timeout_s=LOOKUP_TIMEOUT_S,
        is_open=CacheMetrics(CollectorRegistry()).of(0).direct,
    )
    stream = LookupStream(cache.cache, timeout_s=LOOKUP_TIMEOUT_S, direct=direct)

    async def streamed(request: cache_pb2.LookupRowsRequest) -> None:
        told: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        stream(request, told.set_result)
        assert isinstance(await told, cache_pb2.LookupRowsResponse)

    ratios: dict[str, list[float]] = {}
    for turn in range(rounds + 1):
        echoed = await echo.cost(lambda: call(body(7)), count)
        alone = await cache.cost(lambda: cache.cache.LookupRows(one), count)
        single = await cache.cost(lambda: streamed(one), count)
        many = await cache.cost(lambda: streamed(hundred), count // 5)
        if turn:  # the first one warms up
            for name, value in {
                "echo of 1 KB, CPU": echoed.cpu_us,
                "get of one document, CPU": single.cpu_us,
                "get of one ÷ echo, CPU": single.cpu_us / echoed.cpu_us,
                "get of one ÷ echo, time": single.wall_us / echoed.wall_us,
                "get of one in a call of its own ÷ echo, CPU": alone.cpu_us / echoed.cpu_us,
                "get of one in a call of its own ÷ echo, time": alone.wall_us / echoed.wall_us,
                "get of 100, CPU": many.cpu_us,
                "get of 100 ÷ get of one, CPU": many.cpu_us / single.cpu_us,
            }.items():
                ratios.setdefault(name, []).append(value)
    await stream.close()
    goals = {"get of one ÷ echo": "≤ 1.4", "get of 100 ÷": "≤ 4"}
    return [
        Figure(
            name,
            statistics.median(values),
            "x" if "÷" in name else "µs",
            next((goal for start, goal in goals.items() if name.startswith(start)), ""),
        )
        for name, values in ratios.items()
    ]


async def _fill(cache: Service) -> float:
    """Put every row; return the CPU of both sides for one, as a median over batches."""
    costs = []
    for start in range(0, ROWS_COUNT, BATCH_ROWS):
        numbers = range(start, start + BATCH_ROWS)
        ids, bodies = list(map(row_id, numbers)), list(map(body, numbers))
        cost = await cache.cost(partial(_put, cache, await _token(cache), ids, bodies), 1)
        costs.append(cost.cpu_us / BATCH_ROWS)
    return statistics.median(costs)


async def _put(
    cache: Service, read_token: bytes, ids: Sequence[bytes], bodies: Sequence[bytes]
) -> None:
    request = cache_pb2.BackfillRowsRequest(
        namespace=NAMESPACE, read_token=read_token, ids=ids, bodies=bodies
    )
    assert (await cache.cache.BackfillRows(request)).stored_count == len(ids)


async def _token(cache: Service) -> bytes:
    lookup = cache_pb2.LookupRowsRequest(namespace=NAMESPACE, ids=[row_id(0)])
    return (await cache.cache.LookupRows(lookup)).read_token


async def _scan_share(place: Path, rounds: int) -> float:
    """Scan and iterate in turns; return what iterating takes of a scan.

    The service begins anew, so that all rows are in tables: nobody else sees what is not.
    """
    async with _cache(place, "LAYER_CACHE_DISK_BYTES_MAX", str(2**30)) as cache:
        await _scan(cache)  # the first one warms up
        return statistics.median(
            [_iterate(place / "cache" / "rows") / await _scan(cache) for _ in range(rounds)]
        )


async def _scan(cache: Service) -> float:
    """Scan for half of the rows; return the seconds of the service's CPU."""
    request = cache_pb2.ScanRowsRequest(
        namespace=NAMESPACE,
        ids_only=True,
        selection=cache_pb2.RowSelection(
            filter=b'["year","Lt",50]', attribute_types={"year": "int"}
        ),
    )
    used_ns, found = cpu_ns((cache.process.pid,)), 0
    async for page in cache.cache.ScanRows(request):
        found += len(page.ids)
    assert found == ROWS_COUNT // 2
    return (cpu_ns((cache.process.pid,)) - used_ns) / 1e9


def _iterate(rows: Path) -> float:
    """Pass all rows of the raw store; return the seconds of CPU."""
    store = Rdict(str(rows), Options(raw_mode=True), access_type=AccessType.read_only())
    used_ns = time.process_time_ns()
    count = sum(1 for _ in store.items())
    used_s = (time.process_time_ns() - used_ns) / 1e9
    assert count >= ROWS_COUNT
    store.close()
    return used_s


async def _disk_over_bound(place: Path) -> float:
    worst = 0.0
    async with _cache(place, "LAYER_CACHE_DISK_BYTES_MAX", str(DISK_BYTES_MAX)) as cache:
        for start in range(0, 2 * DISK_BYTES_MAX // 1000, BATCH_ROWS):
            noise = [b'{"a":"' + _noise(start + at) + b'"}' for at in range(BATCH_ROWS)]
            await cache.cache.BackfillRows(
                cache_pb2.BackfillRowsRequest(
                    namespace=NAMESPACE,
                    read_token=await _token(cache),
                    ids=[row_id(start + at) for at in range(BATCH_ROWS)],
                    bodies=noise,
                )
            )
            figures = await cache.cache.GetStatistics(cache_pb2.GetStatisticsRequest())
            worst = max(worst, figures.disk_bytes / figures.disk_bytes_max)
    return worst


def _noise(number: int) -> bytes:
    """Return a kilobyte that does not compress away."""
    return random.Random(number).randbytes(500).hex().encode()  # noqa: S311 -- the same in every run


async def _open(rows: Path) -> float:
    """Open the store; return the seconds that it takes."""
    started_s = time.perf_counter()
    store = EmbeddedStore(
        rows, disk_bytes_max=2**30, ttl_s=1e6, now_ms=epoch_milliseconds, distrust=print
    )
    opened_s = time.perf_counter() - started_s
    await store.close()
    return opened_s


def _resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@asynccontextmanager
async def _cache(place: Path, *extra: str) -> AsyncIterator[Service]:
    settings = {
        # Of its own for each start: gRPC waits before it tries an address again that was lost.
        "LAYER_CACHE_GRPC_ADDRESS": f"unix:{place}/{secrets.token_hex(4)}.sock",
        "LAYER_CACHE_DATA_DIRECTORY": str(place / "cache"),
        "LAYER_CACHE_LOG_LEVEL": "warning",
        extra[0]: extra[1],
    }
    async with (
        running("layer_cache", **settings) as process,
        open_channel(process.addresses["grpc"], retries=False) as channel,
    ):
        yield Service(process, channel)


@asynccontextmanager
async def _echo(place: Path) -> AsyncIterator[Service]:
    process = await launch("layer_bench.echo", f"unix:{place}/echo.sock")
    try:
        await process.read_addresses()
        async with grpc.aio.insecure_channel(process.addresses["grpc"]) as channel:
            yield Service(process, channel)
    finally:
        await process.kill()


def table(figures: list[Figure]) -> Table:
    """Render the figures."""
    made = Table("the document cache", "value", "goal")
    for figure in figures:
        made.add_row(figure.name, f"{figure.value:,.2f} {figure.unit}", figure.goal)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=2000, help="calls a round")
    options = parser.parse_args()
    keep_freed_memory()  # as the gateway does, for which this process stands
    show(table(uvloop.run(measured(options.rounds, options.count))))


if __name__ == "__main__":
    main()
