"""What only a folder can do wrong."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from layer_kit.children import PIPE, Child, start_child
from layer_kit.configuration import ConfigurationError
from layer_kit.errors import InvalidRequestError, UpstreamError
from layer_objects import open_object_store
from layer_objects.file_store import ABANDONED_AFTER_S
from layer_testing.processes import child_environment

WRITER = """
import asyncio, sys
from layer_objects import open_object_store

async def main():
    store = open_object_store(sys.argv[1])
    print("writing", flush=True)
    number = 0
    while True:
        number += 1
        await store.put("folder/key", b"%d " % number * 20000)
        await store.put(f"log/{number:06}", b"x")
        print(number, flush=True)

asyncio.run(main())
"""


RACER = """
import asyncio, sys
from layer_kit.errors import PreconditionError
from layer_objects import open_object_store

store = open_object_store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    asyncio.run(store.put("k", b"x", if_absent=True))
    print("won")
except PreconditionError as error:
    print(error.reason)
"""


async def run_python(script: str, *arguments: str) -> Child:
    """Start another interpreter that finds the same modules."""
    return await start_child(
        *(sys.executable, "-c", script, *arguments), env=child_environment({}), stdin=PIPE
    )


async def test_a_killed_writer_leaves_whole_objects_and_every_finished_one(tmp_path: Path) -> None:
    url = f"file://{tmp_path}"
    writer = await run_python(WRITER, url)
    assert writer.stdout is not None
    for _ in range(20):
        await writer.stdout.readline()
    writer.kill()
    printed, _ = await writer.communicate()
    finished = int(printed.split()[-1]) if printed.split() else 19
    store = open_object_store(url)
    got = await store.get("folder/key")
    assert got is not None
    pieces = got.body.split()
    assert len(pieces) == 20000
    assert len(set(pieces)) == 1
    assert int(pieces[0]) >= finished
    assert len([key async for key in store.iter_keys("log/")]) >= finished
    await store.put("folder/key", b"the lock is free")
    await store.aclose()


async def test_racing_processes_have_one_winner(tmp_path: Path) -> None:
    racers = [await run_python(RACER, f"file://{tmp_path}") for _ in range(4)]
    for racer in racers:
        assert racer.stdout is not None
        assert await racer.stdout.readline() == b"ready\n"
    printed = await asyncio.gather(*(racer.communicate(b"\n") for racer in racers))
    results = sorted(output.strip() for output, _ in printed)
    assert results == [b"OBJECT_EXISTS"] * 3 + [b"won"]


async def test_a_key_cannot_be_the_folder_of_another(tmp_path: Path) -> None:
    store = open_object_store(f"file://{tmp_path}")
    await store.put("a/b", b"")
    for key, if_absent in (("a", False), ("a", True), ("a/b/c", False), ("a/b/c", True)):
        with pytest.raises(InvalidRequestError) as caught:
            await store.put(key, b"", if_absent=if_absent)
        assert caught.value.reason == "OBJECT_KEY_INVALID"
    assert [key async for key in store.iter_keys()] == ["a/b"]
    await store.aclose()


async def test_nothing_is_left_of_what_is_deleted_or_refused(tmp_path: Path) -> None:
    store = open_object_store(f"file://{tmp_path}")
    etag = (await store.put("a/b/c", b"")).etag
    for conditions in ({"if_absent": True}, {"if_match": etag + "x"}):
        with pytest.raises(Exception, match="a/b/c"):
            await store.put("a/b/c", b"", **conditions)
    await store.delete("a/b/c")
    assert list((tmp_path / "objects").iterdir()) == []
    assert list((tmp_path / "incoming").iterdir()) == []
    await store.aclose()


async def test_abandoned_writes_are_removed_after_an_hour(tmp_path: Path) -> None:
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    old, new = incoming / "old", incoming / "new"
    for path in (old, new):
        path.write_bytes(b"half")
    long_ago_s = time.time() - ABANDONED_AFTER_S - 1
    os.utime(old, (long_ago_s, long_ago_s))
    store = open_object_store(f"file://{tmp_path}")
    assert list(incoming.iterdir()) == [new]
    assert (await store.list()).objects == []
    await store.aclose()


async def test_a_file_system_that_fails_is_an_upstream_error(tmp_path: Path) -> None:
    store = open_object_store(f"file://{tmp_path}")
    (tmp_path / "incoming").rmdir()
    with pytest.raises(UpstreamError) as caught:
        await store.put("k", b"")
    assert caught.value.reason == "OBJECT_STORE_FAILED"
    await store.aclose()


@pytest.mark.parametrize(
    "url", ["", "/a", "file://host/a", "file:a", "s3://", "http://h/b", "s3:b"]
)
def test_anything_else_is_no_store(url: str) -> None:
    with pytest.raises(ConfigurationError):
        open_object_store(url)


def test_a_folder_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError):
        open_object_store(f"file://{tmp_path}/file/store")


async def test_a_folder_store_does_not_import_boto3(tmp_path: Path) -> None:
    script = (
        "import sys; from layer_objects import open_object_store;"
        "open_object_store(sys.argv[1]); print('boto3' in sys.modules)"
    )
    process = await run_python(script, f"file://{tmp_path}")
    assert (await process.communicate())[0] == b"False\n"


async def test_many_operations_at_once_are_bounded_and_all_answered(tmp_path: Path) -> None:
    store = open_object_store(f"file://{tmp_path}")
    await store.put("k", b"x")
    results = await asyncio.gather(*(store.get("k") for _ in range(700)), return_exceptions=True)
    refused = [
        getattr(result, "reason", None)
        for result in results
        if result is None or isinstance(result, Exception)
    ]
    assert len(refused) == 700 - 8 * 65
    assert set(refused) == {"OBJECT_STORE_BUSY"}
    assert await store.get("k") is not None
    await store.aclose()
