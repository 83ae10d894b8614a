"""The right to write rows: held by one process, provably, whatever is delayed on the network.

The order that keeps the cache's promise is in the memory of one process, so a second one must not
serve the same rows. And a put that was held up on its way must not bring an old row back, not even
after its sender is gone. Neither can rest on good behaviour:

- *Who holds it* stands in one record, changed by compare-and-set. The holder renews it four times
  a second, and vouches for nothing that it says later than ``TENURE_S`` after it sent the last
  answered renewal. Another process takes over when it has seen the record unchanged for longer,
  and its own compare-and-set then fails if a renewal was on its way after all.
- *Stamps.* Each put carries a number that is never used again. A put whose outcome is not known is
  *dead*: an entry with its stamp counts as absent, whenever it may appear. What is dead is in the
  record, together with the *horizon*: every stamp below it has landed or is dead. Whoever takes
  over from a process that did not say goodbye *cuts* what that one put at or beyond its horizon.
- *Life.* Entries carry the number of a life. A new life voids them all at once. It begins when the
  record is gone, when too much would have to be remembered, and whenever the cluster has formed
  anew: a node that restarts may bring deleted records back, and so may one that returns.

The last point assumes that a node takes longer than ``TENURE_S`` to stop and serve again; a server
needs that long to find its cluster.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from layer_cache.adapters.aerospike.client import Client
from layer_cache.adapters.aerospike.register import Register
from layer_kit.clock import Monotonic
from layer_kit.errors import UnavailableError

log = structlog.get_logger(__name__)

TENURE_S: Final = 1.0
RENEW_INTERVAL_S: Final = 0.25
TAKEOVER_S: Final = 1.5
"""How long a record must stand unchanged before its holder is taken to be gone."""

LOOK_INTERVAL_S: Final = 0.25
STAMP_BITS: Final = 40
DEAD_STAMPS_MAX: Final = 4096
CUTS_MAX: Final = 64


class State(msgspec.Struct, kw_only=True):
    """What the record holds."""

    life: int
    term: int
    """One more for each process that took over."""

    holder: str
    formation: str
    """Which forming of the cluster the entries are from."""

    is_released: bool = False
    """Whether the holder has gone, with every put of its answered."""

    horizon: int = 0
    dead: set[int] = msgspec.field(default_factory=set)
    cuts: list[tuple[int, int]] = msgspec.field(default_factory=list)
    era: int = 0
    """The highest that the ledger was told to record."""

    floor: int = 0
    member_ids: set[str] = msgspec.field(default_factory=set)


class Tenure:
    """This process's hold on the rows."""

    def __init__(
        self,
        client: Client,
        set_name: str,
        *,
        clock: Monotonic,
        on_loss: Callable[[], object],
    ) -> None:
        self._client = client
        self._register = Register(client, set_name, "tenure")
        self._clock = clock
        self._on_loss = on_loss
        self._holder = secrets.token_hex(8)
        self._until_s = -math.inf
        self._writing = asyncio.Lock()
        self._sequence = 0
        self._landing: set[int] = set()
        self.is_lost = False
        self.released_term = 0
        """The term of the process before, if it left everything behind as it was."""

        self.state = State(life=0, term=0, holder=self._holder, formation="")

    @property
    def is_held(self) -> bool:
        return self._clock() < self._until_s

    def vouch(self) -> None:
        """Check that no other process can have taken over yet.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """
        if not self.is_held:
            raise UnavailableError("STORE_DOWN", "The cache does not hold its Aerospike rows now.")

    async def take(self) -> None:
        """Wait until nobody else holds the rows, then hold them.

        Waits as long as it takes, also for a cluster that cannot be reached.
        """
        seen_generation, seen_s = 0, math.inf
        while True:
            try:
                if await self._try_to_take(seen_generation, seen_s):
                    return
                if seen_generation != self._register.generation:
                    seen_generation, seen_s = self._register.generation, self._clock()
                    log.info("waiting_for_tenure", generation=seen_generation)
            except UnavailableError as error:
                log.warning("aerospike_unreachable", error=error.message)
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def _try_to_take(self, seen_generation: int, seen_s: float) -> bool:
        sent_s = self._clock()
        formation = await self._client.formation()
        found = _decode(await self._register.read())
        is_silent = self._register.generation == seen_generation and sent_s >= seen_s + TAKEOVER_S
        if found is not None and not found.is_released and not is_silent:
            return False
        state = _successor(found, self._holder, formation)
        if not await self._register.write(msgspec.msgpack.encode(state)):
            return False
        if found is not None and found.is_released and found.life == state.life:
            self.released_term = found.term
        self.state = state
        self._until_s = sent_s + TENURE_S
        log.info("tenure_taken", term=state.term, life=state.life)
        return True

    async def renew(self) -> None:
        """Hold on for another while; to be called every ``RENEW_INTERVAL_S``.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """
        if self.state.is_released:
            return
        sent_s = self._clock()
        formation = await self._client.formation()
        if formation != self.state.formation:
            log.warning("cluster_formed_anew", formation=formation)
            self.begin_life()
            self.state.formation = formation
        await self.record()
        self._until_s = sent_s + TENURE_S

    async def record(self) -> None:
        """Write the state. What a failure leaves unwritten, the next renewal writes.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """
        async with self._writing:
            for _ in range(2):
                if self.is_lost:
                    break
                self.state.horizon = min(self._landing, default=self._next_stamp)
                if await self._register.write(msgspec.msgpack.encode(self.state)):
                    return
                # Nobody else, if it was a write of ours that had seemed to fail.
                self._check_holder(_decode(await self._register.read()))
        raise UnavailableError("STORE_DOWN", "The cache does not hold its Aerospike rows now.")

    async def release(self) -> None:
        """Let go, so that a successor need not wait. Every put must have been answered."""
        self.state.is_released = True
        try:
            await self.record()
        except UnavailableError as error:
            log.warning("tenure_not_released", error=error.message)
        self._until_s = -math.inf

    def new_stamp(self) -> int:
        """Return a number for a put that begins now; :meth:`settle` ends it."""
        stamp = self._next_stamp
        self._sequence += 1
        self._landing.add(stamp)
        return stamp

    def settle(self, stamp: int, *, is_known: bool) -> None:
        """Say that the outcome of a put is known, or will never be."""
        if not is_known:
            self.state.dead.add(stamp)
            if len(self.state.dead) > DEAD_STAMPS_MAX:
                self.begin_life()
        self._landing.discard(stamp)

    def begin_life(self) -> None:
        """Void every entry. Eras go on above all that were used, should the ledger be lost."""
        self.state.life = _new_life()
        self.state.floor = max(self.state.floor, self.state.era)
        self.state.dead.clear()
        self.state.cuts.clear()

    def is_alive(self, life: int, stamp: int) -> bool:
        """Tell whether an entry counts."""
        return (
            life == self.state.life
            and stamp not in self.state.dead
            and not any(first <= stamp < end for first, end in self.state.cuts)
        )

    @property
    def _next_stamp(self) -> int:
        return (self.state.term << STAMP_BITS) + self._sequence

    def _check_holder(self, found: State | None) -> None:
        if found is None:
            # Lost or deleted, and what else was is not known.
            self.begin_life()
        elif (found.holder, found.term) != (self._holder, self.state.term):
            self.is_lost = True
            self._until_s = -math.inf
            if not self.state.is_released:
                log.error("tenure_lost", holder=found.holder, term=found.term)
                self._on_loss()


def _successor(found: State | None, holder: str, formation: str) -> State:
    if found is None:
        return State(life=_new_life(), term=1, holder=holder, formation=formation)
    state = msgspec.structs.replace(
        found, term=found.term + 1, holder=holder, formation=formation, is_released=False
    )
    if not found.is_released:
        state.cuts.append((found.horizon, (found.term + 1) << STAMP_BITS))
    if found.formation != formation or len(state.cuts) > CUTS_MAX:
        state.life = _new_life()
        state.floor = max(state.floor, state.era)
        state.dead.clear()
        state.cuts.clear()
    return state


def _decode(data: bytes | None) -> State | None:
    return None if data is None else msgspec.msgpack.decode(data, type=State)


def _new_life() -> int:
    return secrets.randbits(63)
