"""What goes wrong while a program runs, one thing after the other, each for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.chaos.faults import CacheProcess, Link
from tests.chaos.replicas import Replica

OPERATIONS_PER_LINK_FAULT: Final = 100
OPERATIONS_PER_PROCESS_FAULT: Final = 350
LOOKUP_LINKS_SHARE: Final = 0.2
POLL_S: Final = 0.02


@dataclass(slots=True, kw_only=True)
class Breakdowns:
    """Breaks links, the cache and gateways, in the order and for the time that chance has it.

    Args:
        lease_s: Spans are made from it, so that some are shorter and some are longer.
        replicas: The gateways there are now.
        replace: Lets one of them die and another one join.
        operations_count: Tells how many operations have begun.
        tell: Takes each beginning and end, for the history.
    """

    random: Random
    lease_s: float
    caches: Sequence[CacheProcess]
    replicas: Sequence[Replica]
    replace: Callable[[], Awaitable[None]]
    operations_count: Callable[[], int]
    tell: Callable[[str], None]
    counts: dict[str, int] = field(default_factory=dict)
    """How often each kind happened."""
    _is_over: bool = False

    def end(self) -> None:
        """Begin no more; what is broken now is mended in its time."""
        self._is_over = True

    async def links(self) -> None:
        """Break links until the end."""
        kinds = (self._hold, self._delay, self._cut, self._refuse)
        await self._go_wrong(kinds, OPERATIONS_PER_LINK_FAULT)

    async def processes(self) -> None:
        """Break the cache and gateways until the end."""
        kinds = [self._stop_cache, self._kill_cache, self._wipe_cache, self._replace_replica]
        if any(cache.store.can_fail for cache in self.caches):
            kinds.append(self._break_store)
        await self._go_wrong(kinds, OPERATIONS_PER_PROCESS_FAULT)

    async def _go_wrong(
        self, kinds: Sequence[Callable[[], Awaitable[None]]], operations_between: int
    ) -> None:
        """Let one of ``kinds`` after the other happen, each after some operations without."""
        while not self._is_over:
            before = self.operations_count()
            while self.operations_count() < before + operations_between:
                await asyncio.sleep(POLL_S)
                if self._is_over:
                    return
            fault = self.random.choice(kinds)
            name = fault.__name__.removeprefix("_")
            self.counts[name] = self.counts.get(name, 0) + 1
            self.tell(f"fault: {name}")
            await fault()
            self.tell(f"fault over: {name}")

    def _some_link(self) -> Link:
        replica = self.random.choice(self.replicas)
        # Writes cannot be announced over a broken link, which puts more to the test than lookups.
        is_of_lookups = self.random.random() < LOOKUP_LINKS_SHARE
        return self.random.choice(replica.lookup_links if is_of_lookups else replica.links)

    def _some_s(self) -> float:
        """Return a span that is shorter than a lease, or now and then longer."""
        return self.random.choice((0.2, 0.5, 0.8, 1.2, 2.5)) * self.lease_s

    async def _hold(self) -> None:
        """Hold up one direction, or both, and let it go on or break it off afterwards."""
        link = self._some_link()
        valves = self.random.choice(
            ([link.requests], [link.answers], [link.requests, link.answers])
        )
        for valve in valves:
            valve.hold()
        await asyncio.sleep(self._some_s())
        if self.random.random() < 0.3:
            await link.cut()
        for valve in valves:
            valve.release()

    async def _delay(self) -> None:
        link = self._some_link()
        link.requests.delay_s = self.random.uniform(0.0, 0.1)
        link.answers.delay_s = self.random.uniform(0.0, 0.1)
        await asyncio.sleep(self._some_s())
        link.requests.delay_s = link.answers.delay_s = 0.0

    async def _cut(self) -> None:
        await self._some_link().cut()

    async def _refuse(self) -> None:
        link = self._some_link()
        link.is_refusing = True
        await link.cut()
        await asyncio.sleep(self._some_s())
        link.is_refusing = False

    async def _stop_cache(self) -> None:
        async with self.random.choice(self.caches).stopped():
            await asyncio.sleep(self._some_s())

    async def _kill_cache(self) -> None:
        cache = self.random.choice(self.caches)
        await cache.kill()
        await cache.start()

    async def _wipe_cache(self) -> None:
        cache = self.random.choice(self.caches)
        await cache.kill()
        cache.store.wipe()
        await cache.start()

    async def _break_store(self) -> None:
        store = self.random.choice(self.caches).store
        await store.fail(self.random, self._some_s())

    async def _replace_replica(self) -> None:
        await self.replace()
