"""Lookups over a stream of grpc: each is answered as soon as it can be, and fails by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from layer.cache.v1 import cache_pb2
from layer_cache.rpc.lookups_in_hand import IN_HAND_MAX, LookUp, LookupsInHand


class LookupStream:
    """One open stream.

    Args:
        draining: Set when the process is about to stop. No further lookup is read then, or the
            stop would wait for a stream that never ends.
    """

    def __init__(self, look_up: LookUp, draining: asyncio.Event) -> None:
        self._draining = draining
        self._room = asyncio.Semaphore(IN_HAND_MAX)
        self._has_news = asyncio.Event()
        self._has_sent = asyncio.Event()
        self._in_hand = LookupsInHand(look_up, self._has_news.set)

    async def answers(
        self, requests: AsyncIterator[cache_pb2.StreamLookupsRequest]
    ) -> AsyncIterator[cache_pb2.StreamLookupsResponse]:
        """Yield answers until ``requests`` end, or the process drains, and all are answered."""
        reading = asyncio.create_task(self._read(requests))
        reading.add_done_callback(lambda _: self._has_news.set())
        drained = asyncio.create_task(self._draining.wait())
        drained.add_done_callback(lambda _: reading.cancel())
        try:
            while self._in_hand.count or not reading.done():
                await self._has_news.wait()
                self._has_news.clear()
                while self._in_hand.has_answers:
                    message = self._in_hand.message()
                    yield message
                    for _ in message.answers:
                        self._room.release()
                    self._has_sent.set()
            if not reading.cancelled():
                reading.result()
        finally:
            drained.cancel()
            reading.cancel()
            # What they raise on their way out is nobody's any more, but it has been seen.
            await asyncio.gather(reading, drained, *self._in_hand.cancel(), return_exceptions=True)

    async def _read(self, requests: AsyncIterator[cache_pb2.StreamLookupsRequest]) -> None:
        async for request in requests:
            for numbered in request.lookups:
                await self._room.acquire()
                while not self._in_hand.has_room:
                    self._has_sent.clear()
                    await self._has_sent.wait()
                self._in_hand.begin(numbered)
                if self._in_hand.has_answers:
                    self._has_news.set()
