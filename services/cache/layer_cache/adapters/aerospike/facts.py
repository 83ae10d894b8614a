"""What a server says about its namespace, in the words of server 6 to 8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from layer_kit.errors import UnavailableError

RECORD_BYTES_MAX_DEFAULT: Final = 1024 * 1024
RECORD_MARGIN_BYTES: Final = 1024
"""What a record takes beside its values: key, names of bins, digest, times."""


@dataclass(frozen=True, slots=True)
class SetFacts:
    """What is in a set, as far as one node holds it; copies on other nodes are not counted."""

    name: str
    records_count: int
    bytes_used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """How the Aerospike namespace is configured, and how full it is."""

    sets: Sequence[SetFacts] = ()
    bytes_max: int = 0
    record_bytes_max: int = RECORD_BYTES_MAX_DEFAULT
    expires_records: bool = False
    stop_writes: bool = False
    evicted_count: int = 0
    """Records that a node dropped before their time, since it started."""


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
    return Facts(
        sets=[
            SetFacts(
                name=one.get("set", ""),
                records_count=_number(one, "objects") // copies,
                bytes_used=_number(one, "data_used_bytes", "device_data_bytes", "memory_data_bytes")
                // copies,
            )
            for one in sets
        ],
        bytes_max=sum(
            _number(node, "data_total_bytes", "device_total_bytes", "memory-size") for node in nodes
        )
        // copies,
        record_bytes_max=min(map(_record_bytes_max, nodes)) - RECORD_MARGIN_BYTES,
        expires_records=all(map(_expires_records, nodes)),
        evicted_count=sum(_number(node, "evicted_objects") for node in nodes),
        stop_writes=any(node.get("stop_writes") == "true" for node in nodes),
    )


def _number(part: Mapping[str, str], *names: str) -> int:
    """Return the first of these that is not zero; the names changed with server 7."""
    return next((int(part[name]) for name in names if int(part.get(name, 0))), 0)


def _record_bytes_max(node: Mapping[str, str]) -> int:
    named = _number(node, "max-record-size", "storage-engine.write-block-size")
    return named or RECORD_BYTES_MAX_DEFAULT


def _expires_records(node: Mapping[str, str]) -> bool:
    return node.get("nsup-period", "0") != "0" or node.get("allow-ttl-without-nsup") == "true"
