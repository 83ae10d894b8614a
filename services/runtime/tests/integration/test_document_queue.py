"""The queue of documents on a real PostgreSQL: who gets what, when, and what becomes of it."""

from __future__ import annotations

import asyncio

import pytest

from layer_runtime.adapters.postgres.database import Database
from layer_runtime.adapters.postgres.document_queue import PostgresDocuments
from layer_runtime.domain.pipelines import FAILED, INDEXED, PENDING, Claimed, Figures, Guard

PIPELINE = 1
IDS = [f"doc-{number:02}" for number in range(10)]
ANY = Guard()
EMBEDDING = "embedding"
BODY = b"a staging"


@pytest.fixture
def queue(database: Database) -> PostgresDocuments:
    return PostgresDocuments(database, attempts_max=3, backoff_s_initial=60)


async def claim(
    queue: PostgresDocuments,
    *,
    stage: str = PENDING,
    claim_stage: str = EMBEDDING,
    limit: int = 100,
    worker: str = "w",
    lease_s: int = 60,
    prefix: str = "",
) -> Claimed:
    return await queue.claim(
        PIPELINE,
        stage=stage,
        claim_stage=claim_stage,
        limit=limit,
        worker=worker,
        lease_s=lease_s,
        prefix=prefix,
    )


async def run_out(database: Database) -> None:
    """Let all leases and pauses run out, as time would."""
    await database.fetch("test", "UPDATE layer.document_queue SET due_at = now() - interval '1 s'")


async def figures(queue: PostgresDocuments) -> Figures:
    return (await queue.figures([PIPELINE]))[PIPELINE]


async def test_the_oldest_are_claimed_first_and_each_once(queue: PostgresDocuments) -> None:
    for one in reversed(IDS):
        await queue.stage(PIPELINE, one, BODY)

    first = await claim(queue, limit=3)
    rest = await claim(queue, worker="other")

    assert first.document_ids == IDS[:-4:-1]
    assert rest.document_ids == IDS[-4::-1]
    assert first.lease != rest.lease
    assert (await figures(queue)).leased_count == len(IDS)


async def test_a_prefix_chooses_by_id(queue: PostgresDocuments) -> None:
    await queue.create_missing(PIPELINE, ["a/1", "a/2", "b/1", "ä/1"], PENDING)

    assert (await claim(queue, prefix="a/")).document_ids == ["a/1", "a/2"]
    assert (await claim(queue, prefix="ä")).document_ids == ["ä/1"]
    assert not (await claim(queue, prefix="%")).document_ids


async def test_many_workers_at_once_share_without_waiting_or_overlap(
    queue: PostgresDocuments,
) -> None:
    ids = sorted(f"{number}" for number in range(500))
    await queue.create_missing(PIPELINE, ids, PENDING)

    async def work(worker: str) -> list[str]:
        got: list[str] = []
        while claimed := (await claim(queue, worker=worker, limit=7)).document_ids:
            got += claimed
            await queue.settle(PIPELINE, sorted(claimed), INDEXED, "", Guard(worker=worker))
        return got

    shares = await asyncio.gather(*(work(f"w{number}") for number in range(8)))

    assert sorted(one for share in shares for one in share) == ids
    assert (await figures(queue)).stage_counts == {INDEXED: 500}


async def test_a_lease_that_ran_out_frees_its_document_for_another(
    queue: PostgresDocuments, database: Database
) -> None:
    await queue.create_missing(PIPELINE, ["a"], PENDING)
    late = await claim(queue, worker="late")
    await run_out(database)

    quick = await claim(queue, worker="quick")
    assert quick.document_ids == ["a"]

    held_by_late = Guard(stage=EMBEDDING, worker="late")
    assert not await queue.heartbeat(PIPELINE, ["a"], held_by_late)
    assert not await queue.move(PIPELINE, ["a"], PENDING, held_by_late)
    assert not await queue.settle(PIPELINE, ["a"], INDEXED, "", Guard(lease=late.lease))
    assert not await queue.fail_attempts(PIPELINE, ["a"], "broken", Guard(lease=late.lease))
    assert await queue.settle(PIPELINE, ["a"], INDEXED, "", Guard(lease=quick.lease))


async def test_a_worker_of_the_same_id_is_told_apart_by_its_claim(
    queue: PostgresDocuments, database: Database
) -> None:
    await queue.create_missing(PIPELINE, ["a"], PENDING)
    before = await claim(queue)
    await run_out(database)
    after = await claim(queue)

    guard = Guard(stage=EMBEDDING, worker="w")
    assert not await queue.is_held(PIPELINE, "a", before.lease)
    assert not await queue.heartbeat(
        PIPELINE, ["a"], Guard(stage=EMBEDDING, worker="w", lease=before.lease)
    )
    assert await queue.is_held(PIPELINE, "a", after.lease)
    assert await queue.heartbeat(PIPELINE, ["a"], guard) == 1


async def test_a_heartbeat_renews_by_the_time_of_the_claim(
    queue: PostgresDocuments, database: Database
) -> None:
    await queue.create_missing(PIPELINE, ["a"], PENDING)
    await claim(queue, lease_s=300)
    await run_out(database)

    assert await queue.heartbeat(PIPELINE, ["a"], Guard(stage=EMBEDDING, worker="w")) == 1
    left = "SELECT extract(epoch FROM due_at - now())::int FROM layer.document_queue"
    assert 290 < await database.fetchval("test", left) <= 300
    assert not (await claim(queue, worker="other")).document_ids


async def test_leases_that_run_out_time_and_again_give_a_document_up(
    queue: PostgresDocuments, database: Database
) -> None:
    await queue.create_missing(PIPELINE, ["poison"], PENDING)
    for _ in range(3):
        assert (await claim(queue)).document_ids == ["poison"]
        await run_out(database)

    assert not (await claim(queue)).document_ids
    (failed,) = await queue.failed(PIPELINE, after="", limit=10)
    assert (failed.id, failed.reason, failed.attempt_count) == ("poison", "lease_expired", 3)


async def test_a_failed_attempt_waits_longer_each_time_and_is_then_given_up(
    queue: PostgresDocuments, database: Database
) -> None:
    await queue.create_missing(PIPELINE, ["a"], PENDING)
    wait = "SELECT extract(epoch FROM due_at - now())::float8 FROM layer.document_queue"
    for longest_s in (60, 120):
        await claim(queue)
        assert await queue.fail_attempts(PIPELINE, ["a"], "broken", ANY) == [False]
        assert longest_s * 0.49 < await database.fetchval("test", wait) <= longest_s
        assert not (await claim(queue)).document_ids
        await run_out(database)
    await claim(queue)

    assert await queue.fail_attempts(PIPELINE, ["a"], "broken", ANY) == [True]
    counted = await figures(queue)
    assert counted.stage_counts == {FAILED: 1}
    assert counted.failed_reason_counts == {"broken": 1}


async def test_staging_anew_takes_a_document_from_whoever_holds_it(
    queue: PostgresDocuments,
) -> None:
    assert await queue.stage(PIPELINE, "a", b"first") == []
    claimed = await claim(queue)
    assert await queue.stage(PIPELINE, "a", b"second") == [b"first"]
    assert not await queue.settle(PIPELINE, ["a"], INDEXED, "", Guard(lease=claimed.lease))
    assert await queue.payload(PIPELINE, "a") == b"second"

    await queue.settle(PIPELINE, ["a"], INDEXED, "", ANY)
    assert await queue.stage(PIPELINE, "a", b"third") == [b"second"]
    assert (await figures(queue)).stage_counts == {PENDING: 1}


async def test_documents_that_exist_are_not_created_again(queue: PostgresDocuments) -> None:
    await queue.stage(PIPELINE, "waiting", BODY)
    await queue.stage(PIPELINE, "done", BODY)
    await queue.settle(PIPELINE, ["done"], INDEXED, "", ANY)

    created = await queue.create_missing(PIPELINE, ["done", "new", "waiting"], "extracting")

    assert created == 1
    assert (await figures(queue)).stage_counts == {PENDING: 1, INDEXED: 1, "extracting": 1}
    assert await queue.payload(PIPELINE, "new") == b""
    assert await queue.payload(PIPELINE, "none") is None


async def test_moves_pass_their_guards_or_change_nothing(queue: PostgresDocuments) -> None:
    await queue.create_missing(PIPELINE, IDS, PENDING)
    await claim(queue, limit=4, worker="mine")

    assert await queue.move(PIPELINE, IDS, "x", Guard(stage=EMBEDDING, worker="other")) == 0
    assert await queue.move(PIPELINE, IDS, PENDING, Guard(stage=EMBEDDING, worker="mine")) == 4
    assert len(await queue.settle(PIPELINE, IDS[:2], FAILED, "reported", ANY)) == 2
    assert await queue.move(PIPELINE, IDS[:3], "again", Guard(stage=FAILED)) == 2
    assert len(await queue.settle(PIPELINE, IDS[:2], INDEXED, "", Guard(stage="again"))) == 2
    assert len(await queue.settle(PIPELINE, IDS[:2], FAILED, "reported", ANY)) == 2
    counted = await figures(queue)
    assert counted.stage_counts == {PENDING: 8, FAILED: 2}
    assert counted.failed_reason_counts == {"reported": 2}


async def test_failed_documents_can_be_claimed_from_where_they_are(
    queue: PostgresDocuments,
) -> None:
    await queue.create_missing(PIPELINE, ["a", "b"], FAILED)
    assert (await claim(queue, stage=FAILED, claim_stage="repair")).document_ids == ["a", "b"]
    assert (await figures(queue)).stage_counts == {"repair": 2}


async def test_callers_that_create_the_same_documents_at_once_create_each_once(
    queue: PostgresDocuments,
) -> None:
    ids = [f"doc-{number:04}" for number in range(600)]
    calls = (
        queue.create_missing(PIPELINE, ids[at : at + 300], PENDING) for at in range(0, 301, 50)
    )

    created = await asyncio.gather(*calls)

    assert sum(created) == len(ids)
    assert (await figures(queue)).stage_counts == {PENDING: len(ids)}


async def test_counts_do_not_read_the_queue(queue: PostgresDocuments, database: Database) -> None:
    await queue.create_missing(PIPELINE, IDS, PENDING)
    await claim(queue, limit=4)
    async with database.transaction("test") as connection:
        # Nobody else can read it now.
        await connection.execute("LOCK TABLE layer.document_queue IN ACCESS EXCLUSIVE MODE")
        counted = await figures(queue)

    assert counted.stage_counts == {PENDING: 6, EMBEDDING: 4}
    assert counted.leased_count == 4


async def test_folding_changes_no_figure(queue: PostgresDocuments, database: Database) -> None:
    await queue.create_missing(PIPELINE, IDS, PENDING)
    for one in IDS:
        await queue.settle(PIPELINE, [one], INDEXED, "", ANY)
    before = await figures(queue)
    assert before.indexed_recently == len(IDS)
    await database.fetch("test", "UPDATE layer.document_counts SET at = at - interval '1 hour'")
    await queue.fold([PIPELINE])

    after = await figures(queue)
    assert after.stage_counts == before.stage_counts
    assert after.indexed_recently == 0
    assert await database.fetchval("test", "SELECT count(*) FROM layer.document_counts") == 1
    assert await database.fetchval("test", "SELECT count(*) FROM layer.document_queue_counts") == 0


async def test_folding_keeps_what_the_rate_needs(
    queue: PostgresDocuments, database: Database
) -> None:
    await queue.create_missing(PIPELINE, IDS, PENDING)
    for one in IDS:
        await queue.settle(PIPELINE, [one], INDEXED, "", ANY)
    await queue.fold([PIPELINE])
    rows = await database.fetchval("test", "SELECT count(*) FROM layer.document_counts")
    assert rows < len(IDS)
    assert (await figures(queue)).indexed_recently == len(IDS)
