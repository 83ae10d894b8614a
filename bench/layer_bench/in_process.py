"""Stamping alone, in this process, against decoding and encoding the same body."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from layer_bench.scenarios import write_base64, write_floats
from layer_wire.stamping import stamp
from layer_wire.writes import decode_write


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamping:
    """Medians over rounds of CPU time for one write."""

    name: str
    body_bytes: int
    stamped_ms: float
    round_trip_ms: float
    """``msgspec.json.encode(msgspec.json.decode(body))``, which changes nothing."""
    ratio: float


def measure_stamping(rounds: int) -> list[Stamping]:
    """Stamp a write of 1000 rows and prepare its rows for the cache, in turns with the peer."""
    found = []
    for name, body in (("1536 floats each", write_floats()), ("base64 vectors", write_base64())):
        pairs = [(_cpu_ms(_stamped, body), _cpu_ms(_round_trip, body)) for _ in range(rounds + 1)][
            1:
        ]
        found.append(
            Stamping(
                name=f"1000 rows, {name}",
                body_bytes=len(body),
                stamped_ms=statistics.median(ours for ours, _ in pairs),
                round_trip_ms=statistics.median(theirs for _, theirs in pairs),
                ratio=statistics.median(ours / theirs for ours, theirs in pairs),
            )
        )
    return found


def _stamped(body: bytes) -> None:
    write = decode_write(body)
    assert write is not None
    stamp(write, upserted_at_ms=1_780_000_000_000, shard_count=16, id_kind=None)


def _round_trip(body: bytes) -> None:
    msgspec.json.encode(msgspec.json.decode(body))


def _cpu_ms(work: Callable[[bytes], None], body: bytes) -> float:
    started = time.process_time()
    work(body)
    return (time.process_time() - started) * 1000
