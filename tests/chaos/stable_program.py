"""A random program of writes and queries over several gateways while an index lags.

Everything random comes from the seed; the interleaving is the machine's. In ``shared`` every
gateway writes into every namespace, and clocks and links are off by less than the margin. Otherwise
each has namespaces of its own, and nothing needs to hold of clocks and links.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import msgspec

from layer_gateway.ports.stores import Caller
from layer_kit.names import Namespace
from layer_testing.gateway_calls import embedded_store
from layer_wire.multi_queries import parse_multi_query
from layer_wire.queries import decode_query, parse_layer_query
from tests.chaos.faults import Link
from tests.chaos.stable_checker import Reading, Seen, StableHistory, Version
from tests.chaos.stable_gateways import StableGateway, StableParts

INDEX_LAG_MS: Final = 120
MARGIN_MS: Final = 60
TROUBLE_SHARE: Final = 0.2
"""How much of the margin a clock is off, and a link slow, where gateways share namespaces."""

SHARD_COUNT: Final = 4
WORKER_COUNT: Final = 8
ROW_COUNT: Final = 30
WRITE_SHARE: Final = 0.5
BURST_S: Final = 0.1
CALM_S: Final = 0.25
"""Long enough for the index to catch up, so that watermarks move."""

GATEWAY_COUNT: Final = 3

WANTED: Final = ["n", "_hevlayer_upserted_at"]
BY_ID: Final = {"rank_by": ["id", "asc"], "top_k": 100, "include_attributes": WANTED}
NEAREST: Final = {"vector": [0.0, 1.0], "top_k": 100, "include_attributes": WANTED}


@dataclass(slots=True, kw_only=True)
class StableOutcome:
    """How a program went."""

    seed: int
    operations_count: int = 0
    cut_count: int = 0
    rows_count: int = 0
    """Rows that queries returned which were cut."""
    hidden_count: int = 0
    """Rows that such queries left out."""
    violations: list[str] = field(default_factory=list)


async def run_stable_program(
    directory: Path,
    *,
    seed: int,
    operations_count: int,
    is_shared: bool,
    parts: StableParts | None = None,
) -> StableOutcome:
    """Run ``operations_count`` operations, or fewer, up to the first violation."""
    outcome = StableOutcome(seed=seed)
    async with (
        embedded_store(directory, LAYER_VECTORSTORE_INDEX_LAG_MS=str(INDEX_LAG_MS)) as store_url,
        AsyncExitStack() as ends,
    ):
        program = _Program(
            random=Random(seed),  # noqa: S311 -- to be repeatable
            is_shared=is_shared,
            history=StableHistory(
                margin_ms=MARGIN_MS if is_shared else 1, skew_ms=TROUBLE_SHARE * MARGIN_MS
            ),
            outcome=outcome,
        )
        for number in range(GATEWAY_COUNT):
            link = Link(lambda: store_url.removeprefix("http://"))
            await link.open()
            gateway = StableGateway(
                name=f"g{number}",
                link=link,
                margin_ms=MARGIN_MS if is_shared else 1,
                parts=parts or StableParts(),
                stamped=program.stamped,
            )
            ends.push_async_callback(gateway.stop)
            program.gateways.append(gateway)
        await program.run(operations_count)
    return outcome


class _Begun(NamedTuple):
    """A query on its way."""

    gateway: str
    namespace: Namespace
    moment: int
    is_cut: bool
    """Whether a query that begins then is to be cut."""


@dataclass(slots=True, kw_only=True)
class _Program:
    random: Random
    is_shared: bool
    history: StableHistory
    outcome: StableOutcome
    gateways: list[StableGateway] = field(default_factory=list)
    _versions: dict[int, Version] = field(default_factory=dict)
    _turns: dict[tuple[str, str], asyncio.Lock] = field(default_factory=dict)
    _next_number: int = 0
    _is_calm: bool = False

    def stamped(self, number: int, stamp_ms: int) -> None:
        self.history.stamped(self._versions[number], stamp_ms)

    async def run(self, operations_count: int) -> None:
        for gateway in self.gateways:
            for namespace in self._namespaces(gateway):
                for row in range(ROW_COUNT):
                    await self._write(gateway, namespace, f"r{row}")
                if namespace.endswith("spread"):
                    await gateway.init(
                        namespace, schema_version=1, shard_count=SHARD_COUNT, caller=Caller()
                    )
            gateway.start()
        async with self._trouble(), asyncio.TaskGroup() as workers:
            for _ in range(WORKER_COUNT):
                workers.create_task(self._work(operations_count))

    @asynccontextmanager
    async def _trouble(self) -> AsyncIterator[None]:
        """Let links dawdle and clocks step for the length of the block."""
        share = TROUBLE_SHARE if self.is_shared else 4.0
        tasks = [asyncio.create_task(self._bursts())]
        for gateway in self.gateways:
            dawdling = gateway.dawdle(self.random, share * MARGIN_MS / 1000)
            tasks += [
                asyncio.create_task(dawdling),
                asyncio.create_task(gateway.step_clock(self.random, share * MARGIN_MS)),
            ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _bursts(self) -> None:
        """Let there be writes and none in turn, for ever."""
        while True:
            self._is_calm = not self._is_calm
            await asyncio.sleep(CALM_S if self._is_calm else BURST_S)

    def _namespaces(self, gateway: StableGateway) -> tuple[Namespace, ...]:
        prefix = "shared" if self.is_shared else gateway.name
        return Namespace(f"{prefix}-whole"), Namespace(f"{prefix}-spread")

    async def _work(self, operations_count: int) -> None:
        while self.outcome.operations_count < operations_count and not self.outcome.violations:
            self.outcome.operations_count += 1
            gateway = self.random.choice(self.gateways)
            namespace = self.random.choice(self._namespaces(gateway))
            if not self._is_calm and self.random.random() < WRITE_SHARE:
                await self._write(gateway, namespace, f"r{self.random.randrange(ROW_COUNT)}")
            elif self.random.random() < 0.5:
                await self._query(gateway, namespace)
            else:
                await self._query_legs(gateway, namespace)
            await asyncio.sleep(self.random.choice((0.0, 0.01, 0.05)))

    async def _write(self, gateway: StableGateway, namespace: Namespace, id_text: str) -> None:
        turn = self._turns.setdefault((namespace, id_text), asyncio.Lock())
        async with turn:
            self._next_number += 1
            number = self._next_number
            version = self.history.writing(namespace, id_text, number, gateway.name)
            self._versions[number] = version
            row = {"id": id_text, "n": number, "vector": [float(number % 7), 1.0]}
            body = {"upsert_rows": [row], "distance_metric": "euclidean_squared"}
            answer = await gateway.write(namespace, msgspec.json.encode(body), Caller())
            assert answer.status == 200, answer.body
            self.history.acknowledged(version, now_ms=time.time() * 1000)

    async def _query(self, gateway: StableGateway, namespace: Namespace) -> None:
        query = parse_layer_query(msgspec.json.encode(self.random.choice((BY_ID, NEAREST))))
        begun = self._begin(gateway, namespace)
        answer = await gateway.query(namespace, query, Caller())
        assert answer.refusal is None, answer.refusal.body
        self._judge(begun, answer.stable_as_of_ms, answer.rows)

    async def _query_legs(self, gateway: StableGateway, namespace: Namespace) -> None:
        body = msgspec.json.encode({"queries": [BY_ID, NEAREST]})
        query = parse_multi_query(body, decode_query(body))
        begun = self._begin(gateway, namespace)
        answer = await gateway.query_legs(namespace, query, Caller())
        results: list[Any] = list(answer.results)
        if answer.relay is not None:
            assert answer.relay.status == 200, answer.relay.body
            found = msgspec.json.decode(answer.relay.body)["results"]
            results = [result["rows"] for result in found]
        for rows in results:
            self._judge(begun, answer.stable_as_of_ms, rows)

    def _begin(self, gateway: StableGateway, namespace: Namespace) -> _Begun:
        is_cut = gateway.watermarks.cut(namespace).filter is not None
        return _Begun(gateway.name, namespace, self.history.now(), is_cut)

    def _judge(self, begun: _Begun, watermark_ms: int | None, rows: list[Any]) -> None:
        seen = {}
        for row in rows:
            values = msgspec.json.decode(msgspec.json.encode(row))
            stamp_ms = values["_hevlayer_upserted_at"]
            seen[values["id"]] = Seen(number=values["n"], stamp_ms=stamp_ms)
        reading = Reading(
            replica=begun.gateway,
            namespace=begun.namespace,
            began=begun.moment,
            ended=self.history.now(),
            watermark_ms=watermark_ms,
            is_cut=begun.is_cut,
            rows=seen,
        )
        if begun.is_cut:
            self.outcome.cut_count += 1
            self.outcome.rows_count += len(seen)
            self.outcome.hidden_count += ROW_COUNT - len(seen)
        self.outcome.violations += [
            f"seed {self.outcome.seed}, {begun.gateway}, {begun.namespace}: {text}"
            for text in self.history.violations(reading)
        ]
