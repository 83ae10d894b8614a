"""Near copies of what lives in the object store: put, got, listed and dropped by scope."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from layer_cache.application.pauses import give_way
from layer_cache.application.steps import live_rows
from layer_cache.application.writes import Writes
from layer_cache.domain.limits import (
    LOOKUP_BYTES_MAX,
    SCAN_PAGE_BYTES_MAX,
    SCAN_PAGE_SIZE_DEFAULT,
    SCAN_PAGE_SIZE_MAX,
)
from layer_cache.domain.records import check_key, record_keys, unexpired, with_expiry
from layer_cache.domain.rows import Entry, RowKey, id_of, namespace_prefix
from layer_cache.ports import RowStore
from layer_kit.clock import EpochMilliseconds
from layer_kit.names import Namespace


@dataclass(slots=True, kw_only=True)
class FoundRecords:
    """What was found: parallel lists of positions, values and sizes."""

    positions: list[int] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    sizes_bytes: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Keeps records in a store of their own, by the names of shelves instead of namespaces."""

    store: RowStore
    writes: Writes
    ttl_ms: int
    wall_ms: EpochMilliseconds

    async def put(
        self, shelf: Namespace, keys: Sequence[bytes], values: Sequence[bytes], *, ttl_ms: int
    ) -> int:
        """Store records; return how many were kept.

        Args:
            ttl_ms: 0 means as long as rows are kept.

        Raises:
            InvalidRequestError: ``TOO_MANY_KEYS``, ``KEY_INVALID``.
            UnavailableError: ``STORE_DOWN``.
        """
        full_keys, now_ms = record_keys(shelf, keys), self.wall_ms()
        expires_ms = now_ms + (ttl_ms or self.ttl_ms)
        era = self.writes.order.eras.current
        stored_count = 0
        for key, value in zip(full_keys, values, strict=True):
            # A refused put would leave what was there, which the caller takes for replaced.
            await self.store.take([key])
            entry = Entry(era, now_ms, with_expiry(value, expires_ms), b"")
            stored_count += await self.store.put([(key, entry)])
            await give_way()
        return stored_count

    async def get(
        self, shelf: Namespace, keys: Sequence[bytes], *, sizes_only: bool
    ) -> FoundRecords:
        """Find records, until their values would exceed ``LOOKUP_BYTES_MAX``.

        Raises:
            InvalidRequestError: ``TOO_MANY_KEYS``, ``KEY_INVALID``.
        """
        found, now_ms, total_bytes = FoundRecords(), self.wall_ms(), 0
        for position, key in enumerate(record_keys(shelf, keys)):
            value = self._value(shelf, (await self.store.get([key]))[0], now_ms)
            if value is None:
                continue
            total_bytes += 0 if sizes_only else len(value)
            if total_bytes > LOOKUP_BYTES_MAX:
                break
            found.positions.append(position)
            found.values.append(b"" if sizes_only else bytes(value))
            found.sizes_bytes.append(len(value))
            await give_way()
        return found

    async def delete(self, shelf: Namespace, keys: Sequence[bytes]) -> None:
        """Remove records.

        Raises:
            InvalidRequestError: ``TOO_MANY_KEYS``, ``KEY_INVALID``.
            UnavailableError: ``STORE_DOWN``.
        """
        await self.store.delete(record_keys(shelf, keys))

    async def list(
        self, shelf: Namespace, *, key_prefix: bytes, page_size: int, keys_only: bool
    ) -> AsyncIterator[tuple[list[bytes], list[bytes]]]:
        """Yield pages of keys and values in order of key.

        Raises:
            InvalidRequestError: ``KEY_INVALID``.
            UnavailableError: ``STORE_DOWN``.
        """
        check_key(key_prefix, is_prefix=True)
        size = min(page_size or SCAN_PAGE_SIZE_DEFAULT, SCAN_PAGE_SIZE_MAX)
        keys: list[bytes] = []
        values: list[bytes] = []
        page_bytes = 0
        async for key, value in self._from(shelf, key_prefix):
            keys.append(id_of(key))
            values.append(b"" if keys_only else bytes(value))
            page_bytes += len(values[-1])
            if len(keys) == size or page_bytes >= SCAN_PAGE_BYTES_MAX:
                yield keys, values
                keys, values, page_bytes = [], [], 0
        if keys:
            yield keys, values

    async def drop(self, shelf: Namespace) -> None:
        """Void every record of a shelf.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """
        await self.writes.void_namespace(shelf)

    async def _from(
        self, shelf: Namespace, key_prefix: bytes
    ) -> AsyncIterator[tuple[RowKey, memoryview]]:
        """Yield what there is from ``key_prefix`` on, as far as keys start with it."""
        prefix = RowKey(namespace_prefix(shelf) + key_prefix)
        for entry in await self.store.get([prefix]):  # a scan begins behind the key it is given
            if (value := self._value(shelf, entry, self.wall_ms())) is not None:
                yield prefix, value
        async for rows in live_rows(self.store, self.writes.order.eras, shelf, after=prefix):
            now_ms = self.wall_ms()
            for key, stored in rows:
                if not key.startswith(prefix):
                    return
                if (value := unexpired(stored, now_ms)) is not None:
                    yield key, value

    def _value(self, shelf: Namespace, entry: Entry | None, now_ms: int) -> memoryview | None:
        if entry is None or entry.era < self.writes.order.eras.epoch(shelf):
            return None
        return unexpired(entry.body, now_ms)
