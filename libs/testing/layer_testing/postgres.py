"""A real PostgreSQL for tests: one server a session, a database of its own for each who asks."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from layer_postgres.cluster import USER, Cluster, running_cluster
from layer_postgres.installation import binary

MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- in a folder of a random name
MEMORY_BYTES_MIN: Final = 2 * 1024**3


class PostgresServer:
    """A running server. Made by :func:`postgres_server`."""

    def __init__(self, cluster: Cluster, sockets: Path) -> None:
        self.cluster = cluster
        self._sockets = sockets

    def new_database(self) -> str:
        """Create an empty database that no other test knows; return its URL."""
        name = f"test_{uuid.uuid4().hex}"
        command = [binary("createdb"), "--host", str(self._sockets), "--username", USER, name]
        subprocess.run(command, check=True, timeout=30)  # noqa: S603 -- our own command
        return self.cluster.url(name)

    def restart(self) -> None:
        """Stop the server as a maintenance does, and start it again."""
        self.cluster.stop()
        self.start()

    def start(self) -> None:
        """Start a server that was stopped."""
        with (self._sockets / "log").open("ab") as log:
            self.cluster.start(log)
        self.cluster.wait_ready()


@contextmanager
def database_folder() -> Iterator[Path]:
    """Yield an empty folder for a server's data and socket, removed at the end.

    Its path is short, as unix sockets need, and it is in memory where there is room for it.
    """
    has_room = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES_MIN
    folder = Path(tempfile.mkdtemp(prefix="layer-pg-", dir=MEMORY if has_room else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres_server(**settings: str) -> Iterator[PostgresServer]:
    """Run a server for the length of the block, in a folder that goes with it.

    Args:
        settings: Of ``postgresql.conf``, beside those that make it fast and forgetful.
    """
    with (
        database_folder() as folder,
        running_cluster(folder, sockets=folder, settings=settings) as cluster,
    ):
        yield PostgresServer(cluster, folder)
