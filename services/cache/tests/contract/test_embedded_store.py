"""What the embedded backend must do beyond the port: crashes, full disks, damage, ownership."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from layer_cache.adapters.embedded import EmbeddedStore
from layer_cache.adapters.ledger import SqliteLedger
from layer_cache.application.steps import live_rows
from layer_cache.domain.eras import Eras
from layer_cache.domain.rows import Entry, RowKey, row_keys
from layer_cache.ports import Ledger
from layer_kit.errors import UnavailableError
from layer_kit.names import Namespace
from layer_testing.processes import child_environment

BOOKS = Namespace("books")
Stores = Any  # the fixture's class lives in conftest.py, which nothing can import

WRITER = """
import asyncio, itertools, sys
from pathlib import Path
from layer_cache.adapters.embedded import EmbeddedStore
from layer_cache.application.steps import live_rows
from layer_cache.domain.eras import Eras
from layer_cache.domain.rows import Entry, row_keys

store = EmbeddedStore(
    Path(sys.argv[1]), disk_bytes_max=2**26, ttl_s=1e6,
    now_ms=lambda: 1000, distrust=print,
)

async def write():
    for number in itertools.count():
        key, gone = row_keys("books", [b"u%d" % number, b"u%d" % (number - 10)], count_max=2)
        await store.put([(key, Entry(1, 1000, b"%d" % number * 50, b""))])
        await store.delete([gone])
        print(number, flush=True)

asyncio.run(write())
"""


def key(number: int) -> RowKey:
    return row_keys(BOOKS, [b"u%d" % number], count_max=1)[0]


def entry(body: bytes = b"{}") -> Entry:
    return Entry(1, 1_000_000_000, body, b"")


async def scanned(store: EmbeddedStore) -> list[RowKey]:
    return [row_key async for rows in live_rows(store, Eras(), BOOKS) for row_key, _ in rows]


async def test_what_a_killed_writer_deleted_is_gone_and_what_it_has_closed_over_is_there(
    tmp_path: Path,
) -> None:
    earlier = [key(number) for number in range(-20, 0)]
    store = embedded(tmp_path / "rows")
    await store.put([(row_key, entry()) for row_key in earlier])
    await store.close()
    reported = write_until_killed(tmp_path / "rows")
    store = embedded(tmp_path / "rows")

    found = await store.get([*earlier, *map(key, range(reported - 9))])
    written_last = await store.get([key(reported)])
    await store.close()

    # The writer deleted the last ten of those before it, too.
    assert found == [entry()] * 10 + [None] * (10 + reported - 9)
    assert written_last in ([None], [Entry(1, 1000, b"%d" % reported * 50, b"")])


async def test_a_row_over_age_that_was_taken_is_not_back_when_the_clock_is_set_back(
    tmp_path: Path,
) -> None:
    now_ms = 1_000_000

    def opened() -> EmbeddedStore:
        return EmbeddedStore(
            tmp_path / "rows",
            disk_bytes_max=2**26,
            ttl_s=10,
            now_ms=lambda: now_ms,
            distrust=lambda _why: None,
        )

    store = opened()
    await store.put([(key(1), Entry(1, now_ms, b"{}", b""))])
    now_ms += 10_000
    assert await store.take([key(1)]) == [None]
    now_ms -= 1
    assert await store.get([key(1)]) == [None]
    await store.close()


def embedded(path: Path) -> EmbeddedStore:
    return EmbeddedStore(
        path, disk_bytes_max=2**26, ttl_s=1e6, now_ms=lambda: 1000, distrust=lambda _why: None
    )


def write_until_killed(path: Path) -> int:
    """Start a writer, kill it in the middle, return the last number that it reported."""
    reported = 0
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE,
        env=child_environment({}),
        text=True,
    ) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            reported = int(line)
            if reported == 2000:
                writer.send_signal(signal.SIGKILL)
    return reported


async def test_a_stop_keeps_what_was_stored_and_what_was_deleted(
    make_stores: Callable[[str], Stores],
) -> None:
    stores = make_stores("embedded")
    store = await stores.open()
    await store.put([(key(n), entry()) for n in range(10)])
    await store.delete([key(3)])

    store = await stores.reopen(store)

    assert await store.get([key(3), key(4)]) == [None, entry()]
    assert len((await store.scan(BOOKS, after=None, count_max=100)).rows) == 9
    await stores.close()


LIMIT_BYTES = 64 * 1024
"""Less than the stores of these tests hold, and more than a test prints."""


@pytest.fixture
def full_disk() -> Any:
    """Return what makes files of this process grow no further, and what ends that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(limit_bytes: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))

    yield fill
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_sqlite_on_a_full_disk_refuses_puts_and_deletes_and_serves_reads(
    make_stores: Callable[[str], Stores], full_disk: Callable[[int], None]
) -> None:
    stores = make_stores("sqlite")
    store = await stores.open()
    await store.put([(key(n), entry(b"x" * 1000)) for n in range(300)])

    full_disk(LIMIT_BYTES)
    assert await store.put([(key(n), entry(b"y" * 1000)) for n in range(300)]) == 0
    with pytest.raises(UnavailableError, match="cannot remove"):
        await store.delete([key(n) for n in range(300)])

    assert await store.get([key(1)]) == [entry(b"x" * 1000)]
    assert store.figures().is_read_only
    assert stores.distrusted
    await store.recover()
    assert store.figures().is_read_only
    full_disk(resource.RLIM_INFINITY)
    await store.recover()
    assert not store.figures().is_read_only
    await store.delete([key(n) for n in range(300)])
    assert await store.put([(key(5), entry(b"new"))]) == 1
    assert await store.get([key(5), key(6)]) == [entry(b"new"), None]
    await stores.close()


ABSENT = row_keys(BOOKS, [b"s%0200d" % number for number in range(400)], count_max=400)
"""Deleting these makes the log of an embedded store longer than ``LIMIT_BYTES``."""


async def test_puts_are_refused_once_a_full_disk_takes_no_table(
    make_stores: Callable[[str], Stores], full_disk: Callable[[int], None]
) -> None:
    stores = make_stores("embedded")
    store = await stores.open()

    noise = [(key(n), entry(os.urandom(10_000))) for n in range(100)]  # takes room on disk, too

    full_disk(LIMIT_BYTES)
    async with asyncio.timeout(30):
        while not store.figures().is_read_only:
            await asyncio.gather(store.put(noise), asyncio.sleep(0.001))
    assert await store.put([(key(5), entry(b"new"))]) == 0

    full_disk(resource.RLIM_INFINITY)
    await store.recover()
    assert await store.put([(key(5), entry(b"new"))]) == 1
    await stores.close()


async def test_a_full_disk_refuses_puts_and_serves_reads(
    make_stores: Callable[[str], Stores], full_disk: Callable[[int], None]
) -> None:
    stores = make_stores("embedded")
    store = await stores.open()
    await store.put([(key(n), entry(b"x" * 1000)) for n in range(300)])
    await store.delete(ABSENT)

    full_disk(LIMIT_BYTES)
    await store.delete([key(5), key(6)])
    refused = await store.put([(key(n), entry(b"new")) for n in range(10)])

    assert refused == 0
    assert await store.get([key(1)]) == [entry(b"x" * 1000)]
    assert await store.get([key(5), key(6)]) == [None, None]
    page = await store.scan(BOOKS, after=None, count_max=2000)
    assert key(5) not in page.rows.keys
    figures = store.figures()
    assert figures.is_read_only
    assert figures.last_error
    assert figures.refused_count >= 10
    assert stores.distrusted, "what was not deleted on disk must not be found at the next start"

    full_disk(resource.RLIM_INFINITY)
    before = store.mark()
    await store.recover()

    assert not store.figures().is_read_only
    assert store.lost_through() > before, "what was in no table yet may be gone"
    assert await store.put([(key(5), entry(b"new"))]) == 1
    assert await store.get([key(5), key(6)]) == [entry(b"new"), None]
    store = await stores.reopen(store)
    assert await store.get([key(6)]) == [None]
    await stores.close()


async def test_more_failed_deletes_than_can_be_kept_make_the_store_answer_nothing(
    make_stores: Callable[[str], Stores],
    full_disk: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("layer_cache.adapters.embedded.UNERASED_KEYS_MAX", 2)
    stores = make_stores("embedded")
    store = await stores.open()
    await store.put([(key(n), entry(b"x" * 10_000)) for n in range(10)])
    await store.delete(ABSENT)

    full_disk(LIMIT_BYTES)
    await store.delete([key(1), key(2), key(3)])
    await store.delete([key(4)])

    assert set(await store.get([key(n) for n in range(10)])) == {None}
    assert await scanned(store) == []
    assert store.figures().entry_count == 0
    full_disk(resource.RLIM_INFINITY)
    await store.recover()
    assert set(await store.get([key(n) for n in range(10)])) == {None}
    assert await store.put([(key(1), entry())]) == 1
    await stores.close()


async def test_a_store_that_cannot_be_read_answers_nothing_until_it_began_anew(
    make_stores: Callable[[str], Stores],
) -> None:
    stores = make_stores("embedded")
    store = await stores.open()
    await store.put([(key(n), entry(b"x" * 1000)) for n in range(300)])
    store = await stores.reopen(store)
    for table in stores.path.glob("*.sst"):
        table.write_bytes(b"damage" * 1000)

    assert await store.get([key(1)]) == [None]
    assert await scanned(store) == []
    assert store.figures().is_read_only

    await store.recover()
    assert await store.put([(key(1), entry())]) == 1
    assert await store.get([key(1), key(2)]) == [entry(), None]
    await stores.close()


def test_a_damaged_store_is_reported_as_such(tmp_path: Path) -> None:
    (tmp_path / "CURRENT").write_text("nonsense\n")

    with pytest.raises(OSError, match="rows"):
        EmbeddedStore(
            tmp_path, disk_bytes_max=2**26, ttl_s=1, now_ms=lambda: 0, distrust=lambda _why: None
        )


async def test_the_ledger_remembers_epochs_the_floor_and_members(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = SqliteLedger(path, distrust=pytest.fail)
    assert ledger.load() == Ledger()
    await ledger.record_epoch(BOOKS, 2)
    await ledger.record_floor(3)
    await ledger.record_epoch(BOOKS, 4)
    for member_id in ("one", "two", "two"):
        await ledger.add_member(member_id)
    await ledger.remove_members(["one", "absent"])
    await ledger.close()

    again = SqliteLedger(path, distrust=pytest.fail)

    assert again.load() == Ledger(floor=3, epochs={BOOKS: 4}, member_ids=frozenset({"two"}))
    await again.close()


async def test_a_ledger_that_cannot_be_written_has_everything_distrusted(
    tmp_path: Path, full_disk: Callable[[int], None]
) -> None:
    distrusted: list[str] = []
    ledger = SqliteLedger(tmp_path / "ledger.sqlite", distrust=distrusted.append)

    full_disk(1)
    await ledger.record_epoch(BOOKS, 2)
    full_disk(resource.RLIM_INFINITY)  # now: pytest reports to what may be a file

    assert distrusted
    await ledger.close()


async def test_reads_stay_quick_beside_a_busy_writer(make_stores: Callable[[str], Stores]) -> None:
    stores = make_stores("embedded")
    store = await stores.open()
    await store.put([(key(n), entry(b"x" * 1000)) for n in range(1000)])

    async def write() -> None:
        for start in range(0, 20_000, 250):
            await store.put([(key(n), entry(b"y" * 1000)) for n in range(start, start + 250)])
            await asyncio.sleep(0)

    writing = asyncio.create_task(write())
    while not writing.done():
        assert await store.get([key(500)]) in ([entry(b"x" * 1000)], [entry(b"y" * 1000)])
        await asyncio.sleep(0)
    await stores.close()
