"""Functions over a real database under random faults, held against what must be true in the end.

Rows are in memory, so that a process can be made to die at the worst moments: after a write and
before the queue, or without an answer. Leases run out when the test says so, by moving their ends.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from layer_kit.errors import UnavailableError
from layer_runtime.adapters.postgres.database import Database
from layer_runtime.adapters.postgres.function_store import PostgresFunctions
from layer_runtime.adapters.postgres.item_queue import PostgresItems
from layer_runtime.application import retrying
from layer_runtime.application.claiming import ClaimItems
from layer_runtime.application.completing import CompleteItems
from layer_runtime.application.enqueuing import EnqueueWritten, Written
from layer_runtime.application.holding import HoldItems
from layer_runtime.application.sweeping import SweepNamespaces
from layer_runtime.domain.functions import FunctionId, FunctionSpec, Retry, Trigger
from layer_runtime.domain.items import Claim, Failure, Reference, Result
from layer_runtime.domain.markers import PARENT, PLACE, markers_of
from layer_runtime.ports.functions import Function
from layer_runtime_testing.memory_rows import PAGES, Died, MemoryRows

NAME, ID = "rows", FunctionId("f")
MARKER = markers_of(ID).version
SEED = int(os.environ.get("LAYER_TEST_SEED") or secrets.randbelow(2**32))
FOUND_SEEDS = (144482164,)
"""Programs that once found a row with the result of inputs of before."""
ROWS = 24
STEPS = 250
ATTEMPTS = 3
COUNTED = """
SELECT count(*) - count(lease) - count(failed_at), count(lease), count(failed_at)
FROM layer.function_items
"""


def _made_of(claim: Claim) -> bytes:
    pages = [page.inputs for page in claim.pages] or [claim.inputs]
    return b"of " + b" ".join(inputs["n"] or b"" for inputs in pages)


@dataclass(slots=True)
class World:
    """A function, its queue, its workers, and what each of them holds."""

    database: Database
    rng: random.Random
    rows: MemoryRows
    function: Function
    functions: PostgresFunctions
    items: PostgresItems
    held: dict[str, list[Claim]] = field(default_factory=dict)
    accepted_count: int = 0

    @property
    def claim_items(self) -> ClaimItems:
        return ClaimItems(
            functions=self.functions, items=self.items, rows=self.rows, now_ms=lambda: 0
        )

    @property
    def complete_items(self) -> CompleteItems:
        return CompleteItems(
            functions=self.functions, items=self.items, rows=self.rows, now_ms=lambda: 0
        )

    @property
    def hold_items(self) -> HoldItems:
        return HoldItems(functions=self.functions, items=self.items, random=lambda: 0.0)

    async def claim(self) -> None:
        worker = f"w{self.rng.randrange(4)}"
        if self.held.get(worker):
            return  # a worker claims when it is done
        before = await self.leases()
        claims = await self.claim_items(ID, worker, limit=self.rng.randint(1, 6), lease_s=900)
        for claim in claims:
            assert claim.key.id not in before, "an item was given to two"
        self.held[worker] = list(claims)

    async def complete(self) -> None:
        worker, claims = self.some()
        results = [
            Result(
                item=Reference(claim.key, claim.lease),
                attributes={"out": _made_of(claim)},
            )
            for claim in claims
        ]
        if not results:
            return
        try:
            self.accepted_count += (await self.complete_items(ID, worker, results)).accepted_count
        except UnavailableError:
            return  # it tries again later, with the same
        except Died:
            pass
        self.held.pop(worker)

    async def fail(self) -> None:
        worker, claims = self.some()
        if not claims:
            return
        claim = claims.pop()
        failure = Failure(
            Reference(claim.key, claim.lease),
            is_permanent=self.rng.random() < 0.2,
            message="no",
            is_release=self.rng.random() < 0.3,
        )
        await self.hold_items.fail(ID, worker, [failure])

    async def die(self) -> None:
        """A worker is gone, and its leases run out."""
        worker, claims = self.some()
        self.held.pop(worker, None)
        for claim in claims:
            await self.run_out(claim.lease)

    async def be_late(self) -> None:
        """A worker is so slow that its leases run out, and completes all the same."""
        _, claims = self.some()
        for claim in claims:
            await self.run_out(claim.lease)

    async def write(self) -> None:
        id_ = f"r{self.rng.randrange(ROWS):02}"
        held = sorted(
            id_
            for claims in self.held.values()
            for claim in claims
            for id_ in [page.id for page in claim.pages] or [claim.key.id]
        )
        if held and self.rng.random() < 0.6:
            id_ = self.rng.choice(held)  # that is where it hurts
        match self.rng.randrange(4):
            case 0:
                self.rows.put(id_, n=self.rng.randrange(100))
                await self.told(id_, is_partial=False, names=())
            case 1 if id_ in self.rows.rows:
                self.rows.patch(id_, n=self.rng.randrange(100))
                await self.told(id_, is_partial=True, names=["n"])
            case 2 if id_ in self.rows.rows:
                self.rows.patch(id_, other=1)
                await self.told(id_, is_partial=True, names=["other"])
            case 3 if self.rows.rows.pop(id_, None) and self.rows.is_grouped:
                # A page that goes makes no work: whoever changes documents writes others, too.
                place = int(id_.removeprefix("r")) // PAGES * PAGES
                self.rows.put(f"r{place:02}", n=self.rng.randrange(100))
                await self.told(f"r{place:02}", is_partial=False, names=())
            case _:
                pass

    async def write_meanwhile(self) -> None:
        """Somebody writes while a worker claims or completes."""
        work = self.rng.choice([self.claim, self.complete])
        outcomes = await asyncio.gather(work(), self.write(), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, UnavailableError):
                raise outcome

    async def told(self, id_: str, *, is_partial: bool, names: Sequence[str]) -> None:
        written = Written(namespace=NAME, ids=[id_], is_partial=is_partial, names=names)
        await EnqueueWritten(functions=self.functions, items=self.items)([written])

    async def sweep(self) -> None:
        await SweepNamespaces(
            functions=self.functions,
            items=self.items,
            rows=self.rows,
            now_ms=lambda: 0,
            replica="r",
        ).discover(ID, namespaces=(), page_size=0, page_count_max=0, cursor="")

    async def beat(self) -> None:
        worker, claims = self.some()
        if claims:
            references = [Reference(claim.key, claim.lease) for claim in claims]
            await self.hold_items.heartbeat(ID, worker, references)

    def some(self) -> tuple[str, list[Claim]]:
        busy = sorted(worker for worker, claims in self.held.items() if claims)
        worker = self.rng.choice(busy) if busy else "w0"
        return worker, self.held.get(worker, [])

    async def run_out(self, lease: int) -> None:
        await self.database.fetch(
            "test",
            "UPDATE layer.function_items SET due_at = now() - interval '1 second' WHERE lease = $1",
            lease,
        )

    async def leases(self) -> set[str]:
        """Return the items whose leases go on."""
        statement = "SELECT id FROM layer.function_items WHERE lease IS NOT NULL AND due_at > now()"
        return {row["id"] for row in await self.database.fetch("test", statement)}

    async def check_counts(self) -> None:
        """Hold what a status says against the items themselves."""
        if self.rng.random() < 0.1:
            await self.items.fold(older_than_s=600)
        figures = await self.items.figures(self.function.number, window_s=600)
        said = figures.pending_count, figures.processing_count, figures.failed_count
        assert [said] == [tuple(row) for row in await self.database.fetch("test", COUNTED)]

    async def step(self) -> None:
        actions = [
            *(self.claim,) * 5,
            *(self.complete,) * 3,
            *(self.write,) * 8,
            *(self.write_meanwhile,) * 4,
            self.fail,
            self.die,
            self.be_late,
            self.sweep,
            self.beat,
        ]
        self.rows.fault = self.rng.choice(["", "", "", "", "away", "lost", "dies after"])
        try:
            await self.rng.choice(actions)()
        except UnavailableError:
            pass  # the caller hears of it
        finally:
            self.rows.fault = ""
        await self.check_counts()

    async def settle(self) -> None:
        """Let all faults end and all work be done."""
        self.held.clear()
        for _ in range(60):
            await self.database.fetch(
                "test", "UPDATE layer.function_items SET due_at = now() - interval '1 second'"
            )
            await self.sweep()
            claims = await self.claim_items(ID, "last", limit=1000)
            self.held = {"last": list(claims)}
            if not claims:
                return
            await self.complete()
        raise AssertionError("the queue does not become empty")


@pytest.mark.parametrize("is_grouped", [False, True], ids=["rows", "documents"])
@pytest.mark.parametrize("seed", [*range(SEED, SEED + 3), *FOUND_SEEDS])
async def test_every_row_is_done_or_given_up_whatever_dies(
    database: Database, seed: int, monkeypatch: pytest.MonkeyPatch, *, is_grouped: bool
) -> None:
    print(f"LAYER_TEST_SEED={SEED}")  # noqa: T201 -- shown when it fails
    monkeypatch.setattr(retrying, "ATTEMPTS_MAX", 1)
    rng = random.Random(seed)  # noqa: S311 -- to be repeated
    functions, items = PostgresFunctions(database), PostgresItems(database)
    spec = FunctionSpec(
        target_namespaces=(NAME,),
        inputs=("n",),
        triggers=(Trigger.WRITE, Trigger.DISCOVERY),
        retry=Retry(attempt_count_max=ATTEMPTS, backoff_initial_s=1, backoff_max_s=1),
        is_grouped_by_parent=is_grouped,
    )
    function = await functions.create(ID, spec, is_paused=False)
    world = World(database, rng, MemoryRows(MARKER, is_grouped), function, functions, items)
    for at in range(ROWS):
        world.rows.put(f"r{at:02}", n=at)
    for _ in range(STEPS):
        await world.step()
    await world.settle()

    failed = {item.key.id for item in await items.failed(function.number, after=None, limit=1000)}
    figures = await items.figures(function.number, window_s=600)
    assert (figures.pending_count, figures.processing_count) == (0, 0)
    assert figures.failed_count == len(failed)
    assert figures.completed_count
    assert world.accepted_count
    for id_, row in world.rows.rows.items():
        document = row.get(PARENT, id_)
        if document not in failed:
            pages = [
                (one.get(PLACE), str(one["n"]))
                for other, one in world.rows.rows.items()
                if one.get(PARENT, other) == document
            ]
            made = " ".join(n for _, n in sorted(pages))
            assert (row.get(MARKER), row.get("out")) == ("v1", f"of {made}"), id_


async def test_a_function_that_changes_its_own_input_does_so_once_though_the_answer_is_lost(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "PAUSE_S_FIRST", 0.0)
    rng = random.Random(0)  # noqa: S311
    functions, items = PostgresFunctions(database), PostgresItems(database)
    spec = FunctionSpec(target_namespaces=(NAME,), inputs=("n",))
    function = await functions.create(ID, spec, is_paused=False)
    world = World(database, rng, MemoryRows(MARKER), function, functions, items)
    world.rows.put("r00", n=20)
    await world.sweep()
    (claim,) = await world.claim_items(ID, "w", limit=1)
    world.rows.fault = "lost once"
    result = Result(item=Reference(claim.key, claim.lease), attributes={"n": b"21"})
    assert (await world.complete_items(ID, "w", [result])).accepted_count == 1
    assert world.rows.rows["r00"]["n"] == "21"
    await world.sweep()
    assert not await world.claim_items(ID, "w", limit=1)
