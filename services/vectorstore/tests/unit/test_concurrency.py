from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from layer_kit.errors import LayerError
from layer_vectorstore.adapters.sqlite_log import SqliteChangeLog

NAMES = ("a", "b", "c")
THREADS = 8
REQUESTS_PER_THREAD = 60
SCHEMA = {"text": {"type": "string", "full_text_search": True}}


def request(store: Any, draw: random.Random) -> None:
    """Send one request of any kind; being refused is fine, anything else is not."""
    name = draw.choice(NAMES)
    rows = [
        {"id": i, "n": draw.randrange(9), "text": draw.choice(["fox", "dog fox", "cat"])}
        for i in draw.sample(range(30), 4)
    ]
    everything = {"rank_by": ["id", "asc"], "limit": 100, "include_attributes": True}
    try:
        match draw.randrange(9):
            case 0 | 1 | 2:
                store.write({"upsert_rows": rows, "schema": SCHEMA}, name=name)
            case 3:
                store.write({"patch_rows": rows, "deletes": [40]}, name=name)
            case 4:
                store.write({"delete_by_filter": ["n", "Lt", draw.randrange(4)]}, name=name)
            case 5:
                store.write({"copy_from_namespace": draw.choice(NAMES)}, name=name)
            case 6:
                store.manage.delete(name)
            case 7:
                store.query({"rank_by": ["text", "BM25", "fox"], "limit": 9}, name=name)
            case _:
                found = store.query({"queries": [everything, everything]}, name=name)["results"]
                assert found[0] == found[1]
    except LayerError as error:
        assert error.http_status in {400, 404}, error  # noqa: PT017 -- most requests raise nothing


def state(store: Any) -> dict[str, Any]:
    body = {"rank_by": ["id", "asc"], "limit": 1000, "include_attributes": True}
    return {name: store.query(body, name=name) for name in store.manage.registry.names()}


def test_what_many_threads_did_is_what_the_log_says(
    new_store: Callable[..., Any], tmp_path: Path
) -> None:
    log = SqliteChangeLog.open(tmp_path, CollectorRegistry())
    store = new_store(log, memory_bytes_max=3000)

    def work(seed: int) -> None:
        draw = random.Random(seed)  # noqa: S311 -- the same requests every time
        for _ in range(REQUESTS_PER_THREAD):
            request(store, draw)

    with ThreadPoolExecutor(THREADS) as pool:
        for future in [pool.submit(work, seed) for seed in range(THREADS)]:
            future.result(60)

    before = state(store)
    log.close()
    reopened = SqliteChangeLog.open(tmp_path, CollectorRegistry())
    assert state(new_store(reopened)) == before
    reopened.close()


def test_writers_of_one_namespace_lose_nothing(new_store: Any) -> None:
    store = new_store()
    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(store.upsert, {"id": i, "n": i % 3}) for i in range(200)]:
            future.result()

    assert store.ids() == list(range(200))
    store.restart()
    assert store.ids() == list(range(200))
