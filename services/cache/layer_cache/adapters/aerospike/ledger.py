"""The ledger in Aerospike: floor and members in the tenure's record, epochs in records beside."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import islice
from typing import Final

import msgspec
import structlog
import xxhash

from layer_cache.adapters.aerospike.client import Client
from layer_cache.adapters.aerospike.register import Register
from layer_cache.adapters.aerospike.tenure import Tenure
from layer_cache.ports import Ledger, WarmRecord
from layer_kit.errors import UnavailableError
from layer_kit.names import Namespace

WARM_KEPT_MAX: Final = 4_000
"""Namespaces that stay warm over a restart: as many as surely fit into one record."""

BUCKETS_COUNT: Final = 64
"""Records over which epochs are spread, so that each stays far below the limit of a record."""

_WRITES_MAX: Final = 3

log = structlog.get_logger(__name__)


class _Bucket:
    """The epochs of some namespaces in one record."""

    def __init__(self, register: Register) -> None:
        self._register = register
        self._writing = asyncio.Lock()
        self.epochs: dict[Namespace, int] = {}
        self.unrecorded: set[int] = set()
        """Eras that are not known to be in the record."""

    async def read(self) -> None:
        data = await self._register.read()
        found = {} if data is None else msgspec.msgpack.decode(data, type=dict[Namespace, int])
        for namespace, era in found.items():
            self.epochs[namespace] = max(era, self.epochs.get(namespace, 0))

    async def write(self) -> None:
        async with self._writing:
            for _ in range(_WRITES_MAX):
                written = set(self.unrecorded)
                if await self._register.write(msgspec.msgpack.encode(self.epochs)):
                    self.unrecorded -= written
                    return
                # A late write, of ours or of one that held the rows before. Epochs only rise.
                await self.read()
        raise UnavailableError("STORE_DOWN", "The cache cannot record an epoch.")


class _Farewell(msgspec.Struct, array_like=True):
    """What a process leaves behind that ends as it should."""

    term: int
    evicted: int
    warm: dict[Namespace, WarmRecord]


class AerospikeLedger:
    """Epochs, floor and members of the process that holds the rows.

    What could not be recorded is recorded later, by :meth:`catch_up`. Until then no row is put in
    an era that a start after a crash would not know of.
    """

    def __init__(self, client: Client, set_name: str, tenure: Tenure) -> None:
        self._client = client
        self._tenure = tenure
        self.evicted_count = 0
        self._buckets = [
            _Bucket(Register(client, set_name, f"epochs/{number:02}"))
            for number in range(BUCKETS_COUNT)
        ]
        self._unrecorded_floor = 0
        self._farewell = Register(client, set_name, "farewell")
        self._warm: dict[Namespace, WarmRecord] = {}

    async def open(self, *, evicted_count: int) -> None:
        """Read what was recorded.

        Args:
            evicted_count: How many records the cluster has evicted so far.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """
        self.evicted_count = evicted_count
        await asyncio.gather(*(bucket.read() for bucket in self._buckets))
        data = await self._farewell.read()
        if data is not None:
            farewell = msgspec.msgpack.decode(data, type=_Farewell)
            if farewell.term == self._tenure.released_term and farewell.evicted == evicted_count:
                self._warm = farewell.warm

    def load(self) -> Ledger:
        state = self._tenure.state
        return Ledger(
            floor=state.floor,
            epochs={
                namespace: era
                for bucket in self._buckets
                for namespace, era in bucket.epochs.items()
                if era > state.floor
            },
            member_ids=frozenset(state.member_ids),
            warm=dict(self._warm),
        )

    def vouch(self) -> None:
        self._tenure.vouch()

    def is_recorded(self, era: int) -> bool:
        """Tell whether a start would know of every era up to ``era``."""
        unrecorded = [min(bucket.unrecorded) for bucket in self._buckets if bucket.unrecorded]
        if self._unrecorded_floor:
            unrecorded.append(self._unrecorded_floor)
        return not unrecorded or era < min(unrecorded)

    async def record_epoch(self, namespace: Namespace, era: int) -> None:
        self._tenure.state.era = max(self._tenure.state.era, era)
        bucket = self._buckets[xxhash.xxh3_64_intdigest(namespace.encode()) % BUCKETS_COUNT]
        bucket.epochs[namespace] = era
        bucket.unrecorded.add(era)
        await bucket.write()

    async def record_floor(self, era: int) -> None:
        state = self._tenure.state
        state.era, state.floor = max(state.era, era), era
        self._unrecorded_floor = self._unrecorded_floor or era
        for bucket in self._buckets:
            bucket.epochs.clear()
            bucket.unrecorded.clear()
        await self._tenure.record()
        self._unrecorded_floor = 0

    async def add_member(self, member_id: str) -> None:
        self._tenure.state.member_ids.add(member_id)
        await self._tenure.record()

    async def remove_members(self, member_ids: Iterable[str]) -> None:
        self._tenure.state.member_ids.difference_update(member_ids)
        await self._tenure.record()

    async def record_warm(self, namespace: Namespace, record: WarmRecord) -> None:
        self._warm[namespace] = record

    async def forget_warm(self, namespaces: Iterable[Namespace] | None = None) -> None:
        for namespace in list(self._warm if namespaces is None else namespaces):
            self._warm.pop(namespace, None)

    async def catch_up(self) -> None:
        """Record what could not be recorded. The tenure's record must just have been written.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """
        self._unrecorded_floor = 0
        for bucket in self._buckets:
            if bucket.unrecorded:
                await bucket.write()

    async def close(self) -> None:
        """Let go of the rows, and leave behind which namespaces are warm."""
        warm = dict(islice(self._warm.items(), WARM_KEPT_MAX))
        farewell = _Farewell(self._tenure.state.term, self.evicted_count, warm)
        try:
            await self._farewell.read()
            await self._farewell.write(msgspec.msgpack.encode(farewell))
        except UnavailableError as error:
            log.warning("warmth_not_recorded", error=error.message)
        await self._tenure.release()
        await self._client.close()
