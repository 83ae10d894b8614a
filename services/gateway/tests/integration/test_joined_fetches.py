"""How many requests upstream concurrent fetches cost, through a real gateway and cache."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from layer_testing.edge_calls import EdgeCaller
from layer_testing.gateway_calls import KEY, gateway_over
from layer_testing.processes import running
from layer_testing.scripted_store import Exchange, ScriptedStore, answer, scripted_store

FETCHES_COUNT = 400
DOCUMENTS = "/v2/namespaces/n/documents"


class SlowStore:
    """Holds rows ``a`` and ``b``, and answers reads of rows only when it may."""

    def __init__(self, store: ScriptedStore) -> None:
        self.store = store
        self.may_answer = asyncio.Event()
        self.is_reading = asyncio.Event()
        store.answers["GET /v1/namespaces/n/schema"] = answer({"id": {"type": "string"}})
        store.answers["POST /v2/namespaces/n/query"] = self._query

    @property
    def reads(self) -> list[Any]:
        """Return the filters of the reads of rows so far; that of the marker row is none."""
        filters = [
            request.json["filters"]
            for request in self.store.requests
            if request.path.endswith("/query")
        ]
        return [found for found in filters if "_hevlayer" not in json.dumps(found)]

    async def _query(self, exchange: Exchange) -> None:
        filter_ = exchange.request.json["filters"]
        rows = []
        if "_hevlayer" not in json.dumps(filter_):
            self.is_reading.set()
            await self.may_answer.wait()
            ids = filter_[2] if filter_[1] == "In" else [filter_[2]]
            rows = [{"id": id_, "title": f"row {id_}"} for id_ in ids if id_ in ("a", "b")]
        await exchange.say(answer({"rows": rows}))


@asynccontextmanager
async def gateway_with_cache(home: Path) -> AsyncIterator[tuple[EdgeCaller, SlowStore]]:
    address = f"unix:{home / 'cache.sock'}"
    async with (
        scripted_store() as store,
        running(
            "layer_cache",
            LAYER_CACHE_GRPC_ADDRESS=address,
            LAYER_CACHE_DATA_DIRECTORY=str(home / "cache"),
        ),
        gateway_over(
            store.url, LAYER_GATEWAY_CACHE_ADDRESS=address, LAYER_GATEWAY_CACHE_TIMEOUT_S="5"
        ) as process,
    ):
        yield EdgeCaller(process.addresses["http"], key=KEY), SlowStore(store)


async def test_concurrent_misses_of_one_row_cost_one_request_upstream(tmp_path: Path) -> None:
    async with gateway_with_cache(tmp_path) as (edge, store):
        first = asyncio.create_task(edge("GET", f"{DOCUMENTS}/a"))
        await store.is_reading.wait()
        others = [asyncio.create_task(edge("GET", f"{DOCUMENTS}/a")) for _ in range(FETCHES_COUNT)]
        await asyncio.sleep(0)
        store.may_answer.set()
        answers = await asyncio.gather(first, *others)

        assert store.reads == [["id", "Eq", "a"]]
        assert {found.status for found in answers} == {200}
        assert {found.body for found in answers} == {answers[0].body}
        assert answers[0].json == {"id": "a", "attributes": {"title": "row a"}}


async def test_concurrent_misses_of_a_row_that_does_not_exist_are_404(tmp_path: Path) -> None:
    async with gateway_with_cache(tmp_path) as (edge, store):
        first = asyncio.create_task(edge("GET", f"{DOCUMENTS}/none"))
        await store.is_reading.wait()
        others = [asyncio.create_task(edge("GET", f"{DOCUMENTS}/none")) for _ in range(50)]
        store.may_answer.set()
        answers = await asyncio.gather(first, *others)

        assert {found.status for found in answers} == {404}
        assert len(store.reads) < len(answers) / 2
