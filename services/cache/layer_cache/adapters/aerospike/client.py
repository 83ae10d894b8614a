"""What the cache asks of an Aerospike cluster, and everything it assumes of driver and server.

The driver's calls block and give up the interpreter's lock, so they run in threads of their own.
Tested with server 6 to 8, Community Edition. What is counted on:

- Commands on one record are atomic. ``EXPECT_GEN_EQUAL`` compares with the generation of the
  record, 0 when there is none; each write raises it by one, from 65535 to 1.
- ``CREATE_OR_REPLACE`` leaves none of the bins there were. A delete of an absent record says so.
- A refusal by one of ``records.REFUSALS`` came before the record was changed. After anything else,
  be it a timeout or a broken connection, a write may have happened, or may happen later.
- Records without a time to live are neither expired nor evicted.
- Each forming of the cluster draws a new ``cluster_key``: at a node's start, and when a node comes
  or goes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

import aerospike
from aerospike import exception
from aerospike_helpers import expressions
from aerospike_helpers.batch.records import BatchRecord, BatchRecords, Write
from aerospike_helpers.operations import operations

from layer_cache.adapters.aerospike.breaker import Attempt, Breaker, NotSentError
from layer_cache.adapters.aerospike.facts import Facts, facts_of
from layer_cache.adapters.aerospike.metrics import OperationMetrics
from layer_cache.adapters.aerospike.records import (
    ANSWERS,
    Address,
    Bins,
    FirstKeys,
    Outcome,
    batches_of,
    outcome_of,
    slices_of,
    user_key,
)
from layer_kit.errors import UnavailableError

CONNECT_MS: Final = 1_000
INFO_MS: Final = 500
SCAN_MS: Final = 120_000
THREADS: Final = 16
SCAN_THREADS: Final = 2
WAITING_MAX: Final = 512
"""Calls that wait for a thread or run; one more is refused."""

SET_NAME_LENGTH_MAX: Final = 63
NAMESPACE_BIN: Final = "ns"
TIMEOUT: Final = 9
UNREACHABLE: Final = frozenset({TIMEOUT, 11})
"""Timeout, partition unavailable; so are all codes below zero, which are the driver's own."""

Key = tuple[str, str, str | bytearray]
Result = TypeVar("Result")


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
        self._timeout_ms = timeout_ms
        self._metrics = metrics
        metrics.watch(breaker)
        self._config = {
            "hosts": list(hosts),
            "connect_timeout": CONNECT_MS,
            "max_conns_per_node": 2 * (THREADS + SCAN_THREADS),
            **({"cluster_name": cluster_name} if cluster_name else {}),
        }
        self._driver: Any = None
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
            read = partial(self._read, batch, is_whole=is_whole)
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
            write = partial(self._write, batch, policy)
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
                remove = partial(self._remove, batch)
                outcomes += await self._run("delete", batch[0].set_name, remove)
            except UnavailableError:
                outcomes += [Outcome.UNKNOWN] * len(batch)
        return outcomes

    async def read_with_generation(self, address: Address) -> tuple[Bins, int] | None:
        """Return one record and its generation.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """
        read = partial(self._read_with_generation, address)
        return await self._run("get", address.set_name, read)

    async def compare_and_set(self, address: Address, bins: Bins, generation: int) -> int | None:
        """Replace a record if its generation is this one, 0 meaning absent; return the new one.

        None when it is another, which leaves the record as it was.

        Raises:
            UnavailableError: ``STORE_DOWN``; it may have been replaced, or may be later.
        """
        write = partial(self._compare_and_set, address, bins, generation)
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
        scan = partial(self._keys_after, set_name, filter_namespace, after, count_max)
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
        if self._driver is not None:
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
                run = partial(self._translated, call, attempt)
                return await loop.run_in_executor(threads or self._threads, run)
            finally:
                self._waiting -= 1

    def _translated(self, call: Callable[[Attempt], Result], attempt: Attempt) -> Result:
        """Run a call of the driver, with its errors made ours. In a thread."""
        try:
            if self._driver is None:
                self._driver = aerospike.client(self._config)
            return call(attempt)
        except exception.AerospikeError as error:
            message = f"Aerospike: {error.msg or type(error).__name__} ({error.code})"
            if error.code is None or error.code < 0 or error.code in UNREACHABLE:
                attempt.fail(message)
            attempt.status = "timeout" if error.code == TIMEOUT else "aerospike_error"
            raise UnavailableError("STORE_DOWN", message) from error

    async def _info(self, command: str) -> dict[str, str]:
        def ask(attempt: Attempt) -> dict[str, str]:
            answers = self._driver.info_all(command, {"timeout": INFO_MS})
            if not answers or any(error for error, _ in answers.values()):
                attempt.fail("Aerospike: a node of the cluster is away")
                raise UnavailableError("STORE_DOWN", attempt.failure)
            # Some versions of the driver keep the name of the command in front.
            return {node: text.rpartition("\t")[2].strip() for node, (_, text) in answers.items()}

        return await self._run("info", "", ask)

    def _read(
        self, addresses: Sequence[Address], attempt: Attempt, *, is_whole: bool
    ) -> list[Bins | None]:
        policy = self._policy(max_retries=1)
        records = self._driver.batch_read(self._keys(addresses), policy=policy).batch_records
        _check_reach(records, attempt)
        if is_whole and any(outcome_of(record.result) not in ANSWERS for record in records):
            raise UnavailableError("STORE_DOWN", "Aerospike has not answered for every record.")
        return [record.record[2] if record.result == 0 else None for record in records]

    def _write(
        self, records: Sequence[tuple[Address, Bins]], policy: Bins, attempt: Attempt
    ) -> list[Outcome]:
        batch = BatchRecords(
            [
                Write(
                    self._key(address),
                    [operations.write(name, value) for name, value in bins.items()],
                    policy=dict(policy),
                )
                for address, bins in records
            ]
        )
        # Not repeated: the first of two could happen after a delete that came after both.
        self._driver.batch_write(batch, self._policy(max_retries=0))
        _check_reach(batch.batch_records, attempt)
        outcomes = [outcome_of(record.result) for record in batch.batch_records]
        if Outcome.FULL in outcomes:
            attempt.status = "aerospike_stop_writes"
        return outcomes

    def _remove(self, addresses: Sequence[Address], attempt: Attempt) -> list[Outcome]:
        batch = self._driver.batch_remove(self._keys(addresses), self._policy(max_retries=1))
        _check_reach(batch.batch_records, attempt)
        return [outcome_of(record.result) for record in batch.batch_records]

    def _read_with_generation(self, address: Address, _attempt: Attempt) -> tuple[Bins, int] | None:
        with contextlib.suppress(exception.RecordNotFound):
            _, meta, bins = self._driver.get(self._key(address), self._policy(max_retries=1))
            return bins, meta["gen"]
        return None

    def _compare_and_set(
        self, address: Address, bins: Bins, generation: int, _attempt: Attempt
    ) -> int | None:
        policy = self._policy(max_retries=0) | {
            "gen": aerospike.POLICY_GEN_EQ,
            "exists": aerospike.POLICY_EXISTS_CREATE_OR_REPLACE,
            "ttl": aerospike.TTL_NEVER_EXPIRE,
            "key": aerospike.POLICY_KEY_SEND,
        }
        writes = [operations.write(name, value) for name, value in bins.items()]
        key = self._key(address)
        try:
            _, meta, _ = self._driver.operate(key, writes, {"gen": generation}, policy)
        except exception.RecordGenerationError:
            return None
        return int(meta["gen"])

    def _keys_after(
        self, set_name: str, filter_namespace: str, after: bytes, count_max: int, _attempt: Attempt
    ) -> list[bytes]:
        policy: dict[str, Any] = {"total_timeout": SCAN_MS, "socket_timeout": CONNECT_MS}
        if filter_namespace:
            only = expressions.Eq(expressions.StrBin(NAMESPACE_BIN), filter_namespace)
            policy["expressions"] = only.compile()
        first = FirstKeys(after, count_max)
        query = self._driver.query(self.namespace, set_name)
        with contextlib.suppress(exception.RecordNotFound):  # a set that nothing was put in yet
            query.foreach(first.see, policy, {"nobins": True})
        return first.sorted()

    def _policy(self, *, max_retries: int) -> dict[str, Any]:
        return {
            "total_timeout": self._timeout_ms,
            "socket_timeout": self._timeout_ms // (1 + max_retries),
            "max_retries": max_retries,
            "sleep_between_retries": 0,
        }

    def _key(self, address: Address) -> Key:
        return self.namespace, address.set_name, user_key(address.key)

    def _keys(self, addresses: Sequence[Address]) -> list[Key]:
        return [self._key(address) for address in addresses]


def _check_reach(records: Sequence[BatchRecord], attempt: Attempt) -> None:
    for record in records:
        if record.result < 0 or record.result in UNREACHABLE:
            attempt.fail(f"Aerospike: a part of a batch was not answered ({record.result})")
            return


def _pairs(text: str, separator: str) -> dict[str, str]:
    return {
        name: value for name, _, value in (pair.partition("=") for pair in text.split(separator))
    }
