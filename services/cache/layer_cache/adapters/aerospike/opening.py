"""Connecting to the cluster and waiting for the right to its rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from layer_cache.adapters.aerospike.breaker import Breaker
from layer_cache.adapters.aerospike.client import Client
from layer_cache.adapters.aerospike.ledger import AerospikeLedger
from layer_cache.adapters.aerospike.metrics import OperationMetrics
from layer_cache.adapters.aerospike.places import Places
from layer_cache.adapters.aerospike.rows import AerospikeStore
from layer_cache.adapters.aerospike.tenure import Tenure
from layer_kit.clock import EpochMilliseconds, Monotonic
from layer_kit.errors import UnavailableError

log = structlog.get_logger(__name__)

RETRY_S: Final = 0.5
MEASURE_INTERVAL_S: Final = 2.0
PORT_DEFAULT: Final = 3000
PORT_MAX: Final = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which records of which cluster are ours."""

    hosts: Sequence[tuple[str, int]]
    namespace: str
    set_prefix: str
    cluster_name: str = ""
    timeout_ms: int = 200
    """Longest wait for one operation on records."""

    own_sets_max: int = 880


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Stores and ledger over one cluster. The ledger is closed last, and lets go of the rows.

    Nothing is served unless :meth:`maintain` is called every ``RENEW_INTERVAL_S``.
    """

    client: Client
    tenure: Tenure
    ledger: AerospikeLedger
    rows: AerospikeStore
    records: AerospikeStore

    async def maintain(self) -> None:
        """Renew the tenure, and record what could not be recorded before.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """
        await self.tenure.renew()
        await self.ledger.catch_up()

    async def measure(self) -> None:
        """Ask how full the cluster is, and whether it evicted something.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """
        facts = await self.client.facts()
        if not self.rows.is_closed:  # then it was looked at for the last time
            self.ledger.evicted_count = facts.evicted_count
            self.rows.measured(facts)
            self.records.measured(facts)


async def open_aerospike(
    target: Target,
    *,
    ttl_s: float,
    now_ms: EpochMilliseconds,
    clock: Monotonic,
    registry: CollectorRegistry,
    set_label_count_max: int,
    on_loss: Callable[[], object],
) -> Opened:
    """Wait until the cluster is there and nobody else holds the rows; then hold them.

    Args:
        on_loss: Called when another process has taken over; this one must end.
    """
    client = Client(
        hosts=target.hosts,
        namespace=target.namespace,
        cluster_name=target.cluster_name,
        timeout_ms=target.timeout_ms,
        breaker=Breaker(clock),
        metrics=OperationMetrics(registry, set_count_max=set_label_count_max),
    )
    own_set = f"+{target.set_prefix}"
    tenure = Tenure(client, own_set, clock=clock, on_loss=on_loss)
    ledger = AerospikeLedger(client, own_set, tenure)
    row_places = Places(client, own_set, prefix=target.set_prefix, own_sets_max=target.own_sets_max)
    record_places = Places(client, own_set, prefix=f"{target.set_prefix}+r", own_sets_max=0)
    await tenure.take()
    while True:
        try:
            facts = await client.facts()
            await ledger.open(evicted_count=facts.evicted_count)
            await row_places.open()
            await tenure.renew()
            break
        except UnavailableError as error:
            log.warning("aerospike_unreachable", error=error.message)
            await asyncio.sleep(RETRY_S)
    if not facts.expires_records:
        log.warning(
            "aerospike_expires_nothing",
            namespace=target.namespace,
            hint="set its nsup-period above 0: until then records stay on the server after their "
            "age, and a full namespace stops writes instead of evicting",
        )
    rows, records = (
        AerospikeStore(client, tenure, ledger, places, facts=facts, ttl_s=ttl_s, now_ms=now_ms)
        for places in (row_places, record_places)
    )
    return Opened(client=client, tenure=tenure, ledger=ledger, rows=rows, records=records)


def parse_hosts(text: str) -> list[tuple[str, int]]:
    """Read ``host:port,host``; an IPv6 address stands in brackets.

    Raises:
        ValueError: When a host is empty or a port is none.
    """
    return [_host(part.strip()) for part in text.split(",")]


def _host(part: str) -> tuple[str, int]:
    if part.startswith("["):
        name, _, port = part[1:].partition("]")
        port = port.removeprefix(":")
    else:
        name, _, port = part.partition(":")
    number = int(port) if port else PORT_DEFAULT
    if not name or not 0 < number <= PORT_MAX:
        raise ValueError(f"{part!r} is not host:port")
    return name, number
