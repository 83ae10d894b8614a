"""Upstream, gateways and the network around the cache, as a state machine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar, cast

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from prometheus_client import CollectorRegistry

from layer_cache.adapters.memory import MemoryLedger, MemoryStore
from layer_cache.application.found import Projection
from layer_cache.application.sessions import DirtySet
from layer_cache.application.writes import Settlement
from layer_cache.bootstrap import build
from layer_cache.domain.fences import FenceName
from layer_cache.domain.limits import Limits
from layer_cache.domain.members import OPENING_NUMBER
from layer_cache.domain.rows import id_of
from layer_cache.settings import CacheSettings
from layer_cache_testing.gateways import (
    BOOKS,
    Gateway,
    Row,
    Write,
    a_part,
    keys,
    settlement,
)
from layer_kit.errors import LayerError

Result = TypeVar("Result")

IDS: Final = (b"u1", b"u2")
GATEWAYS_COUNT: Final = 2
ROW: Final = ("put", "patched")
"""Two attributes, whose values are the versions of the writes that set them."""

FENCE_TTL_S: Final = 5.0
SETTINGS: Final = CacheSettings(backend="memory")
FATES: Final = st.sampled_from(["answered"] * 5 + ["slow", "answer_lost", "lost", "delayed"])
KINDS: Final = st.sampled_from(["put", "put", "patch", "delete", "conditional", "by_filter"])
PAUSES_S: Final = st.sampled_from([0.05, 0.3, 0.7, 1.5, 2.5, 2.5, 5.5, 33.0])
TROUBLES: Final = st.sampled_from(["cut", "cut", "mend", "mend", "restart", "die", "close"])
RENEWAL_INTERVAL_S: Final = 0.6
PICK: Final = st.integers(0, 50)


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine that waits for nothing but its next turn."""
    try:
        while True:
            coroutine.send(None)
    except StopIteration as stop:
        return cast("Result", stop.value)


class World(RuleBasedStateMachine):
    """Upstream, gateways, network, clock, and the cache under test."""

    @initialize()
    def start(self) -> None:
        self.now_s = 1000.0
        self.store = MemoryStore(
            bytes_max=10**6, ttl_s=10**6, now_ms=lambda: int(self.now_s * 1000)
        )
        self.ledger = MemoryLedger()
        self.counter = 0
        self.upstream: dict[bytes, Row] = {}
        self.history: dict[bytes, dict[int, Row]] = {row_id: {} for row_id in IDS}
        self.acknowledged: dict[bytes, Row] = {row_id: dict.fromkeys(ROW, 0) for row_id in IDS}
        self.gateways = [Gateway(f"gateway-{number}") for number in range(GATEWAYS_COUNT)]
        self.writes: list[Write] = []
        self.backfills: list[tuple[bytes, dict[bytes, Row]]] = []
        self.in_transit: list[Callable[[], object]] = []
        self.restart()
        for gateway in self.gateways:
            self._open(gateway, "answered")
        self.write(0, "put", set(IDS), "answered", "answered", reaches="end")

    def restart(self) -> None:
        self.cache = build(
            self.store,
            self.ledger,
            SETTINGS,
            CollectorRegistry(),
            records=self.store,
            clock=lambda: self.now_s,
            wall_ms=lambda: int(self.now_s * 1000),
            limits=Limits(touched_ids_max=8, hidden_bytes_max=60, epochs_max=1),
            draining=asyncio.Event(),
        )

    @rule(seconds=PAUSES_S)
    def wait(self, seconds: float) -> None:
        """Time passes; gateways that can reach the cache keep their membership."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s = min(end_s, self.now_s + RENEWAL_INTERVAL_S)
            run(self.cache.sessions.advance())
            for gateway in self.gateways:
                self._keep_up(gateway)

    @rule(seconds=st.sampled_from([0.3, 0.7, 1.5]))
    def wait_while_nobody_renews(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(pick=PICK, trouble=TROUBLES)
    def have_trouble(self, pick: int, trouble: str) -> None:
        index = pick % GATEWAYS_COUNT
        gateway = self.gateways[index]
        is_busy = any(write.gateway is gateway for write in self.writes) or gateway.unfenced
        if trouble == "restart":
            self.restart()
        elif trouble == "die" or (trouble == "close" and not is_busy):
            if trouble == "close" and gateway.session_id:
                run(self.cache.sessions.close(gateway.session_id))
            gateway.is_dead = True
            self.counter += 1
            self.gateways[index] = Gateway(f"gateway-{self.counter}")
        else:
            if trouble == "cut":
                self._renew(gateway, "delayed")
            gateway.is_cut_off = trouble == "cut"

    def _call(self, gateway: Gateway, call: Callable[[], Result], fate: str) -> Result | None:
        """Make a call meet its fate; None means that the caller got no answer, or a refusal."""
        if fate == "lost" or (gateway.is_cut_off and fate != "delayed"):
            return None
        if fate == "delayed":
            self.in_transit.append(call)
            return None
        if fate == "slow":
            self.now_s += 0.4
        try:
            result = call()
        except LayerError:
            return None
        if fate == "slow":
            self.now_s += 0.2
        return None if fate == "answer_lost" else result

    @precondition(lambda self: self.in_transit)
    @rule(pick=PICK, is_repeated=st.booleans())
    def deliver(self, pick: int, *, is_repeated: bool) -> None:
        index = pick % len(self.in_transit)
        call = self.in_transit[index] if is_repeated else self.in_transit.pop(index)
        with contextlib.suppress(LayerError):
            call()

    @rule(pick=PICK, fate=FATES, is_opening=st.booleans())
    def talk(self, pick: int, fate: str, *, is_opening: bool) -> None:
        (self._open if is_opening else self._renew)(self._gateway(pick), fate)

    def _open(self, gateway: Gateway, fate: str) -> None:
        replayed = [write for write in gateway.unfenced if write.is_applied]
        dirty = DirtySet(
            keys=[key for write in gateway.unfenced for key in keys(write.ids)],
            namespaces=[BOOKS] * any(write.kind == "by_filter" for write in gateway.unfenced),
        )
        sent_s = gateway.last_sent_s = self.now_s
        session_id = self._call(
            gateway, lambda: run(self.cache.sessions.open(gateway.member_id, dirty)), fate
        )
        if session_id is None:
            return
        gateway.session_id, gateway.is_confirmed, gateway.has_joined = session_id, False, True
        gateway.answered_number, gateway.answered_sent_s = OPENING_NUMBER, sent_s
        gateway.round_trip_s = self.now_s - sent_s
        gateway.unfenced = [write for write in gateway.unfenced if write not in replayed]

    def _renew(self, gateway: Gateway, fate: str) -> None:
        owes = any(write.is_applied for write in gateway.unfenced)
        if gateway.session_id is None or (owes and not gateway.is_confirmed):
            return
        session_id, number = gateway.session_id, gateway.answered_number
        sent_s = gateway.last_sent_s = self.now_s
        elapsed_s = sent_s - gateway.answered_sent_s
        renewal = self._call(
            gateway,
            lambda: self.cache.sessions.renew(
                session_id, answered_number=number, elapsed_s=elapsed_s
            ),
            fate,
        )
        if renewal is None:
            if fate in ("answered", "slow") and not gateway.is_cut_off:
                gateway.session_id = None
            return
        gateway.is_confirmed = True
        gateway.answered_number, gateway.answered_sent_s = renewal, sent_s
        gateway.round_trip_s = self.now_s - sent_s

    def _keep_up(self, gateway: Gateway) -> None:
        """Do what a gateway does by itself, with a network that behaves."""
        for _ in range(2):
            if gateway.session_id is None:
                self._open(gateway, "answered")
            for write in list(gateway.unfenced):
                if write.is_applied:
                    self._finish(write, "answered")
            self._renew(gateway, "answered")
            if gateway.session_id is not None:
                return

    @rule(
        pick=PICK,
        kind=KINDS,
        ids=st.sets(st.sampled_from(IDS), min_size=1),
        fence_fate=FATES,
        settle_fate=FATES,
        reaches=st.sampled_from(["fence", "store", "end"]),
    )
    def write(
        self,
        pick: int,
        kind: str,
        ids: set[bytes],
        fence_fate: str,
        settle_fate: str,
        *,
        reaches: str,
    ) -> None:
        """Begin a write and take it some way, often to its end."""
        gateway = self._gateway(pick)
        if not gateway.has_joined:
            return
        write = self._new_write(gateway, kind, list(IDS) if kind == "by_filter" else sorted(ids))
        write.is_fenced = self._fence(write, fence_fate)
        if not write.is_fenced:
            gateway.unfenced.append(write)
        self.writes.append(write)
        if reaches in {"store", "end"}:
            self._apply(write)
        if reaches == "end":
            self._finish(write, settle_fate)

    @precondition(lambda self: self.writes)
    @rule(pick=PICK, fate=FATES)
    def carry_on(self, pick: int, fate: str) -> None:
        """Take a write one step further. Upstream may still get that of a dead gateway."""
        write = self.writes[pick % len(self.writes)]
        if write.is_applied:
            self._finish(write, fate)
        else:
            self._apply(write)

    @precondition(lambda self: self._settling)
    @rule(pick=PICK, fate=FATES)
    def settle_a_part(self, pick: int, fate: str) -> None:
        """The gateway settles one row of a write, and the others later."""
        writes = self._settling
        write = writes[pick % len(writes)]
        part = a_part(settlement(write))
        if self._settle(write, part, fate):
            write.settled.update(id_of(key) for key in part.keys)
        else:
            write.is_fenced = False
            write.gateway.unfenced.append(write)

    @property
    def _settling(self) -> list[Write]:
        return [
            write
            for write in self.writes
            if write.is_applied
            and write.is_fenced
            and write.kind != "by_filter"
            and not write.gateway.is_dead
        ]

    def _apply(self, write: Write) -> None:
        self.counter += 1
        write.version, write.is_applied = self.counter, True
        for row_id in write.ids:
            before = self.upstream.get(row_id)
            if write.kind in ("patch", "by_filter"):
                if before is None:
                    continue
                row: Row | None = {**before, "patched": self.counter}
            elif write.kind == "delete":
                row = None
            elif write.kind == "conditional" and row_id != write.ids[0]:
                continue
            else:
                row = {"put": self.counter, "patched": self.counter}
            write.rows[row_id] = row
            if row is None:
                self.upstream.pop(row_id, None)
            else:
                self.upstream[row_id] = self.history[row_id][self.counter] = row

    def _finish(self, write: Write, fate: str) -> None:
        """The gateway has upstream's answer: it settles, or replays what had no fence."""
        gateway = write.gateway
        if gateway.is_dead:
            return
        if write.is_fenced:
            is_safe = self._settle(write, settlement(write), fate)
        else:
            again = self._new_write(gateway, write.kind, write.ids)
            is_safe = self._fence(again, fate) and self._settle(again, Settlement(), fate)
        if is_safe:
            self._acknowledge(write)
            self.writes.remove(write)
            gateway.unfenced = [other for other in gateway.unfenced if other is not write]
            return
        if write.is_fenced:
            write.is_fenced = False
            gateway.unfenced.append(write)
        if self._may_acknowledge_cut_off(gateway):
            self._acknowledge(write)

    def _may_acknowledge_cut_off(self, gateway: Gateway) -> bool:
        """Tell whether the lease must have run out, and the cache still waits for the member."""
        lease_s, gone_s = SETTINGS.lease_s, SETTINGS.declared_gone_s
        has_waited = self.now_s >= gateway.last_sent_s + lease_s + gateway.round_trip_s
        return has_waited and self.now_s < gateway.answered_sent_s + lease_s + gone_s

    def _new_write(self, gateway: Gateway, kind: str, ids: list[bytes]) -> Write:
        self.counter += 1
        name = FenceName(BOOKS, str(self.counter).encode())
        return Write(gateway=gateway, kind=kind, ids=ids, fence=name)

    def _fence(self, write: Write, fate: str) -> bool:
        session_id = write.gateway.session_id
        if session_id is None:
            return False

        def call() -> bool:
            if write.kind == "by_filter":
                run(self.cache.writes.invalidate(session_id, BOOKS))
            else:
                rows = keys(write.ids)
                run(self.cache.writes.fence(session_id, write.fence, rows, ttl_s=FENCE_TTL_S))
            return True

        return self._call(write.gateway, call, fate) is True

    def _settle(self, write: Write, outcome: Settlement, fate: str) -> bool:
        if write.kind == "by_filter":
            return self._fence(write, fate)
        settled = self._call(
            write.gateway, lambda: run(self.cache.writes.settle(write.fence, outcome)), fate
        )
        return settled is not None and not settled.is_fence_lost

    def _acknowledge(self, write: Write) -> None:
        write.is_acknowledged = True
        names = ["patched"] if write.kind in ("patch", "by_filter") else ROW
        for row_id in write.rows:
            before = self.acknowledged[row_id]
            before.update({name: max(before[name], write.version) for name in names})

    @rule(ids=st.sets(st.sampled_from(IDS), min_size=1))
    def read_upstream(self, ids: set[bytes]) -> None:
        """A gateway misses, and reads upstream after that."""
        found = run(self.cache.reads.lookup(BOOKS, sorted(ids), Projection()))
        self.backfills.append((found.read_token, self._upstream_rows(ids)))

    @rule()
    def read_and_backfill(self) -> None:
        self.read_upstream(set(IDS))
        self._backfill(*self.backfills.pop())

    @precondition(lambda self: self.backfills)
    @rule(pick=PICK, is_repeated=st.booleans())
    def backfill(self, pick: int, *, is_repeated: bool) -> None:
        index = pick % len(self.backfills)
        self._backfill(*(self.backfills[index] if is_repeated else self.backfills.pop(index)))

    def _backfill(self, token: bytes, rows: dict[bytes, Row]) -> None:
        bodies = [msgspec.json.encode(row) for row in rows.values()]
        run(self.cache.reads.backfill(BOOKS, token, list(rows), bodies, [b""] * len(rows)))

    def _upstream_rows(self, ids: set[bytes]) -> dict[bytes, Row]:
        return {row_id: self.upstream[row_id] for row_id in ids if row_id in self.upstream}

    @invariant()
    def no_lookup_returns_less_than_what_was_acknowledged(self) -> None:
        found = run(self.cache.reads.lookup(BOOKS, IDS, Projection()))
        for position, body in zip(found.positions, found.bodies, strict=True):
            row_id, row = IDS[position], msgspec.json.decode(body, type=Row)
            least = self.acknowledged[row_id]
            assert all(row[name] >= least[name] for name in ROW), "older than an acknowledged write"
            # A patch may be merged into an entry that lacks a write nobody has acknowledged yet.
            is_patched_in_a_race = any(
                row_id in write.rows and not write.is_acknowledged for write in self.writes
            )
            is_real = self.history[row_id].get(max(row.values())) == row
            assert is_real or is_patched_in_a_race, "upstream never held this row"

    def _gateway(self, pick: int) -> Gateway:
        return self.gateways[pick % GATEWAYS_COUNT]
