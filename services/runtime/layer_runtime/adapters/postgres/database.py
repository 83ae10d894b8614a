"""Connections to PostgreSQL: bounded, timed, and made again after it was away.

Every failure to reach it is ``UnavailableError`` with the reason ``DATABASE_DOWN``; what a caller
had begun is then undone or, when the answer to a commit was lost, done, so callers must be able to
repeat what they ask for.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from layer_kit.configuration import ConfigurationError
from layer_kit.errors import LayerError, UnavailableError
from layer_runtime.adapters.postgres.metrics import DatabaseMetrics

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:
    Connection = asyncpg.Connection

SCHEMES: Final = ("postgresql://", "postgres://")
CONNECT_S_MAX: Final = 5.0
ACQUIRE_S_MAX: Final = 5.0
ANSWER_S_MARGIN: Final = 5.0
"""Beyond the server's own bound of a statement, for an answer that never comes."""
RETRY_AFTER_S: Final = 1.0
DOWN: Final = (
    asyncpg.PostgresConnectionError,  # includes what a failing-over or stopping server says
    asyncpg.InterfaceError,  # a connection that is closed, or closes
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,  # the server became a standby
    asyncpg.TransactionRollbackError,  # a deadlock, which one of its parties loses
    ConnectionError,
    TimeoutError,
    OSError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of the database one process takes."""

    connections_max: int
    statement_timeout_s: float
    idle_in_transaction_ms: int


class Database:
    """A pool of connections. Made by :func:`open_database`."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], metrics: DatabaseMetrics) -> None:
        self._pool = pool
        self._metrics = metrics
        self._is_held_back = False

    def hold_back(self) -> None:
        """Lend nothing until :meth:`release`: the schema is not there yet."""
        self._is_held_back = True

    def release(self) -> None:
        """Undo :meth:`hold_back`."""
        self._is_held_back = False

    @asynccontextmanager
    async def connection(self, name: str) -> AsyncIterator[Connection]:
        """Lend a connection; each statement on it is a transaction of its own.

        Args:
            name: Of what is done, for ``layer_pg_query_duration_seconds``.

        Raises:
            UnavailableError: ``DATABASE_DOWN``.
        """
        if self._is_held_back:
            raise _down("its schema is not up to date yet")
        with self._timed(name), _told():
            with self._metrics.waiting():
                connection = await self._pool.acquire(timeout=ACQUIRE_S_MAX)
            try:
                yield connection
            except asyncpg.ReadOnlySQLTransactionError:
                # It became a standby. Whoever is primary now is found by connecting anew.
                await self._pool.expire_connections()
                raise
            finally:
                await self._pool.release(connection)

    @asynccontextmanager
    async def transaction(self, name: str) -> AsyncIterator[Connection]:
        """Lend a connection for one transaction; errors as for :meth:`connection`."""
        async with self.connection(name) as connection, connection.transaction():
            yield connection

    async def fetch(self, name: str, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run one statement and return its rows; errors as for :meth:`connection`."""
        async with self.connection(name) as connection:
            return await connection.fetch(statement, *arguments)

    async def fetchval(self, name: str, statement: str, *arguments: Any) -> Any:
        """Run one statement and return the first value of its first row, None without one."""
        async with self.connection(name) as connection:
            return await connection.fetchval(statement, *arguments)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        begun_s = time.perf_counter()
        status = "error"
        try:
            yield
            status = "ok"
        except LayerError:
            status = "refused"  # by us, in the middle of a transaction
            raise
        finally:
            self._metrics.observe(name, status, time.perf_counter() - begun_s)


@asynccontextmanager
async def open_database(
    url: str, limits: Limits, *, metrics: DatabaseMetrics, pool_name: str
) -> AsyncIterator[Database]:
    """Yield a pool that connects when it is first used, and again whenever it must.

    Raises:
        ConfigurationError: The URL is not one of PostgreSQL.
    """
    if not url.startswith(SCHEMES):
        raise ConfigurationError("database_url does not start with postgresql://")
    milliseconds = round(limits.statement_timeout_s * 1000)
    settings: Mapping[str, str] = {
        "application_name": f"layer-runtime-{pool_name}",
        "statement_timeout": str(milliseconds),
        "idle_in_transaction_session_timeout": str(limits.idle_in_transaction_ms),
        "jit": "off",  # it costs more than our statements take
        # A plan is kept, and may have been made while a queue was empty; it must still be right
        # when it is long. Index scans also take rows in one order, so that none deadlocks another.
        "enable_seqscan": "off",
        "enable_bitmapscan": "off",
    }
    pool = asyncpg.create_pool(
        url,
        min_size=0,
        max_size=limits.connections_max,
        timeout=CONNECT_S_MAX,
        command_timeout=limits.statement_timeout_s + ANSWER_S_MARGIN,
        server_settings=dict(settings),
    )
    await pool
    metrics.watch(pool_name, lambda: (pool.get_idle_size(), pool.get_size()))
    try:
        yield Database(pool, metrics)
    finally:
        pool.terminate()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except DOWN as error:
        raise _down(str(error) or type(error).__name__) from error


def _down(cause: str) -> UnavailableError:
    return UnavailableError(
        "DATABASE_DOWN",
        f"The database cannot be used at the moment: {cause}.",
        retry_after_s=RETRY_AFTER_S,
        cause=cause,
    )
