"""The driver's calls, and everything that is assumed of driver and server.

They block and give up the interpreter's lock, so ``client`` has them run in threads of their own.
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

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import aerospike
from aerospike import exception
from aerospike_helpers import expressions
from aerospike_helpers.batch.records import BatchRecord, BatchRecords, Write
from aerospike_helpers.operations import operations

from layer_cache.adapters.aerospike.breaker import Attempt
from layer_cache.adapters.aerospike.records import (
    ANSWERS,
    Address,
    Bins,
    FirstKeys,
    Outcome,
    outcome_of,
    user_key,
)
from layer_kit.errors import UnavailableError

CONNECT_MS: Final = 1_000
INFO_MS: Final = 500
SCAN_MS: Final = 120_000
NAMESPACE_BIN: Final = "ns"
TIMEOUT: Final = 9
UNREACHABLE: Final = frozenset({TIMEOUT, 11})
"""Timeout, partition unavailable; so are all codes below zero, which are the driver's own."""

Key = tuple[str, str, str | bytearray]
Result = TypeVar("Result")


class Driver:
    """Blocking calls to one namespace of a cluster, each within an attempt of the breaker's.

    Calls are made through :meth:`translated`, which connects and makes errors ours.
    """

    def __init__(
        self,
        *,
        hosts: Sequence[tuple[str, int]],
        namespace: str,
        cluster_name: str,
        timeout_ms: int,
        connections_max: int,
    ) -> None:
        self._namespace = namespace
        self._timeout_ms = timeout_ms
        self._config = {
            "hosts": list(hosts),
            "connect_timeout": CONNECT_MS,
            "max_conns_per_node": connections_max,
            **({"cluster_name": cluster_name} if cluster_name else {}),
        }
        self._connected: Any = None

    def translated(self, call: Callable[[Attempt], Result], attempt: Attempt) -> Result:
        """Run ``call``, connected.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """
        try:
            if self._connected is None:
                self._connected = aerospike.client(self._config)
            return call(attempt)
        except exception.AerospikeError as error:
            message = f"Aerospike: {error.msg or type(error).__name__} ({error.code})"
            if error.code is None or error.code < 0 or error.code in UNREACHABLE:
                attempt.fail(message)
            attempt.status = "timeout" if error.code == TIMEOUT else "aerospike_error"
            raise UnavailableError("STORE_DOWN", message) from error

    def close(self) -> None:
        if self._connected is not None:
            self._connected.close()

    def info(self, command: str, attempt: Attempt) -> dict[str, str]:
        """Return what each node answers."""
        answers = self._connected.info_all(command, {"timeout": INFO_MS})
        if not answers or any(error for error, _ in answers.values()):
            attempt.fail("Aerospike: a node of the cluster is away")
            raise UnavailableError("STORE_DOWN", attempt.failure)
        # Some versions of the driver keep the name of the command in front.
        return {node: text.rpartition("\t")[2].strip() for node, (_, text) in answers.items()}

    def read(
        self, addresses: Sequence[Address], attempt: Attempt, *, is_whole: bool
    ) -> list[Bins | None]:
        policy = self._policy(max_retries=1)
        records = self._connected.batch_read(self._keys(addresses), policy=policy).batch_records
        _check_reach(records, attempt)
        if is_whole and any(outcome_of(record.result) not in ANSWERS for record in records):
            raise UnavailableError("STORE_DOWN", "Aerospike has not answered for every record.")
        return [record.record[2] if record.result == 0 else None for record in records]

    def write(
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
        self._connected.batch_write(batch, self._policy(max_retries=0))
        _check_reach(batch.batch_records, attempt)
        outcomes = [outcome_of(record.result) for record in batch.batch_records]
        if Outcome.FULL in outcomes:
            attempt.status = "aerospike_stop_writes"
        return outcomes

    def remove(self, addresses: Sequence[Address], attempt: Attempt) -> list[Outcome]:
        batch = self._connected.batch_remove(self._keys(addresses), self._policy(max_retries=1))
        _check_reach(batch.batch_records, attempt)
        return [outcome_of(record.result) for record in batch.batch_records]

    def read_with_generation(self, address: Address, _attempt: Attempt) -> tuple[Bins, int] | None:
        with contextlib.suppress(exception.RecordNotFound):
            _, meta, bins = self._connected.get(self._key(address), self._policy(max_retries=1))
            return bins, meta["gen"]
        return None

    def compare_and_set(
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
            _, meta, _ = self._connected.operate(key, writes, {"gen": generation}, policy)
        except exception.RecordGenerationError:
            return None
        return int(meta["gen"])

    def keys_after(
        self, set_name: str, filter_namespace: str, after: bytes, count_max: int, _attempt: Attempt
    ) -> list[bytes]:
        policy: dict[str, Any] = {"total_timeout": SCAN_MS, "socket_timeout": CONNECT_MS}
        if filter_namespace:
            only = expressions.Eq(expressions.StrBin(NAMESPACE_BIN), filter_namespace)
            policy["expressions"] = only.compile()
        first = FirstKeys(after, count_max)
        query = self._connected.query(self._namespace, set_name)
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
        return self._namespace, address.set_name, user_key(address.key)

    def _keys(self, addresses: Sequence[Address]) -> list[Key]:
        return [self._key(address) for address in addresses]


def _check_reach(records: Sequence[BatchRecord], attempt: Attempt) -> None:
    for record in records:
        if record.result < 0 or record.result in UNREACHABLE:
            attempt.fail(f"Aerospike: a part of a batch was not answered ({record.result})")
            return
