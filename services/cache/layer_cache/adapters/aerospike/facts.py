"""What a server says about its namespace, in the words of server 6 to 8."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from layer_kit.errors import UnavailableError

RECORD_BYTES_MAX_DEFAULT: Final = 1024 * 1024
RECORD_MARGIN_BYTES: Final = 1024
"""What a record takes beside its values: key, names of bins, digest, times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """How the Aerospike namespace is configured, and how full it is."""

    records_count: int = 0
    """Of our sets; like the bytes, without their copies on other nodes."""

    bytes_used: int = 0
    bytes_max: int = 0
    record_bytes_max: int = RECORD_BYTES_MAX_DEFAULT
    expires_records: bool = False
    stop_writes: bool = False


def facts_of(
    namespace: str, nodes: Sequence[Mapping[str, str]], sets: Sequence[Mapping[str, str]]
) -> Facts:
    """Put together what each node says of itself; the strictest of their limits counts.

    Raises:
        UnavailableError: ``STORE_DOWN``, when a node does not know the namespace.
    """
    if any("objects" not in node for node in nodes):
        raise UnavailableError("STORE_DOWN", f"The Aerospike cluster has no namespace {namespace}.")
    copies = max(1, int(nodes[0].get("effective_replication_factor", 1)))
    used = _total(sets, "data_used_bytes", "device_data_bytes", "memory_data_bytes")
    room = _total(nodes, "data_total_bytes", "device_total_bytes", "memory-size")
    return Facts(
        records_count=_total(sets, "objects") // copies,
        bytes_used=used // copies,
        bytes_max=room // copies,
        record_bytes_max=min(map(_record_bytes_max, nodes)) - RECORD_MARGIN_BYTES,
        expires_records=all(map(_expires_records, nodes)),
        stop_writes=any(node.get("stop_writes") == "true" for node in nodes),
    )


def _total(parts: Iterable[Mapping[str, str]], *names: str) -> int:
    """Sum up, by the first of ``names`` that is not zero; they changed with server 7."""
    return sum(
        next((int(part[name]) for name in names if int(part.get(name, 0))), 0) for part in parts
    )


def _record_bytes_max(node: Mapping[str, str]) -> int:
    for name in ("max-record-size", "storage-engine.write-block-size"):
        if int(node.get(name, 0)):
            return int(node[name])
    return RECORD_BYTES_MAX_DEFAULT


def _expires_records(node: Mapping[str, str]) -> bool:
    return node.get("nsup-period", "0") != "0" or node.get("allow-ttl-without-nsup") == "true"
