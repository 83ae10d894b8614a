"""A record for things that must not be evicted, changed by compare-and-set alone."""

from __future__ import annotations

from typing import Final

from layer_cache.adapters.aerospike.client import Client
from layer_cache.adapters.aerospike.records import Address

DATA_BIN: Final = "data"


class Register:
    """One record of bytes. A write is refused when it is not based on what was read last.

    It lives for ever, since what expires can be evicted. Its generation only grows as long as the
    record is not deleted, which nobody does; so a write that is late finds another one.
    """

    def __init__(self, client: Client, set_name: str, key: str) -> None:
        self._client = client
        self._address = Address(set_name, key.encode())
        self.generation = 0

    async def read(self) -> bytes | None:
        """Return what is in it, and base the next write on that.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """
        found = await self._client.read_with_generation(self._address)
        bins, self.generation = found if found is not None else ({}, 0)
        return bins.get(DATA_BIN)

    async def write(self, data: bytes) -> bool:
        """Replace what is in it; False when somebody else has, so that it must be read again.

        Raises:
            UnavailableError: ``STORE_DOWN``; it may have been replaced, or may be later.
        """
        generation = await self._client.compare_and_set(
            self._address, {DATA_BIN: data}, self.generation
        )
        if generation is None:
            return False
        self.generation = generation
        return True
