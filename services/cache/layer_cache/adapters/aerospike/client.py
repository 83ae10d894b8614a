"""What the cache asks of an Aerospike cluster, in threads, with its breaker and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import aerospike

from layer_cache.adapters.aerospike.breaker import Attempt, Breaker, NotSentError
from layer_cache.adapters.aerospike.driver import Driver, Result
from layer_cache.adapters.aerospike.facts import Facts, facts_of
from layer_cache.adapters.aerospike.metrics import OperationMetrics
from layer_cache.adapters.aerospike.records import Address, Bins, Outcome, batches_of, slices_of
from layer_kit.errors import UnavailableError

THREADS: Final = 16
SCAN_THREADS: Final = 2
WAITING_MAX: Final = 512
"""Calls that wait for a thread or run; one more is refused."""

SET_NAME_LENGTH_MAX: Final = 63


class Client:
    """A connection to one namespace of a cluster."""

    def __init__(
        self,
        *,
        hosts: Sequence[tuple[str, int]],
        namespace: str,
        cluster_name: str,
        timeout_ms: int,
        breaker: Breaker,
        metrics: OperationMetrics,
    ) -> None:
        self.namespace = namespace
        self.breaker = breaker
        self._metrics = metrics
        metrics.watch(breaker)
        self._driver = Driver(
            hosts=hosts,
            namespace=namespace,
            cluster_name=cluster_name,
            timeout_ms=timeout_ms,
            connections_max=2 * (THREADS + SCAN_THREADS),
        )
        self._threads = ThreadPoolExecutor(THREADS, "aerospike")
        self._scan_threads = ThreadPoolExecutor(SCAN_THREADS, "aerospike-scan")
        self._waiting = 0

    async def read(
        self, addresses: Sequence[Address], *, is_whole: bool = False
    ) -> list[Bins | None]:
        """Return the bins of each record, None where there is none.

        Args:
            is_whole: Whether a record that the cluster did not answer for makes the call fail.
                Otherwise it counts as absent.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """
        found: list[Bins | None] = []
        for batch in slices_of(addresses):
            read = partial(self._driver.read, batch, is_whole=is_whole)
            found += await self._run("get", batch[0].set_name, read)
        return found

    async def write(
        self, records: Sequence[tuple[Address, Bins]], *, ttl_s: int | None
    ) -> list[Outcome]:
        """Replace records; None as ``ttl_s`` has them live for ever."""
        policy = {
            "key": aerospike.POLICY_KEY_SEND,
            "exists": aerospike.POLICY_EXISTS_CREATE_OR_REPLACE,
            "ttl": aerospike.TTL_NEVER_EXPIRE if ttl_s is None else ttl_s,
        }
        outcomes: list[Outcome] = []
        for batch in batches_of(records):
            write = partial(self._driver.write, batch, policy)
            try:
                outcomes += await self._run("put", batch[0][0].set_name, write)
            except NotSentError:
                outcomes += [Outcome.REFUSED] * len(batch)
            except UnavailableError:
                outcomes += [Outcome.UNKNOWN] * len(batch)
        return outcomes

    async def remove(self, addresses: Sequence[Address]) -> list[Outcome]:
        """Delete records."""
        outcomes: list[Outcome] = []
        for batch in slices_of(addresses):
            try:
                remove = partial(self._driver.remove, batch)
                outcomes += await self._run("delete", batch[0].set_name, remove)
            except UnavailableError:
                outcomes += [Outcome.UNKNOWN] * len(batch)
        return outcomes

    async def read_with_generation(self, address: Address) -> tuple[Bins, int] | None:
        """Return one record and its generation.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """
        read = partial(self._driver.read_with_generation, address)
        return await self._run("get", address.set_name, read)

    async def compare_and_set(self, address: Address, bins: Bins, generation: int) -> int | None:
        """Replace a record if its generation is this one, 0 meaning absent; return the new one.

        None when it is another, which leaves the record as it was.

        Raises:
            UnavailableError: ``STORE_DOWN``; it may have been replaced, or may be later.
        """
        write = partial(self._driver.compare_and_set, address, bins, generation)
        return await self._run("put", address.set_name, write)

    async def keys_after(
        self, set_name: str, *, filter_namespace: str, after: bytes, count_max: int
    ) -> list[bytes]:
        """Return the first keys of a set that come after ``after``, in order.

        Reads every record of the set, though not its bins: in memory are ``count_max`` keys.

        Args:
            filter_namespace: Only records whose namespace bin has this value; empty for all.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """
        scan = partial(self._driver.keys_after, set_name, filter_namespace, after, count_max)
        return await self._run("scan", set_name, scan, threads=self._scan_threads)

    async def formation(self) -> str:
        """Name this forming of the cluster; another name means that a node restarted, came or went.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """
        answers = await self._info("statistics")
        return ",".join(
            f"{node}:{_pairs(text, ';')['cluster_key']}" for node, text in sorted(answers.items())
        )

    async def facts(self) -> Facts:
        """Ask how the namespace is configured, and how full it and its sets are.

        Raises:
            UnavailableError: ``STORE_DOWN``, also when the cluster has no such namespace.
        """
        nodes = await self._info(f"namespace/{self.namespace}")
        sets = await self._info(f"sets/{self.namespace}")
        return facts_of(
            self.namespace,
            [_pairs(text, ";") for text in nodes.values()],
            [_pairs(part, ":") for text in sets.values() for part in text.split(";") if part],
        )

    async def close(self) -> None:
        """Disconnect, once the calls that run have ended."""
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._scan_threads.shutdown)
        await asyncio.to_thread(self._driver.close)

    async def _run(
        self,
        operation: str,
        set_name: str,
        call: Callable[[Attempt], Result],
        *,
        threads: ThreadPoolExecutor | None = None,
    ) -> Result:
        if self._waiting >= WAITING_MAX:
            raise NotSentError("STORE_DOWN", "Too many calls wait for Aerospike.")
        loop = asyncio.get_running_loop()
        with (
            self.breaker.attempt() as attempt,
            self._metrics.measured(operation, set_name, attempt),
        ):
            self._waiting += 1
            try:
                run = partial(self._driver.translated, call, attempt)
                return await loop.run_in_executor(threads or self._threads, run)
            finally:
                self._waiting -= 1

    async def _info(self, command: str) -> dict[str, str]:
        return await self._run("info", "", partial(self._driver.info, command))


def _pairs(text: str, separator: str) -> dict[str, str]:
    return {
        name: value for name, _, value in (pair.partition("=") for pair in text.split(separator))
    }
