"""What every object store promises."""

from __future__ import annotations

import asyncio

import pytest

from layer_kit.errors import (
    InvalidRequestError,
    NotFoundError,
    PayloadTooLargeError,
    PreconditionError,
)
from layer_objects import ObjectStore
from layer_objects.keys import KEY_BYTES_MAX
from layer_objects.port import OBJECT_BYTES_MAX

UNICODE_KEY = "ü/日本 語/+&%41?#=;:'\"é.json"


async def fill(store: ObjectStore, *keys: str) -> None:
    for key in keys:
        await store.put(key, key.encode())


async def test_what_is_put_is_got(store: ObjectStore) -> None:
    put = await store.put("a/b.bin", bytes(range(256)), content_type="application/x-test")
    got = await store.get("a/b.bin")
    assert got is not None
    assert got.body == bytes(range(256))
    assert (got.info.key, got.info.size_bytes, got.info.etag) == ("a/b.bin", 256, put.etag)
    assert await store.head("a/b.bin") == got.info
    assert (await store.list()).objects == [got.info]
    assert abs(put.modified_ms - got.info.modified_ms) < 60_000


async def test_what_is_missing_is_none(store: ObjectStore) -> None:
    await fill(store, "a/b")
    for key in ("missing", "a", "a/b/c", "a/c"):
        assert await store.get(key) is None
        assert await store.head(key) is None
        with pytest.raises(NotFoundError) as caught:
            await store.get_range(key, 0, 1)
        assert caught.value.reason == "OBJECT_NOT_FOUND"


async def test_a_put_replaces_and_changes_the_etag(store: ObjectStore) -> None:
    etags = [(await store.put("k", body)).etag for body in (b"one", b"two", b"three")]
    assert len(set(etags)) == 3
    got = await store.get("k")
    assert got is not None
    assert (got.body, got.info.etag) == (b"three", etags[-1])


async def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    await store.put("empty", b"")
    got = await store.get("empty")
    assert got is not None
    assert (got.body, got.info.size_bytes) == (b"", 0)


async def test_only_an_absent_key_is_written_if_absent(store: ObjectStore) -> None:
    await store.put("k", b"first", if_absent=True)
    with pytest.raises(PreconditionError) as caught:
        await store.put("k", b"second", if_absent=True)
    assert caught.value.reason == "OBJECT_EXISTS"
    got = await store.get("k")
    assert got is not None
    assert got.body == b"first"
    await store.delete("k")
    await store.put("k", b"third", if_absent=True)


async def test_of_racing_writers_exactly_one_finds_the_key_absent(store: ObjectStore) -> None:
    for round_number in range(5):
        key = f"race/{round_number}"
        writers = [store.put(key, b"%d" % writer, if_absent=True) for writer in range(8)]
        results = await asyncio.gather(*writers, return_exceptions=True)
        winners = [i for i, result in enumerate(results) if not isinstance(result, Exception)]
        losers = [result for result in results if isinstance(result, Exception)]
        assert len(winners) == 1
        assert all(isinstance(loser, PreconditionError) for loser in losers)
        got = await store.get(key)
        assert got is not None
        assert got.body == b"%d" % winners[0]


async def test_only_the_expected_object_is_replaced_if_match(store: ObjectStore) -> None:
    first = await store.put("k", b"one")
    second = await store.put("k", b"two", if_match=first.etag)
    with pytest.raises(PreconditionError) as caught:
        await store.put("k", b"three", if_match=first.etag)
    assert caught.value.reason == "OBJECT_CHANGED"
    await store.put("k", b"four", if_match=second.etag)
    await store.delete("k")
    with pytest.raises(PreconditionError) as caught:
        await store.put("k", b"five", if_match=second.etag)
    assert caught.value.reason == "OBJECT_CHANGED"
    assert await store.get("k") is None


async def test_racing_increments_if_match_lose_none(store: ObjectStore) -> None:
    await store.put("counter", b"0")

    async def increment() -> None:
        while True:
            got = await store.get("counter")
            assert got is not None
            try:
                await store.put("counter", b"%d" % (int(got.body) + 1), if_match=got.info.etag)
            except PreconditionError:
                continue
            return

    await asyncio.gather(*(increment() for _ in range(6)))
    got = await store.get("counter")
    assert got is not None
    assert got.body == b"6"


async def test_both_conditions_at_once_are_refused(store: ObjectStore) -> None:
    with pytest.raises(InvalidRequestError):
        await store.put("k", b"", if_absent=True, if_match="x")


async def test_ranges_are_cut_at_the_end_of_the_object(store: ObjectStore) -> None:
    await store.put("k", b"0123456789")
    assert await store.get_range("k", 0, 1) == b"0"
    assert await store.get_range("k", 3, 4) == b"3456"
    assert await store.get_range("k", 8, 100) == b"89"
    for start, length in ((10, 1), (-1, 2), (0, 0)):
        with pytest.raises(InvalidRequestError) as caught:
            await store.get_range("k", start, length)
        assert caught.value.reason == "OBJECT_RANGE_INVALID"


async def test_keys_are_listed_in_the_order_of_their_bytes(store: ObjectStore) -> None:
    keys = ["a.txt", "a/x", "a/y/z", "a0", "b", "é", "日", "a-b/c", "\U0001f600", "\uffee"]
    await fill(store, *keys)
    listed = [info.key for info in (await store.list()).objects]
    assert listed == sorted(keys, key=str.encode)


async def test_a_prefix_need_not_end_at_a_slash(store: ObjectStore) -> None:
    await fill(store, "a.txt", "a/x", "a/xy", "a/y/z", "ab", "b")
    expected = {
        "a": ["a.txt", "a/x", "a/xy", "a/y/z", "ab"],
        "a/": ["a/x", "a/xy", "a/y/z"],
        "a/x": ["a/x", "a/xy"],
        "a/y/": ["a/y/z"],
        "c": [],
        "c/d/e": [],
        "b/x": [],
    }
    for prefix, keys in expected.items():
        assert [info.key for info in (await store.list(prefix)).objects] == keys


async def test_a_list_goes_on_after_any_text(store: ObjectStore) -> None:
    keys = ["a.txt", "a/x", "a/xy", "a/y/z", "ab", "b"]
    await fill(store, *keys)
    for after in ("a/x", "a/xx", "a", "a/", "a0", "zzz", "a/y/z"):
        listed = [info.key for info in (await store.list(after=after)).objects]
        assert listed == [key for key in keys if key > after]


async def test_pages_together_are_the_whole_list(store: ObjectStore) -> None:
    keys = [f"p/{number % 7}/{number:04}" for number in range(50)]
    await fill(store, *keys, "other")
    paged: list[str] = []
    after: str | None = ""
    sizes: list[int] = []
    while after is not None:
        page = await store.list("p/", after=after, limit=10)
        paged += [info.key for info in page.objects]
        sizes.append(len(page.objects))
        after = page.next_after
    assert paged == sorted(keys)
    assert sizes == [10, 10, 10, 10, 10]
    assert [key async for key in store.iter_keys("p/")] == sorted(keys)
    for limit in (0, 1001):
        with pytest.raises(InvalidRequestError):
            await store.list(limit=limit)


async def test_a_list_of_more_than_a_page_is_read_and_deleted_whole(store: ObjectStore) -> None:
    keys = [f"many/{number:04}" for number in range(1050)]
    for start in range(0, len(keys), 150):
        await asyncio.gather(*(store.put(key, b"x") for key in keys[start : start + 150]))
    await store.put("many-not", b"")
    assert [key async for key in store.iter_keys("many/")] == keys
    assert await store.delete_prefix("many/") == 1050
    assert [key async for key in store.iter_keys()] == ["many-not"]
    assert await store.delete_prefix("many/") == 0


async def test_any_unicode_key_is_kept_as_it_is(store: ObjectStore) -> None:
    await store.put(UNICODE_KEY, b"x")
    assert [key async for key in store.iter_keys(UNICODE_KEY[:4])] == [UNICODE_KEY]
    assert (await store.list(after=UNICODE_KEY)).objects == []
    assert await store.get_range(UNICODE_KEY, 0, 1) == b"x"
    assert await store.delete_prefix("ü/") == 1
    assert await store.get(UNICODE_KEY) is None


async def test_deleting_what_is_missing_is_fine(store: ObjectStore) -> None:
    await fill(store, "a/b")
    for key in ("missing", "a", "a/b/c"):
        await store.delete(key)
    await asyncio.gather(*(store.delete("a/b") for _ in range(8)))
    assert (await store.list()).objects == []


async def test_puts_and_deletes_of_one_folder_do_not_disturb_each_other(
    store: ObjectStore,
) -> None:
    async def work(number: int) -> None:
        for _ in range(10):
            await store.put(f"busy/folder/{number}", b"x")
            await store.delete(f"busy/folder/{number}")
        await store.put(f"busy/folder/{number}", b"end")

    await asyncio.gather(*(work(number) for number in range(6)))
    assert len((await store.list("busy/")).objects) == 6


NOT_KEYS = [
    *("", "/a", "a/", "a//b", "..", "../a", "a/../../b", "./a", "a/.", "a\0b", "a\nb", "\ud800"),
    "x" * 256,
    "x/" * (KEY_BYTES_MAX // 2) + "x",
]


async def test_what_is_not_a_key_is_refused(store: ObjectStore) -> None:
    for key in NOT_KEYS:
        for call in (
            store.put(key, b""),
            store.get(key),
            store.get_range(key, 0, 1),
            store.head(key),
            store.delete(key),
        ):
            with pytest.raises(InvalidRequestError) as caught:
                await call
            assert caught.value.reason == "OBJECT_KEY_INVALID"


async def test_what_no_key_starts_with_is_refused_as_a_prefix(store: ObjectStore) -> None:
    for prefix in ("/", "../", "a//", "a/../b", "\0"):
        for call in (store.list(prefix), store.delete_prefix(prefix), store.delete_prefix("")):
            with pytest.raises(InvalidRequestError) as caught:
                await call
            assert caught.value.reason == "OBJECT_KEY_INVALID"


async def test_a_range_larger_than_any_object_is_refused(store: ObjectStore) -> None:
    await store.put("k", b"0123456789")
    with pytest.raises(PayloadTooLargeError) as refused:
        await store.get_range("k", 0, OBJECT_BYTES_MAX + 1)
    assert refused.value.reason == "OBJECT_TOO_LARGE"


async def test_a_list_after_what_is_no_text_is_refused(store: ObjectStore) -> None:
    for after in ("\ud800", "a\0b"):
        with pytest.raises(InvalidRequestError) as refused:
            await store.list(after=after)
        assert refused.value.reason == "OBJECT_KEY_INVALID"
