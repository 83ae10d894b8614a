"""Rows in Aerospike: the row store of the process that holds the tenure."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from layer_cache.adapters.aerospike.client import Client
from layer_cache.adapters.aerospike.driver import NAMESPACE_BIN
from layer_cache.adapters.aerospike.facts import Facts
from layer_cache.adapters.aerospike.flights import Flights
from layer_cache.adapters.aerospike.ledger import AerospikeLedger
from layer_cache.adapters.aerospike.places import Places
from layer_cache.adapters.aerospike.records import Bins, Outcome
from layer_cache.adapters.aerospike.tenure import Tenure
from layer_cache.adapters.aerospike.windows import Windows
from layer_cache.domain.limits import CHUNK_ROWS, READ_BYTES_MAX
from layer_cache.domain.rows import Entry, Hits, NewRows, RowKey, Rows, hits_among, namespace_of
from layer_cache.ports import Page, Place, StoreFigures
from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import UnavailableError
from layer_kit.names import Namespace

HEAD_BIN: Final = "head"
BODY_BIN: Final = "attrs"
VECTORS_BIN: Final = "vec"
_HEAD: Final = struct.Struct(">QQQQ")  # life, stamp, era, written_ms
_TTL_MARGIN_S: Final = 1

TIMELY_BYTES_MAX: Final = 8 * 1024 * 1024
"""What a slow network carries well within the time that a call has."""


class AerospikeStore:
    """Entries as records.

    A cluster that is away answers no lookup, takes no row and promises no delete. :meth:`measured`
    is to be told now and then how it is.
    """

    def __init__(
        self,
        client: Client,
        tenure: Tenure,
        ledger: AerospikeLedger,
        places: Places,
        *,
        facts: Facts,
        ttl_s: float,
        now_ms: EpochMilliseconds,
    ) -> None:
        self._client = client
        self._tenure = tenure
        self._ledger = ledger
        self._places = places
        self._ttl_ms = int(ttl_s * 1000)
        self._now_ms = now_ms
        self._flights = Flights()
        self._windows = Windows(client)
        self._take_note(facts)
        self._life = tenure.state.life
        self.is_closed = False
        self._puts_count = 0
        self._lost_through = 0
        self._refused_count = 0
        self._oversize_count = 0

    def rows_at_once(self) -> int:
        return self._rows_at_once

    async def get(self, keys: Sequence[RowKey]) -> list[Entry | None]:
        try:
            return self._entries(await self._read(keys, is_whole=False))
        except UnavailableError:
            return [None] * len(keys)

    def find_now(self, keys: Sequence[RowKey], *, era_min: int, with_vectors: bool) -> Hits | None:
        return None  # it is far

    async def find(self, keys: Sequence[RowKey], *, era_min: int, with_vectors: bool) -> Hits:
        return hits_among(await self.get(keys), era_min=era_min, with_vectors=with_vectors)

    async def put(self, entries: Sequence[tuple[RowKey, Entry]]) -> int:
        last = dict(entries)
        writable = {key: entry for key, entry in last.items() if self._takes(entry)}
        self._refused_count += len(last) - len(writable)
        if not writable or self._is_full or not self._tenure.is_held:
            self._refused_count += len(writable)
            return 0
        stored_count = await self._flights.fly(list(writable), self._put(writable))
        self._refused_count += len(writable) - stored_count
        return stored_count

    async def put_new(self, rows: NewRows, *, era: int, written_ms: int) -> int:
        return await self.put(rows.entries(era=era, written_ms=written_ms))

    async def take(self, keys: Sequence[RowKey]) -> list[Entry | None]:
        found = await self._read(keys, is_whole=True)
        # What does not count is removed as well: the clock may go back.
        present = [key for key, bins in zip(keys, found, strict=True) if bins is not None]
        await self.delete(present)
        return self._entries(found)

    async def delete(self, keys: Sequence[RowKey]) -> None:
        if keys:
            await self._flights.fly(keys, self._delete(keys))
        self._tenure.vouch()

    async def scan(
        self, namespace: Namespace, *, after: Place | None, count_max: int, era_min: int = 0
    ) -> Page:
        keys = await self._keys_after(namespace, after, min(count_max, self.rows_at_once()))
        if not keys:
            self._tenure.vouch()
            return Page(Rows([], []), None)
        found = self._entries(await self._read(keys, is_whole=True))
        rows = Rows(keys, [b"" if entry is None else entry.body for entry in found]).chosen(
            entry is not None and entry.era >= era_min for entry in found
        )
        return Page(rows, Place(keys[-1]))

    def mark(self) -> int:
        return self._puts_count

    def lost_through(self) -> int:
        if self._tenure.state.life != self._life:
            self._life, self._lost_through = self._tenure.state.life, self._puts_count
        return self._lost_through

    def figures(self) -> StoreFigures:
        facts, breaker, sets = self._facts, self._client.breaker, self._own_sets
        return StoreFigures(
            backend="aerospike",
            entry_count=sum(one.records_count for one in sets),
            disk_bytes=sum(one.bytes_used for one in sets),
            disk_bytes_max=facts.bytes_max,
            is_read_only=self._is_full,
            last_error=breaker.last_error or ("stop-writes" if self._is_full else ""),
            refused_count=self._refused_count,
            oversize_count=self._oversize_count,
            is_connected=breaker.is_closed,
            generation=breaker.generation,
        )

    async def recover(self) -> None:
        """Nothing is given up here that would have to be recovered: see :meth:`measured`."""

    def measured(self, facts: Facts) -> None:
        """Take note of how full the cluster is and how it is configured."""
        if facts.evicted_count != self._facts.evicted_count:
            self._lost_through = self._puts_count
        self._take_note(facts)

    def _take_note(self, facts: Facts) -> None:
        self._facts = facts
        self._is_full = facts.stop_writes
        self._own_sets = [one for one in facts.sets if self._places.owns(one.name)]
        sizes = [one.bytes_used // one.records_count for one in self._own_sets if one.records_count]
        self._rows_at_once = max(
            1,
            min(
                CHUNK_ROWS,
                READ_BYTES_MAX // max(1, facts.record_bytes_max),
                TIMELY_BYTES_MAX // max([1, *sizes]),
            ),
        )

    async def close(self) -> None:
        self.is_closed = True
        await self._flights.landed()

    async def _put(self, entries: dict[RowKey, Entry]) -> int:
        life, stamp = self._tenure.state.life, self._tenure.new_stamp()
        self._puts_count += 1
        outcomes = [Outcome.UNKNOWN]
        try:
            for namespace in {namespace_of(key) for key in entries}:
                await self._places.settle(namespace)
            ttl_s = self._ttl_s(entries)
            records = [
                (self._places.address(key), self._bins(key, entry, life, stamp))
                for key, entry in entries.items()
            ]
            outcomes = await self._client.write(records, ttl_s=ttl_s)
        except UnavailableError:
            outcomes = []  # nothing was sent
        finally:
            is_known = Outcome.UNKNOWN not in outcomes
            self._tenure.settle(stamp, is_known=is_known)
            if not is_known:  # it may have replaced, or may yet replace, what counted
                self._lost_through = self._puts_count
        self._is_full = self._is_full or Outcome.FULL in outcomes
        self._oversize_count += outcomes.count(Outcome.TOO_BIG)
        return 0 if Outcome.UNKNOWN in outcomes else outcomes.count(Outcome.DONE)

    async def _delete(self, keys: Sequence[RowKey]) -> None:
        outcomes = await self._client.remove([self._places.address(key) for key in keys])
        if any(outcome not in (Outcome.DONE, Outcome.ABSENT) for outcome in outcomes):
            raise UnavailableError("STORE_DOWN", "Aerospike has not confirmed a delete.")

    def _takes(self, entry: Entry) -> bool:
        if len(entry.body) + len(entry.vectors) > self._facts.record_bytes_max:
            self._oversize_count += 1
            return False
        return self._ledger.is_recorded(entry.era)

    def _ttl_s(self, entries: dict[RowKey, Entry]) -> int | None:
        """Return when Aerospike may drop the records; their exact age is checked on reading."""
        if not self._facts.expires_records:
            return None
        newest_ms = max(entry.written_ms for entry in entries.values())
        left_ms = newest_ms + self._ttl_ms - self._now_ms()
        return max(0, left_ms // 1000) + _TTL_MARGIN_S

    def _bins(self, key: RowKey, entry: Entry, life: int, stamp: int) -> Bins:
        bins: dict[str, bytes | str] = {
            HEAD_BIN: _HEAD.pack(life, stamp, entry.era, entry.written_ms)
        }
        if entry.body:
            bins[BODY_BIN] = entry.body
        if entry.vectors:
            bins[VECTORS_BIN] = bytes(entry.vectors)
        namespace = namespace_of(key)
        if self._places.is_shared(namespace):
            bins[NAMESPACE_BIN] = namespace
        return bins

    async def _read(self, keys: Sequence[RowKey], *, is_whole: bool) -> list[Bins | None]:
        await self._flights.landed(keys)
        self._tenure.vouch()
        addresses = [self._places.address(key) for key in keys]
        found = await self._client.read(addresses, is_whole=is_whole)
        # Again: what was read may be from a cluster that formed anew meanwhile.
        self._tenure.vouch()
        return found

    def _entries(self, found: Sequence[Bins | None]) -> list[Entry | None]:
        oldest_ms = self._now_ms() - self._ttl_ms
        return [self._entry(bins, oldest_ms) for bins in found]

    def _entry(self, bins: Bins | None, oldest_ms: int) -> Entry | None:
        if bins is None or len(head := bins.get(HEAD_BIN, b"")) != _HEAD.size:
            return None
        life, stamp, era, written_ms = _HEAD.unpack(head)
        if written_ms <= oldest_ms or not self._tenure.is_alive(life, stamp):
            return None
        return Entry(era, written_ms, bins.get(BODY_BIN, b""), bins.get(VECTORS_BIN, b""))

    async def _keys_after(
        self, namespace: Namespace, after: Place | None, count_max: int
    ) -> list[RowKey]:
        found = await self._windows.keys_after(
            self._places.set_name(namespace),
            filter_namespace=namespace if self._places.is_shared(namespace) else "",
            after=None if after is None else self._places.address(after.key).key,
            count_max=count_max,
        )
        return [self._places.row_key(namespace, raw) for raw in found]
