"""`python -m layer_bench.functions`: what it costs to find the rows that a function has to process.

A namespace of rows is swept three times: when every row is due, when every row is in the queue
already, and when every row is done. The runtime's memory is its high-water mark, which a sweep must
not move with the number of rows.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc.aio
from rich.table import Table

from layer.common.v1 import common_pb2
from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer_bench.machine import machine
from layer_bench.printing import say, show
from layer_testing.function_system import FunctionSystem, function_system
from layer_testing.gateway_calls import KEY, string_id
from layer_testing.postgres import postgres_server

NAME, FUNCTION = "rows", "tag"
MARKER: Final = "_hevlayer_udf_tag_v"
ROWS_DEFAULT: Final = 100_000
ROWS_PER_WRITE: Final = 10_000
PAGES_PER_CALL: Final = 5
WRITE_S_MAX: Final = 300.0
MEBIBYTE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What one sweep took."""

    title: str
    enqueued_count: int
    page_count: int
    seconds: float
    cpu_s: float
    """Of the runtime."""
    peak_bytes: int
    """Of the runtime, since it started."""


async def swept(layer: FunctionSystem, title: str) -> Sweep:
    pid = layer.runtimes[0].pid
    cpu_s, begun_s = _cpu_s(pid), time.perf_counter()
    enqueued_count, page_count, body = 0, 0, {"max_pages": PAGES_PER_CALL}
    while True:
        found = await layer.discover(FUNCTION, **body)
        enqueued_count += found["enqueued"]
        page_count += found["pages_scanned"]
        if not found["next_cursor"]:
            break
        body = {**body, "cursor": found["next_cursor"]}
    return Sweep(
        title=title,
        enqueued_count=enqueued_count,
        page_count=page_count,
        seconds=time.perf_counter() - begun_s,
        cpu_s=_cpu_s(pid) - cpu_s,
        peak_bytes=_peak_bytes(pid),
    )


async def run(rows_count: int) -> list[Sweep]:
    """Write rows, sweep them, mark them, sweep them again."""
    with tempfile.TemporaryDirectory() as folder, postgres_server() as postgres:
        async with function_system(Path(folder), postgres.new_database()) as layer:
            await _write(layer, rows_count, is_done=False)
            await layer.put(FUNCTION, target_namespaces=[NAME], inputs=["n"])
            sweeps = [await swept(layer, "every row is due")]
            sweeps.append(await swept(layer, "every row is in the queue"))
            await _write(layer, rows_count, is_done=True)
            sweeps.append(await swept(layer, "every row is done"))
    return sweeps


def shown(sweeps: list[Sweep], rows_count: int) -> Table:
    table = Table(
        *("sweep", "enqueued", "reads", "seconds", "rows/s", "CPU µs/row", "peak MiB"),
        title=f"{rows_count:,} rows",
    )
    for sweep in sweeps:
        table.add_row(
            sweep.title,
            f"{sweep.enqueued_count:,}",
            str(sweep.page_count),
            f"{sweep.seconds:.2f}",
            f"{rows_count / sweep.seconds:,.0f}",
            f"{sweep.cpu_s / rows_count * 1e6:.2f}",
            f"{sweep.peak_bytes / MEBIBYTE:.0f}",
        )
    return table


async def _write(layer: FunctionSystem, rows_count: int, *, is_done: bool) -> None:
    async with grpc.aio.insecure_channel(layer.gateway.addresses["grpc"]) as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        for start in range(0, rows_count, ROWS_PER_WRITE):
            request = gateway_pb2.WriteRowsRequest(
                namespace=NAME,
                upserts=_rows(start, min(start + ROWS_PER_WRITE, rows_count), is_done=is_done),
                is_function_result=True,
            )
            await stub.WriteRows(
                request, timeout=WRITE_S_MAX, metadata=(("authorization", f"Bearer {KEY}"),)
            )


def _rows(start: int, end: int, *, is_done: bool) -> Iterator[common_pb2.Row]:
    for at in range(start, end):
        row = common_pb2.Row(id=string_id(f"r{at:09}"))
        row.attributes["n"].int_value = at
        if is_done:
            row.attributes[MARKER].string_value = "v1"
        yield row


def _cpu_s(pid: int) -> float:
    """Return what a process has used of processors, in ticks of a hundredth of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS_DEFAULT, help="rows of the namespace")
    options = parser.parse_args()
    show(shown(asyncio.run(run(options.rows)), options.rows))
    say(machine())


if __name__ == "__main__":
    main()
