"""A random program of operations and faults over several gateways, judged as it runs.

Everything random comes from the seed. The interleaving is the machine's, so a seed makes a
violation likely again rather than certain.

Times are those of production, shortened. A gateway that the cache has declared gone has given up
the promise (``OpenSessionResponse.declared_gone_ms``): what it acknowledges before it is back
does not bind.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from random import Random
from typing import Any, Final

import msgspec

from layer_gateway.application.fetching import CacheResult, Fetched
from layer_gateway.ports.stores import Caller
from layer_kit.errors import LayerError, NotFoundError
from layer_kit.names import Namespace, parse_namespace
from tests.chaos.breakdowns import Breakdowns
from tests.chaos.checker import Attributes, History, Row
from tests.chaos.faults import CacheProcess, Link, cache_process
from tests.chaos.replicas import Parts, Replica
from tests.chaos.stores import CacheStore
from tests.chaos.upstream import (
    GROUP,
    OPERATION_HEADER,
    OWN_ATTRIBUTES,
    Upstream,
    Weather,
    own,
    serving_upstream,
)

LEASE_S: Final = 0.4
DECLARED_GONE_S: Final = 1.5
REPLICA_COUNT: Final = 3
WORKER_COUNT: Final = 12
FETCH_SHARE: Final = 0.75
DELETION_SHARE: Final = 0.06
"""Of the operations that are no fetch; half of them meet a namespace that is left alone."""

NAMESPACES: Final = (parse_namespace("steady"), parse_namespace("remade"))
ID_TEXTS: Final = ("1", "2", "3", "4")
PROJECTIONS: Final[Sequence[Sequence[str] | None]] = (
    None,
    None,
    ("whole", "left"),
    ("right",),
    (),
)


@dataclass(slots=True, kw_only=True)
class Outcome:
    """How a program went."""

    seed: int
    operations_count: int = 0
    fetched_count: int = 0
    hits_count: int = 0
    acknowledged_count: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.operations_count} operations, "
            f"{self.acknowledged_count} writes acknowledged, {self.fetched_count} rows fetched, "
            f"{self.hits_count} of them from the cache, faults {self.faults}"
        )


async def run_program(
    stores: Sequence[CacheStore],
    *,
    seed: int,
    operations_count: int,
    parts: Parts | None = None,
    spares_processes: bool = False,
) -> Outcome:
    """Run ``operations_count`` operations amid faults, or fewer, up to the first violation.

    Args:
        stores: One for each replica of the cache.
        spares_processes: Whether only links and upstream fail, so that there are more hits.
    """
    random = Random(seed)  # noqa: S311 -- to be repeatable
    history = History()
    weather = Weather(random=Random(random.random()))  # noqa: S311 -- to be repeatable
    async with (
        serving_upstream(history, weather) as upstream,
        AsyncExitStack() as ends,
    ):
        caches = [
            await ends.enter_async_context(
                cache_process(store, lease_s=LEASE_S, declared_gone_s=DECLARED_GONE_S)
            )
            for store in stores
        ]
        program = Program(
            random=random,
            history=history,
            upstream=upstream,
            caches=caches,
            parts=parts or Parts(),
            outcome=Outcome(seed=seed),
            spares_processes=spares_processes,
        )
        ends.push_async_callback(program.end)
        await program.run(operations_count)
    return program.outcome


@dataclass(slots=True, kw_only=True)
class Program:
    """The workers, the gateways they go through, and what goes wrong meanwhile."""

    random: Random
    history: History
    upstream: Upstream
    caches: Sequence[CacheProcess]
    parts: Parts
    outcome: Outcome
    spares_processes: bool
    _replicas: list[Replica] = field(default_factory=list)
    _replica_number: int = 0
    _numbered: dict[Namespace, bool] = field(
        default_factory=lambda: dict.fromkeys(NAMESPACES, True)
    )

    async def run(self, operations_count: int) -> None:
        """Let the workers do the operations while the faults come and go."""
        for _ in range(REPLICA_COUNT):
            await self._join()
        breakdowns = Breakdowns(
            random=self.random,
            lease_s=LEASE_S,
            caches=self.caches,
            replicas=self._replicas,
            replace=self._replace_replica,
            operations_count=lambda: self.outcome.operations_count,
            tell=self._note_everywhere,
            counts=self.outcome.faults,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(breakdowns.links())
            if not self.spares_processes:
                tasks.create_task(breakdowns.processes())
            async with asyncio.TaskGroup() as workers:
                for _ in range(WORKER_COUNT):
                    workers.create_task(self._work(operations_count))
            breakdowns.end()

    async def end(self) -> None:
        """Take down every gateway."""
        while self._replicas:
            await self._replicas.pop().die()

    async def _work(self, operations_count: int) -> None:
        while self.outcome.operations_count < operations_count and not self.outcome.violations:
            self.outcome.operations_count += 1
            number = self.outcome.operations_count
            replica = self.random.choice(self._replicas)
            namespace = self.random.choice(NAMESPACES)
            if self.random.random() < FETCH_SHARE:
                await replica.run(self._fetch(replica, namespace, number))
            elif self.random.random() < DELETION_SHARE:
                await replica.run(self._delete_namespace(replica, namespace, number))
            else:
                await replica.run(self._write(replica, namespace, number))
            await asyncio.sleep(self.random.choice((0.0, 0.0, 0.01)))

    async def _write(self, replica: Replica, namespace: Namespace, number: int) -> None:
        body = self._some_write(namespace, number)
        shown = f"{replica.name} write {number}: {body}"
        for text in ID_TEXTS:
            self.history.note(Row(namespace, text), shown)
        caller = Caller(headers=((OPERATION_HEADER.encode(), b"%d" % number),))
        try:
            answer = await replica.write(namespace, msgspec.json.encode(body), caller)
        except LayerError as error:
            self._note_end(namespace, f"{replica.name} write {number}: {error.reason}")
            return
        if answer.status == HTTPStatus.OK:
            self._acknowledge(replica, namespace, number)
        else:
            self._note_end(namespace, f"{replica.name} write {number}: {answer.status}")

    async def _delete_namespace(self, replica: Replica, namespace: Namespace, number: int) -> None:
        if namespace is NAMESPACES[0]:
            return
        self._numbered[namespace] = self.random.random() < 0.5
        self._note_end(namespace, f"{replica.name} deletes the namespace as {number}")
        caller = Caller(headers=((OPERATION_HEADER.encode(), b"%d" % number),))
        try:
            await replica.namespaces.delete(namespace, caller)
        except LayerError as error:
            self._note_end(namespace, f"{replica.name} deletion {number}: {error.reason}")
            return
        self._acknowledge(replica, namespace, number)

    async def _fetch(self, replica: Replica, namespace: Namespace, number: int) -> None:
        texts = self.random.sample(ID_TEXTS, self.random.choice((1, 1, len(ID_TEXTS))))
        names = self.random.choice(PROJECTIONS)
        began = self.history.now()
        try:
            fetched = await replica.fetch.by_text(namespace, texts, Caller(), names=names)
        except NotFoundError:
            fetched = Fetched(rows={}, cached=frozenset(), result=CacheResult.MISS)
        except LayerError:
            return
        self.outcome.fetched_count += len(fetched.rows)
        self.outcome.hits_count += len(fetched.cached)
        for at, text in enumerate(texts):
            found = fetched.rows.get(at)
            seen = None if found is None else own(msgspec.json.decode(found.body))
            source = "cache" if at in fetched.cached else "upstream"
            self._judge(
                Row(namespace, text),
                seen,
                names,
                began=began,
                what=f"{replica.name} fetch {number} of {names} begun at {began}: "
                f"{seen} from {source}",
            )

    def _judge(
        self,
        row: Row,
        seen: Attributes | None,
        names: Sequence[str] | None,
        *,
        began: int,
        what: str,
    ) -> None:
        self.history.note(row, what)
        asked = OWN_ATTRIBUTES if names is None else names
        if not self.history.is_explained(row, seen, asked, began=began):
            self.outcome.violations.append(
                f"seed {self.outcome.seed}, {row}: {what} is older than what was acknowledged, "
                f"or was never there:\n{self.history.slice(row)}"
            )

    def _some_write(self, namespace: Namespace, number: int) -> dict[str, Any]:
        texts = self.random.sample(ID_TEXTS, self.random.choice((1, 1, 2)))
        ids: list[int | str] = [int(text) if self._numbered[namespace] else text for text in texts]
        threshold = max(0, number - self.random.randrange(200))
        condition = ["whole", self.random.choice(("Lt", "Gte")), threshold]
        group = [GROUP, "Eq", self.random.randrange(2)]
        upsert = {"upsert_rows": [self._some_row(id_, number) for id_ in ids]}
        patch = {"patch_rows": [{"id": id_, **self._some_patch(number)} for id_ in ids]}
        match self.random.choice("uuuuuuuupppppppdUUPPDfFF"):
            case "u":
                return upsert
            case "p":
                return patch
            case "d":
                return {"deletes": ids}
            case "U":
                return upsert | {"upsert_condition": condition}
            case "P":
                return patch | {"patch_condition": condition}
            case "D":
                return {"deletes": ids, "delete_condition": condition}
            case "f":
                return {"delete_by_filter": group}
            case _:
                return {"patch_by_filter": {"filters": group, "patch": self._some_patch(number)}}

    def _some_row(self, id_: int | str, number: int) -> dict[str, Any]:
        names = self.random.choice((OWN_ATTRIBUTES, OWN_ATTRIBUTES, OWN_ATTRIBUTES[:2]))
        return {"id": id_, GROUP: int(id_) % 2} | dict.fromkeys(names, number)

    def _some_patch(self, number: int) -> dict[str, int]:
        names = self.random.choice((("left",), ("right",), ("left", "right")))
        return dict.fromkeys(names, number)

    def _acknowledge(self, replica: Replica, namespace: Namespace, number: int) -> None:
        if time.monotonic() - replica.heard_s > LEASE_S + DECLARED_GONE_S:
            self._note_end(namespace, f"{replica.name} write {number} done, promising nothing")
            return
        self.history.acknowledge(number)
        self.outcome.acknowledged_count += 1
        self._note_end(namespace, f"{replica.name} acknowledges {number}")

    def _note_end(self, namespace: Namespace, text: str) -> None:
        for id_text in ID_TEXTS:
            self.history.note(Row(namespace, id_text), text)

    def _note_everywhere(self, text: str) -> None:
        for namespace in NAMESPACES:
            self._note_end(namespace, text)

    async def _replace_replica(self) -> None:
        """Let a gateway die in the middle of everything and another one join."""
        replica = self._replicas.pop(self.random.randrange(len(self._replicas)))
        await replica.die()
        await self._join()

    async def _join(self) -> None:
        self._replica_number += 1
        links = [Link(cache.address) for cache in self.caches]
        lookup_links = [Link(cache.lookups_address) for cache in self.caches]
        for link in (*links, *lookup_links):
            await link.open()
        replica = Replica(
            f"gateway-{self._replica_number}",
            upstream_url=self.upstream.url,
            links=links,
            lookup_links=lookup_links,
            parts=self.parts,
        )
        await replica.start()
        self._replicas.append(replica)
