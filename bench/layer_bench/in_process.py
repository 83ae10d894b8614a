"""Stamping alone, in this process, against decoding and encoding the same body."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Final

import orjson
from rich.table import Table

from layer_bench.scenarios import write_base64, write_floats
from layer_kit.turns import at_once
from layer_wire.stamping import stamp
from layer_wire.writes import decode_write

TITLE: Final = "stamping a write, against a bare orjson round trip of its body"


def measured(round_count: int) -> Table:
    """Stamp writes of 1000 rows and prepare the rows for the cache, in turns with the peer."""
    table = Table(title=TITLE)
    table.add_column("write")
    for heading in ("MB", "stamped, CPU ms", "round trip, CPU ms", "CPU ÷"):
        table.add_column(heading, justify="right")
    for name, body in (("1536 floats each", write_floats()), ("base64 vectors", write_base64())):
        pairs = [
            (_cpu_ms(_stamped, body), _cpu_ms(_round_trip, body)) for _ in range(round_count + 1)
        ][1:]
        table.add_row(
            f"1000 rows, {name}",
            f"{len(body) / 1e6:.1f}",
            f"{statistics.median(ours for ours, _ in pairs):.1f}",
            f"{statistics.median(theirs for _, theirs in pairs):.1f}",
            f"{statistics.median(ours / theirs for ours, theirs in pairs):.2f}",
        )
    return table


def _stamped(body: bytes) -> None:
    write = decode_write(body)
    assert write is not None
    at_once(stamp(write, upserted_at_ms=1_780_000_000_000, shard_count=16, id_kind=None))


def _round_trip(body: bytes) -> None:
    orjson.dumps(orjson.loads(body))


def _cpu_ms(work: Callable[[bytes], None], body: bytes) -> float:
    started = time.process_time()
    work(body)
    return (time.process_time() - started) * 1000
