"""The local PostgreSQL as a process of the system: it is ready, it fails and it stops like others.

This process is the server's parent. The server ends with it, and it ends with the server, so that
whoever supervises the one has both.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import structlog

from layer_kit.configuration import ConfigurationError
from layer_kit.process import Addresses
from layer_kit.service import service_frame
from layer_postgres.cluster import Cluster
from layer_postgres.databases import create_database
from layer_postgres.settings import PostgresSettings

log = structlog.get_logger(__name__)

FOR_QUEUES: Final = {"autovacuum_naptime": "10s"}
"""Rows of a queue die within seconds; by default their space is looked for once a minute."""


@asynccontextmanager
async def serving(settings: PostgresSettings) -> AsyncIterator[Addresses]:
    """Run the server for the length of the block; yield the URL of its database.

    Raises:
        ConfigurationError: A directory is unusable, or PostgreSQL is not installed.
    """
    async with service_frame(settings) as frame:
        cluster = Cluster(
            settings.data_directory, sockets=settings.socket_directory, settings=FOR_QUEUES
        )
        try:
            settings.socket_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"cannot write to {settings.socket_directory}: {error.strerror}"
            ) from error
        await asyncio.to_thread(cluster.create)
        cluster.start()
        try:
            await asyncio.to_thread(cluster.wait_ready)
            frame.addresses["postgres"] = await create_database(cluster, settings.database)
            with _ending_with(cluster):
                frame.started()
                yield frame.addresses
        finally:
            await asyncio.to_thread(cluster.stop)


@contextmanager
def _ending_with(cluster: Cluster) -> Iterator[None]:
    """Stop this process when the server is gone; it is the supervisor who starts both again."""
    loop = asyncio.get_running_loop()
    descriptor = os.pidfd_open(cluster.pid)  # readable once the process has ended

    def end() -> None:
        loop.remove_reader(descriptor)
        log.error("postgres_ended", code=cluster.poll())
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(descriptor, end)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
