"""Which stores there are: the part of the composition root that opens one by its name.

The drivers of RocksDB and of Aerospike are imported when they are needed: neither has a wheel for
every machine, and a store that is not asked for must not keep the others from being opened.
"""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from prometheus_client import CollectorRegistry

from layer_cache.adapters.directory import DataDirectory, distrust_directory
from layer_cache.adapters.ledger import SqliteLedger
from layer_cache.adapters.memory import MemoryLedger, MemoryStore
from layer_cache.adapters.sqlite_rows import SqliteStore
from layer_cache.ports import LedgerStore, RowStore
from layer_cache.settings import CacheSettings
from layer_kit.clock import Monotonic, epoch_milliseconds
from layer_kit.configuration import ConfigurationError

if TYPE_CHECKING:
    from layer_cache.adapters.embedded import EmbeddedStore

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Where things are kept."""

    rows: RowStore
    records: RowStore
    ledger: LedgerStore
    maintenance: Sequence[tuple[float, Callable[[], Awaitable[object]]]] = ()
    """What is to be done again and again, and how many seconds apart."""


async def open_backend(
    settings: CacheSettings,
    resources: AsyncExitStack,
    registry: CollectorRegistry,
    *,
    clock: Monotonic,
) -> Backend:
    """Open what the settings name. ``resources`` closes all but the rows, which the caller does.

    Raises:
        ConfigurationError: When it cannot be used.
    """
    if settings.backend in ("memory", "aerospike"):
        # What lies there would be out of date by the time that somebody goes back to it.
        distrust_directory(settings.data_directory)
    match settings.backend:
        case "memory":
            rows, records = (
                MemoryStore(bytes_max=bytes_max, ttl_s=settings.ttl_s, now_ms=epoch_milliseconds)
                for bytes_max in (settings.disk_bytes_max, settings.records_bytes_max)
            )
            return Backend(rows=rows, records=records, ledger=MemoryLedger())
        case "aerospike":
            return await _open_aerospike(settings, resources, registry, clock)
        case "embedded":
            return await _open_directory(settings, resources, _embedded())
        case "sqlite":
            return await _open_directory(settings, resources, SqliteStore)


async def _open_aerospike(
    settings: CacheSettings,
    resources: AsyncExitStack,
    registry: CollectorRegistry,
    clock: Monotonic,
) -> Backend:
    try:
        from layer_cache.adapters.aerospike.opening import (  # noqa: PLC0415
            MEASURE_INTERVAL_S,
            Target,
            open_aerospike,
            parse_hosts,
        )
        from layer_cache.adapters.aerospike.tenure import RENEW_INTERVAL_S  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(f"backend aerospike: its client does not run: {error}") from error
    try:
        hosts = parse_hosts(settings.aerospike_hosts)
    except ValueError as error:
        raise ConfigurationError(f"aerospike_hosts: {error}") from error
    opened = await open_aerospike(
        Target(
            hosts=hosts,
            namespace=settings.aerospike_namespace,
            set_prefix=settings.aerospike_set_prefix,
            cluster_name=settings.aerospike_cluster_name,
            timeout_ms=settings.aerospike_timeout_ms,
            own_sets_max=settings.aerospike_own_sets_max,
        ),
        ttl_s=settings.ttl_s,
        now_ms=epoch_milliseconds,
        clock=clock,
        registry=registry,
        set_label_count_max=settings.namespace_label_count_max,
        on_loss=_stop_process,
    )
    resources.push_async_callback(opened.ledger.close)
    resources.push_async_callback(opened.records.close)
    return Backend(
        rows=opened.rows,
        records=opened.records,
        ledger=opened.ledger,
        maintenance=[(RENEW_INTERVAL_S, opened.maintain), (MEASURE_INTERVAL_S, opened.measure)],
    )


def _stop_process() -> None:
    """End as if told to. Started again, the process stands by."""
    os.kill(os.getpid(), signal.SIGTERM)


def _embedded() -> type[EmbeddedStore | SqliteStore]:
    """Return what keeps rows in a directory on this machine."""
    try:
        from layer_cache.adapters.embedded import EmbeddedStore  # noqa: PLC0415
    except ImportError as error:
        log.warning("rocksdb_does_not_run", error=str(error), instead="sqlite")
        return SqliteStore
    return EmbeddedStore


async def _open_directory(
    settings: CacheSettings,
    resources: AsyncExitStack,
    store_class: type[EmbeddedStore | SqliteStore],
) -> Backend:
    kind = "sqlite" if store_class is SqliteStore else "embedded"
    directory = DataDirectory(settings.data_directory, backend=kind)
    resources.callback(directory.close)
    try:
        backend = await _open_stores(settings, directory, store_class)
    except (OSError, sqlite3.Error) as error:
        # Nothing in a cache is worth a start that fails: begin again from nothing.
        log.warning("contents_damaged", error=str(error))
        try:
            directory.wipe()
            backend = await _open_stores(settings, directory, store_class)
        except (OSError, sqlite3.Error) as again:
            raise ConfigurationError(
                f"data_directory {settings.data_directory} cannot be used: {again}"
            ) from again
    resources.push_async_callback(backend.ledger.close)
    resources.push_async_callback(backend.records.close)
    return backend


async def _open_stores(
    settings: CacheSettings,
    directory: DataDirectory,
    store_class: type[EmbeddedStore | SqliteStore],
) -> Backend:
    ledger = SqliteLedger(
        directory.ledger, distrust=directory.distrust, was_closed=directory.was_closed
    )
    opened: list[EmbeddedStore | SqliteStore] = []
    try:
        for path, bytes_max in (
            (directory.rows, settings.disk_bytes_max),
            (directory.records, settings.records_bytes_max),
        ):
            opened.append(
                store_class(
                    path,
                    disk_bytes_max=bytes_max,
                    ttl_s=settings.ttl_s,
                    now_ms=epoch_milliseconds,
                    distrust=directory.distrust,
                )
            )
    except OSError:
        for store in opened:
            await store.close()
        await ledger.close()
        raise
    rows, records = opened
    return Backend(rows=rows, records=records, ledger=ledger)
