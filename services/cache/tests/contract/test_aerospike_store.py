"""What the Aerospike backend must do beyond the port: limits, faults, and how it is laid out.

Tests that cause a fault run over the node of our own, the others over ``AEROSPIKE_HOSTS`` if set.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from layer_cache.adapters.aerospike import client as client_module
from layer_cache.adapters.aerospike import windows
from layer_cache.adapters.aerospike.breaker import OPEN_S, Breaker
from layer_cache.adapters.aerospike.facts import facts_of
from layer_cache.adapters.aerospike.opening import parse_hosts
from layer_cache.adapters.aerospike.rows import TIMELY_BYTES_MAX
from layer_cache.application.steps import live_rows
from layer_cache.domain.eras import Eras
from layer_cache.domain.limits import READ_BYTES_MAX
from layer_cache.domain.rows import Entry, RowKey, row_keys
from layer_cache.ports import RowStore
from layer_cache_testing.aerospike_node.node import AerospikeNode
from layer_cache_testing.aerospike_node.records import EPOCH_S
from layer_kit.errors import UnavailableError
from layer_kit.names import Namespace

BOOKS, FILMS = Namespace("books"), Namespace("films")
Process = Any  # the fixture's class lives in conftest.py, which nothing can import
Processes = Callable[..., Process]
SHORT_MS = 500


def key(number: int, namespace: Namespace = BOOKS) -> RowKey:
    return row_keys(namespace, [b"u%06d" % number], count_max=1)[0]


def entry(body: bytes = b"{}") -> Entry:
    return Entry(1, 1_000_000_000, body, b"")


async def bodies(store: RowStore, *numbers: int) -> list[bytes | None]:
    found = await store.get([key(number) for number in numbers])
    return [None if one is None else one.body for one in found]


async def scan_all(store: RowStore, namespace: Namespace, count_max: int) -> list[RowKey]:
    return [
        row_key
        async for rows in live_rows(store, Eras(), namespace, count_max=count_max)
        for row_key, _ in rows
    ]


async def test_puts_of_one_key_that_race_leave_one_of_them_whole(processes: Processes) -> None:
    store = (await processes().start()).rows
    versions = [b"%d" % number * 1000 for number in range(20)]
    await asyncio.gather(*(store.put([(key(1), entry(version))]) for version in versions))

    assert await bodies(store, 1) == [versions[-1]]


async def test_what_is_deleted_in_the_middle_of_puts_stays_deleted(processes: Processes) -> None:
    store = (await processes().start()).rows
    for turn in range(10):
        puts = [asyncio.create_task(store.put([(key(1), entry(b"%d" % turn))])) for _ in range(5)]
        await asyncio.sleep(0)
        await store.delete([key(1)])
        await asyncio.gather(*puts)
        assert await bodies(store, 1) == [None]


async def test_a_scan_in_small_windows_sees_every_row_once_while_others_are_written(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "WINDOW_KEYS", 16)
    store = (await processes().start()).rows
    await store.put([(key(number), entry()) for number in range(0, 200, 2)])
    seen: list[RowKey] = []
    async for rows in live_rows(store, Eras(), BOOKS, count_max=5):
        seen += [row_key for row_key, _ in rows]
        await store.put([(key(len(seen) * 2 + 1), entry())])

    assert seen == sorted(set(seen))
    assert {key(number) for number in range(0, 200, 2)} <= set(seen)


async def test_namespaces_beyond_those_with_a_set_of_their_own_share_sets(
    processes: Processes,
) -> None:
    process = processes(own_sets_max=1)
    store = (await process.start()).rows
    names = [Namespace(name) for name in ("books", "films", "films.more", "n" * 128)]
    for position, name in enumerate(names):
        rows = [(key(number, name), entry(b"%d" % position)) for number in range(5)]
        assert await store.put(rows) == 5
    await process.stop()
    store = (await process.start()).rows

    for position, name in enumerate(names):
        assert await scan_all(store, name, 2) == [key(number, name) for number in range(5)]
        found = await store.get([key(0, name)])
        assert found == [entry(b"%d" % position)]
    await store.delete([key(0, names[1])])
    assert await store.get([key(0, names[1]), key(0, names[2])]) == [None, entry(b"2")]


@pytest.mark.parametrize("own_sets_max", [0, 1])
async def test_ids_of_any_bytes_are_told_apart(processes: Processes, own_sets_max: int) -> None:
    store = (await processes(own_sets_max=own_sets_max).start()).rows
    ids = [b"sa", b"sa\0b", b"sa\0c", b"sa\1", b"s\xff", b"s\xfe\0", "sé".encode()]
    keys = [RowKey(b"books\0" + row_id) for row_id in ids]  # a record's key may be any bytes
    await store.put([(row_key, entry(row_key)) for row_key in keys])

    assert await store.get(keys) == [entry(row_key) for row_key in keys]
    assert await scan_all(store, BOOKS, 2) == sorted(keys)


async def test_a_row_that_is_too_big_is_skipped_and_counted(
    processes: Processes, node: AerospikeNode
) -> None:
    opened = await processes().start()
    store = opened.rows
    await store.put([(key(2), entry(b"old"))])

    assert await store.put([(key(1), entry(b"x" * 1024 * 1024)), (key(2), entry(b"new"))]) == 1
    assert await bodies(store, 1, 2) == [None, b"new"]
    assert store.figures().oversize_count == 1

    node.records.record_bytes_max = 10_000  # which we have not noticed yet
    assert await store.put([(key(3), entry(b"x" * 20_000)), (key(4), entry())]) == 1
    assert store.figures().oversize_count == 2
    await opened.measure()
    assert await store.put([(key(3), entry(b"x" * 20_000))]) == 0
    assert store.figures().oversize_count == 3


async def test_fewer_rows_go_into_one_call_where_they_are_big(
    processes: Processes, node: AerospikeNode
) -> None:
    opened = await processes().start()
    store = opened.rows
    assert store.rows_at_once() * node.records.record_bytes_max <= READ_BYTES_MAX
    await store.put([(key(number), entry(b"x" * 500_000)) for number in range(40)])
    await store.put([(key(number, FILMS), entry()) for number in range(400)])
    await opened.measure()

    assert 0 < store.rows_at_once() * 500_000 <= TIMELY_BYTES_MAX
    assert await scan_all(store, BOOKS, 40) == [key(number) for number in range(40)]

    await store.delete([key(number) for number in range(40)])
    await opened.measure()
    assert store.rows_at_once() > 100


async def test_stop_writes_makes_the_store_read_only_until_there_is_room(
    processes: Processes, node: AerospikeNode
) -> None:
    opened = await processes().start()
    store = opened.rows
    await store.put([(key(1), entry(b"1"))])

    node.records.stop_writes = True
    assert await store.put([(key(1), entry(b"new")), (key(2), entry())]) == 0
    assert await store.put([(key(2), entry())]) == 0

    assert await bodies(store, 1, 2) == [b"1", None]
    figures = store.figures()
    assert (figures.is_read_only, figures.last_error) == (True, "stop-writes")
    assert (figures.is_connected, figures.refused_count) == (True, 3)
    await store.delete([key(1)])
    assert await bodies(store, 1) == [None]

    node.records.stop_writes = False
    await opened.measure()
    assert not store.figures().is_read_only
    assert await store.put([(key(2), entry(b"2"))]) == 1


async def test_records_expire_with_their_rows_if_the_server_expires_any(
    processes: Processes, node: AerospikeNode
) -> None:
    opened = await processes().start()
    await opened.rows.put([(key(1), entry())])
    node.records.nsup_period_s = 0
    assert await opened.rows.put([(key(2), entry())]) == 0  # refused: we ask for a time to live
    await opened.measure()
    assert await opened.rows.put([(key(3), entry())]) == 1

    void_times = {
        record.user_key[1:]: record.void_time for record in node.records.by_digest.values()
    }
    assert 50 < void_times[b"u000001"] - (time.time() - EPOCH_S) <= 62
    assert void_times[b"u000003"] == 0
    assert void_times[b"tenure"] == 0


async def test_a_server_that_takes_no_more_sets_costs_rows_and_nothing_else(
    processes: Processes, node: AerospikeNode
) -> None:
    store = (await processes().start()).rows
    node.records.sets_max = len(node.records.set_names)

    assert await store.put([(key(1), entry())]) == 0
    assert await bodies(store, 1) == [None]
    assert store.figures().is_connected


async def test_a_connection_that_breaks_within_a_batch_fails_softly(
    processes: Processes, node: AerospikeNode
) -> None:
    process = processes()
    opened = await process.start()
    store = opened.rows
    await store.put([(key(n), entry(b"old")) for n in range(10)])

    node.rows_until_cut = 5
    assert await store.put([(key(n), entry(b"new")) for n in range(10)]) == 0
    assert await bodies(store, *range(10)) == [None] * 10, "the breaker is open"
    process.now_s += OPEN_S
    await opened.tenure.renew()

    assert await bodies(store, *range(5)) == [None] * 5, "nobody knows that these were stored"
    assert await bodies(store, *range(5, 10)) == [b"old"] * 5
    assert opened.rows.lost_through() == opened.rows.mark()
    node.rows_until_cut = 5
    await store.delete([key(n) for n in range(10)])  # which may be repeated, and was
    assert await bodies(store, *range(10)) == [None] * 10


async def test_a_silent_cluster_opens_the_breaker_which_a_single_call_probes(
    processes: Processes, node: AerospikeNode
) -> None:
    process = processes(timeout_ms=SHORT_MS)
    opened = await process.start()
    store, breaker = opened.rows, opened.client.breaker
    await store.put([(key(1), entry(b"1"))])
    assert (breaker.is_closed, breaker.generation) == (True, 1)

    node.is_silent = True
    with pytest.raises(UnavailableError):
        await store.take([key(1)])
    started_s = time.perf_counter()
    assert await bodies(store, 1) == [None]
    assert await store.put([(key(1), entry())]) == 0
    with pytest.raises(UnavailableError, match="out of reach"):
        await store.scan(BOOKS, after=None, count_max=1)
    with pytest.raises(UnavailableError, match="not confirmed"):
        await store.delete([key(1)])
    assert time.perf_counter() - started_s < SHORT_MS / 1000, "no call waits any more"
    figures = store.figures()
    assert (figures.is_connected, figures.generation) == (False, 1)
    assert "Aerospike" in figures.last_error

    process.now_s += OPEN_S - 0.01
    node.is_silent = False
    assert await bodies(store, 1) == [None]
    process.now_s += 0.01
    await opened.tenure.renew()
    assert await bodies(store, 1) == [b"1"]
    figures = store.figures()
    assert (figures.is_connected, figures.generation, figures.last_error) == (True, 2, "")
    seconds = process.registry.get_sample_value(
        "layer_aerospike_op_duration_seconds_count",
        {"operation": "get", "set": f"{process.target.set_prefix}books", "status": "ok"},
    )
    assert seconds


def test_only_one_call_probes_and_a_failed_probe_opens_again() -> None:
    now_s = 100.0
    breaker = Breaker(lambda: now_s)
    with breaker.attempt(), pytest.raises(UnavailableError), breaker.attempt():
        pass
    with breaker.attempt() as one, breaker.attempt():
        one.fail("late")
    assert (breaker.is_closed, breaker.last_error) == (False, "late")
    now_s += OPEN_S
    with breaker.attempt() as probe:
        probe.fail("still away")
    with pytest.raises(UnavailableError), breaker.attempt():
        pass
    now_s += OPEN_S
    with breaker.attempt():
        pass
    assert (breaker.is_closed, breaker.generation) == (True, 2)


async def test_a_start_waits_for_a_cluster_that_is_away(
    processes: Processes, node: AerospikeNode
) -> None:
    node.stop()
    process = processes()
    process.step_s = 0.5
    starting = asyncio.create_task(process.start())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(starting), 0.1)

    node.start()

    assert await (await starting).rows.put([(key(1), entry())]) == 1


async def test_more_calls_than_may_wait_are_refused(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = await processes().start()
    await opened.rows.put([(key(1), entry(b"1"))])
    monkeypatch.setattr(client_module, "WAITING_MAX", 0)

    assert await bodies(opened.rows, 1) == [None]
    assert await opened.rows.put([(key(1), entry(b"2"))]) == 0
    monkeypatch.undo()
    assert await bodies(opened.rows, 1) == [b"1"], "it was never sent, so nothing is in doubt"


async def test_eviction_is_noticed(processes: Processes, node: AerospikeNode) -> None:
    opened = await processes().start()
    mark = opened.rows.mark()
    await opened.rows.put([(key(n), entry()) for n in range(10)])
    await opened.measure()
    assert opened.rows.lost_through() <= mark

    node.records.evict(1)
    await opened.measure()

    assert opened.rows.lost_through() > mark


def test_facts_are_read_from_servers_of_any_version() -> None:
    server_6 = {
        "objects": "10",
        "effective_replication_factor": "2",
        "device_total_bytes": "4000",
        "memory-size": "9000",
        "storage-engine.write-block-size": "2048",
        "nsup-period": "0",
        "allow-ttl-without-nsup": "true",
        "stop_writes": "true",
        "evicted_objects": "3",
    }
    sets = [{"set": "tpuf_books", "objects": "8", "device_data_bytes": "800"}]

    facts = facts_of("test", [server_6, server_6], sets)

    assert (facts.bytes_max, facts.record_bytes_max, facts.evicted_count) == (4000, 1024, 6)
    assert (facts.expires_records, facts.stop_writes) == (True, True)
    assert [(one.records_count, one.bytes_used) for one in facts.sets] == [(4, 400)]
    with pytest.raises(UnavailableError, match="has no namespace test"):
        facts_of("test", [{"type": "unknown"}], [])


def test_hosts_are_named_with_or_without_a_port() -> None:
    assert parse_hosts("one, two:3100,[::1]:3200,[fe80::1]") == [
        ("one", 3000),
        ("two", 3100),
        ("::1", 3200),
        ("fe80::1", 3000),
    ]
    for wrong in ("", "one:zero", "one:0", "one:70000", ":3000"):
        with pytest.raises(ValueError, match=r"host:port|invalid literal"):
            parse_hosts(wrong)
