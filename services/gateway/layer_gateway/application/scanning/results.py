"""Results of scans as objects: written as they come, read from any place without what precedes.

A result is a list of JSON values in blocks of 1000, some thousands of blocks to an object, and a
table of where each block begins. It is written once, under a key of its own, and the table last.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final

import msgspec

from layer_kit.errors import UpstreamError
from layer_kit.names import Namespace
from layer_objects import ObjectStore
from layer_wire.jsontext import encode

BLOCK_ITEMS: Final = 1000
OBJECT_BYTES: Final = 8 * 1024 * 1024
TABLES_REMEMBERED_MAX: Final = 32


class _Table(msgspec.Struct, frozen=True):
    """Where everything is."""

    count: int
    """Items in all."""
    objects: list[list[int]]
    """For each object where its blocks begin, and where the last one ends."""


_TABLE: Final[msgspec.json.Decoder[_Table]] = msgspec.json.Decoder(_Table)
_ITEMS: Final[msgspec.json.Decoder[list[Any]]] = msgspec.json.Decoder(list[Any])


class ResultWriter:
    """Writes one result; :meth:`finish` makes it readable."""

    def __init__(self, objects: ObjectStore, prefix: str) -> None:
        self._objects = objects
        self._prefix = prefix
        self._items: list[object] = []
        self._body = bytearray()
        self._starts = [0]
        self._count = 0
        self._table: list[list[int]] = []

    async def add(self, items: Iterable[object]) -> None:
        """Append items, each of which has a form in JSON.

        Raises:
            LayerError: The object store's.
        """
        self._items += items
        whole_count = len(self._items) - len(self._items) % BLOCK_ITEMS
        for start in range(0, whole_count, BLOCK_ITEMS):
            await self._add_block(self._items[start : start + BLOCK_ITEMS])
        del self._items[:whole_count]

    async def finish(self) -> int:
        """Write what is left and the table; return the number of items. Errors as for ``add``."""
        if self._items:
            await self._add_block(self._items)
        await self._put_object()
        table = encode(_Table(self._count, self._table))
        await self._objects.put(_table_key(self._prefix), table, content_type="application/json")
        return self._count

    async def _add_block(self, items: Sequence[object]) -> None:
        self._body += encode(items)
        self._count += len(items)
        self._starts.append(len(self._body))
        if len(self._body) >= OBJECT_BYTES:
            await self._put_object()

    async def _put_object(self) -> None:
        if not self._body:
            return
        key = _object_key(self._prefix, len(self._table))
        await self._objects.put(key, bytes(self._body), content_type="application/json")
        self._table.append(self._starts)
        self._body, self._starts = bytearray(), [0]


class Results:
    """Reads results, and deletes them."""

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects
        self._tables: OrderedDict[str, _Table] = OrderedDict()

    def writer(self, prefix: str) -> ResultWriter:
        return ResultWriter(self.objects, prefix)

    async def page(self, prefix: str, offset: int, limit: int) -> tuple[list[Any], int]:
        """Return up to ``limit`` items from ``offset`` on, and the number of all.

        Raises:
            UpstreamError: ``RESULT_UNREADABLE`` when a part of it is gone, or the object store's.
        """
        table = await self._table(prefix)
        end = min(offset + limit, table.count)
        if offset >= end:
            return [], table.count
        first, last = offset // BLOCK_ITEMS, (end - 1) // BLOCK_ITEMS
        items: list[Any] = []
        async for blocks in self._blocks(prefix, table, first, last):
            items += blocks
        start = offset - first * BLOCK_ITEMS
        return items[start : start + end - offset], table.count

    async def delete(self, prefix: str) -> None:
        """Delete a result, or what there is of it; errors are the object store's."""
        self._tables.pop(prefix, None)
        await self.objects.delete_prefix(prefix)

    async def delete_job(self, namespace: Namespace, job_id: str) -> None:
        """Delete everything that a job has left; errors are the object store's."""
        await self.delete(job_folder(namespace, job_id))

    async def _table(self, prefix: str) -> _Table:
        table = self._tables.get(prefix)
        if table is None:
            found = await self.objects.get(_table_key(prefix))
            if found is None:
                raise _unreadable(prefix, "it is gone")
            try:
                table = _TABLE.decode(found.body)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise _unreadable(prefix, str(error)) from error
            self._tables[prefix] = table
            if len(self._tables) > TABLES_REMEMBERED_MAX:
                self._tables.popitem(last=False)
        return table

    async def _blocks(
        self, prefix: str, table: _Table, first: int, last: int
    ) -> AsyncIterator[list[Any]]:
        """Yield the items of some blocks, those of one object at a time in one read."""
        begins = 0
        for number, starts in enumerate(table.objects):
            ends = begins + len(starts) - 1
            low, high = max(first, begins) - begins, min(last + 1, ends) - begins
            if low < high:
                start, length = starts[low], starts[high] - starts[low]
                body = await self.objects.get_range(_object_key(prefix, number), start, length)
                for at in range(low, high):
                    block = body[starts[at] - start : starts[at + 1] - start]
                    try:
                        yield _ITEMS.decode(block)
                    except (msgspec.DecodeError, UnicodeDecodeError) as error:
                        raise _unreadable(prefix, str(error)) from error
            begins = ends


def job_folder(namespace: Namespace, job_id: str) -> str:
    """Return where everything is that a job leaves."""
    return f"scan-results/{namespace}/{job_id}/"


def _table_key(prefix: str) -> str:
    return f"{prefix}table.json"


def _object_key(prefix: str, number: int) -> str:
    return f"{prefix}{number:06}.json"


def _unreadable(prefix: str, problem: str) -> UpstreamError:
    return UpstreamError(
        "RESULT_UNREADABLE", f"The result at {prefix} is not readable: {problem}.", prefix=prefix
    )
