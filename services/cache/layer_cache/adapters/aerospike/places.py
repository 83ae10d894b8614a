"""Which set the rows of a namespace are in.

A server keeps at most 4,095 sets for each of its namespaces (1,023 in old versions), and never lets
go of the name of one. So the first namespaces get a set of their own, as ``<prefix><namespace>``;
those after ``own_sets_max``, and those whose name is too long for a set's, share a fixed number of
sets.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
import xxhash

from layer_cache.adapters.aerospike.client import SET_NAME_LENGTH_MAX, Client
from layer_cache.adapters.aerospike.records import Address
from layer_cache.adapters.aerospike.register import Register
from layer_cache.domain.rows import RowKey, id_of, namespace_of, namespace_prefix
from layer_kit.names import Namespace

SHARED_SETS_COUNT: Final = 64
_WRITES_MAX: Final = 3


class Places:
    """The namespaces that have a set of their own; once given, a set is never taken back."""

    def __init__(self, client: Client, set_name: str, *, prefix: str, own_sets_max: int) -> None:
        self._register = Register(client, set_name, "places")
        self.prefix = prefix
        self._own_sets_max = own_sets_max
        self._own: dict[Namespace, str] = {}
        self._unrecorded: set[Namespace] = set()
        self._writing = asyncio.Lock()

    async def open(self) -> None:
        """Read what was recorded.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """
        data = await self._register.read()
        for namespace in [] if data is None else msgspec.msgpack.decode(data, type=list[Namespace]):
            self._own[namespace] = self.prefix + namespace

    def is_shared(self, namespace: Namespace) -> bool:
        return self._set_of(namespace) is None

    def set_name(self, namespace: Namespace) -> str:
        """Return the set that the namespace has, or would get."""
        own = self._set_of(namespace)
        if own is not None:
            return own
        number = xxhash.xxh3_64_intdigest(namespace.encode()) % SHARED_SETS_COUNT
        return f"{self.prefix}+{number:02}"

    def owns(self, set_name: str) -> bool:
        """Tell whether a set is one of these."""
        rest = set_name.removeprefix(self.prefix)
        return set_name.startswith(self.prefix) and (rest[:1] != "+" or rest[1:].isdigit())

    def address(self, key: RowKey) -> Address:
        """Return where the row is, or would be put."""
        namespace = namespace_of(key)
        raw = key if self.is_shared(namespace) else id_of(key)
        return Address(self.set_name(namespace), raw)

    def row_key(self, namespace: Namespace, raw: bytes) -> RowKey:
        """Return the key of the row in a record."""
        return RowKey(raw if self.is_shared(namespace) else namespace_prefix(namespace) + raw)

    async def settle(self, namespace: Namespace) -> None:
        """Give the namespace its set for good; to be called before a row is put.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """
        if self._set_of(namespace) is not None and namespace not in self._own:
            self._own[namespace] = self.prefix + namespace
            self._unrecorded.add(namespace)
        if namespace in self._unrecorded:
            async with self._writing:
                await self._record()

    async def _record(self) -> None:
        for _ in range(_WRITES_MAX):
            written = set(self._unrecorded)
            if await self._register.write(msgspec.msgpack.encode(sorted(self._own))):
                self._unrecorded -= written
                return
            await self.open()

    def _set_of(self, namespace: Namespace) -> str | None:
        if (own := self._own.get(namespace)) is not None:
            return own
        name = self.prefix + namespace
        has_room = len(self._own) < self._own_sets_max
        return name if has_room and len(name) <= SET_NAME_LENGTH_MAX else None
