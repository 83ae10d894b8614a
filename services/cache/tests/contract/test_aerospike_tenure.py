"""One process at a time holds rows in Aerospike, whatever is late, lost or started anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from layer_cache.adapters.aerospike import tenure
from layer_cache.domain.rows import Entry, RowKey, row_keys
from layer_cache.ports import Ledger, RowStore
from layer_cache_testing.aerospike_node.node import AerospikeNode
from layer_kit.errors import UnavailableError
from layer_kit.names import Namespace

BOOKS, FILMS = Namespace("books"), Namespace("films")
Process = Any  # the fixture's class lives in conftest.py, which nothing can import
Processes = Callable[..., Process]
SHORT_MS = 500


def key(number: int, namespace: Namespace = BOOKS) -> RowKey:
    return row_keys(namespace, [b"u%d" % number], count_max=1)[0]


def entry(body: bytes = b"{}", *, era: int = 1) -> Entry:
    return Entry(era, 1_000_000_000, body, b"")


async def bodies(store: RowStore, *numbers: int) -> list[bytes | None]:
    found = await store.get([key(number) for number in numbers])
    return [None if one is None else one.body for one in found]


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenure, "LOOK_INTERVAL_S", 0.01)


async def test_a_second_process_waits_until_the_first_lets_go(processes: Processes) -> None:
    first, second = processes(), processes()
    one = await first.start()
    await one.rows.put([(key(1), entry(b"1"))])
    starting = asyncio.create_task(second.start())
    second.step_s = 0.1
    for _ in range(50):
        await one.maintain()
        await asyncio.sleep(0)
    assert not starting.done()

    await first.stop()
    two = await starting

    assert await bodies(two.rows, 1) == [b"1"]
    assert two.tenure.state.cuts == []


async def test_a_silent_process_is_replaced_and_vouches_for_nothing_more(
    processes: Processes,
) -> None:
    first, second = processes(), processes()
    one = await first.start()
    await one.rows.put([(key(1), entry(b"1"))])
    await one.maintain()
    second.step_s = 0.5
    two = await second.start()

    first.now_s += tenure.TENURE_S

    assert await bodies(one.rows, 1) == [None]
    assert await one.rows.put([(key(2), entry())]) == 0
    with pytest.raises(UnavailableError, match="does not hold"):
        one.ledger.vouch()
    with pytest.raises(UnavailableError, match="does not hold"):
        await one.rows.delete([key(3)])
    with pytest.raises(UnavailableError, match="does not hold"):
        await one.rows.scan(BOOKS, after=None, count_max=1)
    assert await bodies(two.rows, 1) == [b"1"]

    assert not first.is_told_to_end
    with pytest.raises(UnavailableError):
        await one.maintain()
    assert first.is_told_to_end
    with pytest.raises(UnavailableError):
        await one.ledger.record_floor(9)
    await two.maintain()
    assert two.ledger.load().floor == 0


async def test_what_a_process_put_after_its_last_renewal_is_void_for_its_successor(
    processes: Processes,
) -> None:
    first, second = processes(), processes()
    one = await first.start()
    await one.rows.put([(key(1), entry(b"before"))])
    await one.maintain()
    await one.rows.put([(key(2), entry(b"after"))])

    second.step_s = 0.5
    two = await second.start()

    assert await bodies(two.rows, 1, 2) == [b"before", None]
    await one.rows.put([(key(3), entry(b"late"))])
    assert await bodies(two.rows, 3) == [None]


async def test_a_put_that_lands_after_all_never_shows(
    processes: Processes, node: AerospikeNode
) -> None:
    process = processes(timeout_ms=SHORT_MS)
    opened = await process.start()
    with node.writes_held_up():
        assert await opened.rows.put([(key(1), entry(b"old"))]) == 0
    process.now_s += 2.0
    await opened.tenure.renew()
    await opened.rows.delete([key(1)])
    with node.writes_held_up():
        assert await opened.rows.put([(key(1), entry(b"old")), (key(2), entry(b"old"))]) == 0
    assert await bodies(opened.rows, 1, 2) == [None, None]

    process.now_s += 2.0  # the breaker lets a call through again
    await process.stop()
    opened = await process.start()

    assert await bodies(opened.rows, 1, 2) == [None, None]
    assert await opened.rows.put([(key(1), entry(b"new"))]) == 1
    assert await bodies(opened.rows, 1, 2) == [b"new", None]


async def test_a_delete_waits_for_the_puts_of_its_keys(
    processes: Processes, node: AerospikeNode
) -> None:
    opened = await processes().start()
    with node.writes_held_up():
        putting = asyncio.create_task(opened.rows.put([(key(1), entry(b"1"))]))
        await asyncio.sleep(0)
        reading = asyncio.create_task(bodies(opened.rows, 1))
        deleting = asyncio.create_task(opened.rows.delete([key(1), key(2)]))
        again = asyncio.create_task(opened.rows.put([(key(2), entry(b"2"))]))
        await asyncio.sleep(0)
    assert await putting == 1
    assert await reading == [b"1"] or await reading == [None]  # the delete may pass the read
    await deleting
    assert await again == 1

    assert await bodies(opened.rows, 1, 2) == [None, b"2"]


async def test_a_put_whose_caller_is_gone_is_still_waited_for(
    processes: Processes, node: AerospikeNode
) -> None:
    opened = await processes().start()
    with node.writes_held_up():
        putting = asyncio.create_task(opened.rows.put([(key(1), entry(b"1"))]))
        await asyncio.sleep(0)
        putting.cancel()
        deleting = asyncio.create_task(opened.rows.delete([key(1)]))
        await asyncio.sleep(0)
    await deleting

    assert await bodies(opened.rows, 1) == [None]


async def test_the_ledger_survives_its_process(processes: Processes) -> None:
    first, second = processes(), processes()
    one = await first.start()
    assert one.ledger.load() == Ledger()
    await one.ledger.record_epoch(BOOKS, 2)
    await one.ledger.record_floor(3)
    await one.ledger.record_epoch(BOOKS, 4)
    await one.ledger.record_epoch(FILMS, 5)
    for member_id in ("one", "two", "two"):
        await one.ledger.add_member(member_id)
    await one.ledger.remove_members(["one", "absent"])

    second.step_s = 0.5
    two = await second.start()

    assert two.ledger.load() == Ledger(
        floor=3, epochs={BOOKS: 4, FILMS: 5}, member_ids=frozenset({"two"})
    )


async def test_an_epoch_that_a_replaced_process_still_raised_is_kept(processes: Processes) -> None:
    first, second = processes(), processes()
    one = await first.start()
    await one.ledger.record_epoch(BOOKS, 2)
    second.step_s = 0.5
    two = await second.start()
    await one.ledger.record_epoch(BOOKS, 7)

    await two.ledger.record_epoch(BOOKS, 3)
    await second.stop()

    assert (await second.start()).ledger.load().epochs == {BOOKS: 7}


async def test_no_row_is_put_in_an_era_that_is_not_recorded(
    processes: Processes, node: AerospikeNode
) -> None:
    process = processes(timeout_ms=SHORT_MS)
    opened = await process.start()
    with node.writes_held_up(), pytest.raises(UnavailableError):
        await opened.ledger.record_epoch(BOOKS, 5)
    process.now_s += 2
    await opened.tenure.renew()

    assert await opened.rows.put([(key(1), entry(era=5)), (key(2), entry(era=4))]) == 1
    await opened.maintain()
    assert await opened.rows.put([(key(1), entry(era=5))]) == 1


@pytest.mark.parametrize("keeps_records", [True, False])
async def test_a_cluster_that_forms_anew_voids_what_was_cached(
    processes: Processes,
    node: AerospikeNode,
    keeps_records: bool,  # noqa: FBT001 -- a parameter of the test
) -> None:
    process = processes()
    opened = await process.start()
    await opened.rows.put([(key(1), entry(b"1"))])
    await opened.ledger.add_member("one")
    await opened.ledger.record_epoch(BOOKS, 6)
    node.stop()
    if not keeps_records:
        node.forget()
    assert await bodies(opened.rows, 1) == [None]

    node.start()
    process.now_s += 2
    while not opened.tenure.is_held:
        process.now_s += 2
        await try_to_renew(opened)

    assert await bodies(opened.rows, 1) == [None]
    assert await opened.rows.put([(key(1), entry(b"2", era=6))]) == 1
    assert await bodies(opened.rows, 1) == [b"2"]
    await process.stop()
    opened = await process.start()
    assert await bodies(opened.rows, 1) == [b"2"]
    found = opened.ledger.load()
    assert (found.member_ids, max(found.floor, found.epochs.get(BOOKS, 0))) == ({"one"}, 6)


async def try_to_renew(opened: Any) -> None:
    """Try to renew; the driver takes a moment to find its node again."""
    try:
        await opened.maintain()
    except UnavailableError:
        await asyncio.sleep(0.05)


async def test_a_cluster_that_formed_anew_between_two_processes_voids_everything(
    processes: Processes, node: AerospikeNode
) -> None:
    first, second = processes(), processes()
    one = await first.start()
    await one.rows.put([(key(1), entry(b"1"))])
    await first.stop()
    node.stop()
    node.start()

    two = await second.start()

    assert await bodies(two.rows, 1) == [None]


async def test_eviction_takes_entries_and_nothing_else(
    processes: Processes, node: AerospikeNode
) -> None:
    first, second = processes(), processes()
    one = await first.start()
    await one.rows.put([(key(n), entry(b"old")) for n in range(10)])
    await one.ledger.record_epoch(BOOKS, 4)
    await one.ledger.add_member("one")

    node.records.evict(10_000)

    assert await bodies(one.rows, *range(10)) == [None] * 10
    await one.maintain()
    second.step_s = 0.5
    two = await second.start()
    assert two.ledger.load() == Ledger(epochs={BOOKS: 4}, member_ids=frozenset({"one"}))


async def test_more_doubts_than_are_remembered_void_everything(
    processes: Processes, node: AerospikeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenure, "DEAD_STAMPS_MAX", 1)
    process = processes(timeout_ms=SHORT_MS)
    opened = await process.start()
    await opened.rows.put([(key(1), entry(b"1"))])
    for _ in range(2):
        with node.writes_held_up():
            assert await opened.rows.put([(key(2), entry(b"2"))]) == 0
        process.now_s += 2
        await opened.tenure.renew()

    assert await bodies(opened.rows, 1, 2) == [None, None]
    assert await opened.rows.put([(key(2), entry(b"3"))]) == 1
