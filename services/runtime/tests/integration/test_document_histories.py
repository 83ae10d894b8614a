"""Random histories of documents, against a model: workers die, leases run out, clients repeat.

A document is in exactly one place at any time, no two hold it, and each that was staged ends
indexed or failed, counted once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from prometheus_client import CollectorRegistry

from layer_runtime.adapters.postgres.database import Limits, open_database
from layer_runtime.adapters.postgres.document_queue import PostgresDocuments
from layer_runtime.adapters.postgres.metrics import DatabaseMetrics
from layer_runtime.adapters.postgres.migrations import migrate
from layer_runtime.domain.pipelines import FAILED, INDEXED, PENDING, Guard
from layer_testing.postgres import PostgresServer

LIMITS = Limits(connections_max=2, statement_timeout_s=10, idle_in_transaction_ms=5000)
ATTEMPTS_MAX = 3
EMBEDDING = "embedding"
IDS = st.sampled_from(["a", "b", "c", "d", "e"])
SETS = st.sets(IDS, min_size=1).map(sorted)
WORKERS = st.sampled_from(["one", "two"])

T = TypeVar("T")


class Documents(RuleBasedStateMachine):
    """Rules are calls of workers and clients; the model is what the database must say."""

    postgres: PostgresServer
    loop: asyncio.AbstractEventLoop
    queue: PostgresDocuments
    number = 0

    def __init__(self) -> None:
        super().__init__()
        self.stage: dict[str, str] = {}
        self.attempts: Counter[str] = Counter()
        self.holder: dict[str, tuple[str, int]] = {}
        self.claims: dict[str, list[int]] = {}
        """Tokens that a worker remembers, also of claims that are no more."""

    @initialize()
    def start(self) -> None:
        type(self).number += 1

    @rule(document=IDS)
    def stage_anew(self, document: str) -> None:
        self.run(self.queue.stage(self.number, document, b"body"))
        self.stage[document] = PENDING
        self.attempts[document] = 0
        self.holder.pop(document, None)

    @rule(documents=SETS, stage=st.sampled_from([PENDING, INDEXED, FAILED]))
    def create_missing(self, documents: list[str], stage: str) -> None:
        created = self.run(self.queue.create_missing(self.number, documents, stage))
        new = [one for one in documents if one not in self.stage]
        assert created == len(new)
        for one in new:
            self.stage[one], self.attempts[one] = stage, 0

    @rule(worker=WORKERS, limit=st.integers(1, 3))
    def claim(self, worker: str, limit: int) -> None:
        claimed = self.run(
            self.queue.claim(
                self.number,
                stage=PENDING,
                claim_stage=EMBEDDING,
                limit=limit,
                worker=worker,
                lease_s=3600,
                prefix="",
            )
        )
        for one in claimed.document_ids:
            assert self.stage[one] == PENDING
            assert one not in self.holder
            self.stage[one] = EMBEDDING
            self.holder[one] = worker, claimed.lease
        if claimed.document_ids:
            self.claims.setdefault(worker, []).append(claimed.lease)

    @rule(worker=WORKERS, documents=SETS, is_late=st.booleans())
    def settle(self, worker: str, documents: list[str], is_late: bool) -> None:  # noqa: FBT001
        lease = self._lease(worker, is_late=is_late)
        guard = Guard(worker=worker, lease=lease)
        settled = self.run(self.queue.settle(self.number, documents, INDEXED, "", guard))
        held = [one for one in documents if self._holds(one, worker, lease)]
        assert len(settled) == len(held)
        for one in held:
            self.stage[one] = INDEXED
            del self.holder[one]

    @rule(worker=WORKERS, document=IDS, is_late=st.booleans())
    def fail_attempt(self, worker: str, document: str, is_late: bool) -> None:  # noqa: FBT001
        lease = self._lease(worker, is_late=is_late)
        guard = Guard(worker=worker, lease=lease)
        is_given_up = any(
            self.run(self.queue.fail_attempts(self.number, [document], "broken", guard))
        )
        if not self._holds(document, worker, lease):
            assert not is_given_up
            return
        assert self._count_attempt(document) is is_given_up
        # Its pause is over at once, so that the history goes on.
        self._let_time_pass("lease IS NULL")

    @rule(worker=WORKERS, documents=SETS)
    def release(self, worker: str, documents: list[str]) -> None:
        guard = Guard(stage=EMBEDDING, worker=worker)
        moved = self.run(self.queue.move(self.number, documents, PENDING, guard))
        held = [one for one in documents if self._holds(one, worker, None)]
        assert moved == len(held)
        for one in held:
            self.stage[one] = PENDING
            del self.holder[one]

    @rule(worker=WORKERS, documents=SETS, is_late=st.booleans())
    def heartbeat(self, worker: str, documents: list[str], is_late: bool) -> None:  # noqa: FBT001
        lease = self._lease(worker, is_late=is_late)
        guard = Guard(stage=EMBEDDING, worker=worker, lease=lease)
        renewed = self.run(self.queue.heartbeat(self.number, documents, guard))
        assert renewed == sum(self._holds(one, worker, lease) for one in documents)

    @rule(worker=WORKERS)
    def die(self, worker: str) -> None:
        """End a worker: its leases run out, and whoever asks next finds its documents free."""
        dead = [one for one, (holder, _) in self.holder.items() if holder == worker]
        self._let_time_pass(f"worker = '{worker}'")
        assert self.run(self.queue.expire(self.number)) == len(dead)
        for one in dead:
            self._count_attempt(one)

    @rule(worker=WORKERS, documents=SETS, document=IDS)
    def come_late(self, worker: str, documents: list[str], document: str) -> None:
        """Claim again what an earlier claim of the same worker has lost, and go on as that one."""
        self.claim(worker, 5)
        self.die(worker)
        self.claim(worker, 5)
        self.heartbeat(worker, documents, is_late=True)
        self.fail_attempt(worker, document, is_late=True)
        self.settle(worker, documents, is_late=True)

    @rule(documents=SETS)
    def retry_failed(self, documents: list[str]) -> None:
        moved = self.run(self.queue.move(self.number, documents, PENDING, Guard(stage=FAILED)))
        failed = [one for one in documents if self.stage.get(one) == FAILED]
        assert moved == len(failed)
        for one in failed:
            self.stage[one], self.attempts[one] = PENDING, 0

    @rule()
    def fold(self) -> None:
        self.run(self.queue.fold([self.number]))

    @invariant()
    def every_document_is_where_it_must_be_and_counted_once(self) -> None:
        if not self.number:
            return
        figures = self.run(self.queue.figures([self.number]))[self.number]
        assert figures.stage_counts == Counter(self.stage.values())
        assert figures.leased_count == len(self.holder)

    def teardown(self) -> None:
        """Let one more worker do all that is left."""
        for worker in ("one", "two"):
            self.die(worker)
        self._let_time_pass("true")
        while any(stage == PENDING for stage in self.stage.values()):
            self.claim("last", 5)
            held = sorted(one for one, (worker, _) in self.holder.items() if worker == "last")
            self.settle("last", held, is_late=False)
        assert set(self.stage.values()) <= {INDEXED, FAILED}
        self.every_document_is_where_it_must_be_and_counted_once()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(call)

    def _lease(self, worker: str, *, is_late: bool) -> int | None:
        """Return the first claim that a worker made, which may be over, or none to be held to."""
        return self.claims[worker][0] if is_late and self.claims.get(worker) else None

    def _holds(self, document: str, worker: str, lease: int | None) -> bool:
        holder = self.holder.get(document)
        return holder is not None and holder[0] == worker and lease in (None, holder[1])

    def _count_attempt(self, document: str) -> bool:
        del self.holder[document]
        self.attempts[document] += 1
        is_given_up = self.attempts[document] >= ATTEMPTS_MAX
        self.stage[document] = FAILED if is_given_up else PENDING
        return is_given_up

    def _let_time_pass(self, where: str) -> None:
        overdue = "UPDATE layer.document_queue SET due_at = now() - interval '1 s'"
        statement = f"{overdue} WHERE pipeline = $1 AND {where}"
        self.run(self.queue._database.fetch("test", statement, self.number))


@pytest.mark.timeout(120)
def test_every_document_ends_indexed_or_failed_exactly_once(postgres: PostgresServer) -> None:
    loop = asyncio.new_event_loop()
    metrics = DatabaseMetrics(CollectorRegistry())
    opening = open_database(postgres.new_database(), LIMITS, metrics=metrics, pool_name="test")

    class Machine(Documents):
        pass

    database = loop.run_until_complete(opening.__aenter__())
    try:
        loop.run_until_complete(migrate(database))
        Machine.loop = loop
        Machine.queue = PostgresDocuments(database, attempts_max=ATTEMPTS_MAX, backoff_s_initial=60)
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=25,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                database=None,
            ),
        )
    finally:
        loop.run_until_complete(opening.__aexit__(None, None, None))
        loop.close()
