"""What scans ask of the store, request by request, and what they make of its refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from layer_testing.edge_calls import EdgeCaller, eventually
from layer_testing.gateway_calls import gateway_over
from layer_testing.processes import ServiceProcess
from layer_testing.scan_calls import finished, scan
from layer_testing.scripted_pages import at_page, is_marker, pages, rows, serve
from layer_testing.scripted_store import Exchange, ScriptedStore, answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

BY_ID = ["id", "asc"]
EVENTUAL = {"level": "eventual"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(store: ScriptedStore) -> AsyncIterator[ServiceProcess]:
    async with gateway_over(
        store.url,
        CONSISTENCY_POLL_INTERVAL_MS="20",
        CONSISTENCY_STABLE_POLL_INTERVAL_MS="20",
        CONSISTENCY_SAFETY_MARGIN_MS="1",
    ) as process:
        yield process


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    letters = (letter if letter.isalnum() else "-" for letter in request.node.name)
    return "".join(letters)[:100]


async def started(edge: EdgeCaller, name: str, **body: Any) -> Any:
    received = await scan(edge, f"/v2/namespaces/{name}", **body)
    assert received.status in (200, 202), received.body
    return received.json


async def ended(edge: EdgeCaller, name: str, job: Any) -> Any:
    return await finished(edge, f"/v2/namespaces/{name}", job)


async def test_a_count_by_the_store_asks_for_one_row_more_than_a_page(
    edge: EdgeCaller, store: ScriptedStore, name: str
) -> None:
    serve(store, name, at_page(rows("t-1", "t-2", "t-5")), kind="string")

    found = await started(edge, name, mode="count", source="origin", filters=["kind", "Eq", "saw"])

    assert found.pop("elapsed_ms") >= 0
    assert found == {
        "count": 3,
        "served_by": "origin",
        "bounded": False,
        "timed_out": False,
        "shards_saturated": 0,
        "shards_total": 1,
        "threads": 8,
    }
    assert pages(store, name) == [
        {
            "rank_by": BY_ID,
            "top_k": 1001,
            "include_attributes": [],
            "consistency": EVENTUAL,
            "filters": ["kind", "Eq", "saw"],
        }
    ]


async def test_values_by_the_store_follow_the_last_id_that_was_kept(
    edge: EdgeCaller, store: ScriptedStore, name: str
) -> None:
    first = answer(
        {
            "rows": [
                {"id": "t-1", "tags": ["wood", "hand", "wood"]},
                {"id": "t-3", "tags": []},
                {"id": "t-4", "tags": ["wood"]},
            ]
        }
    )
    second = answer({"rows": [{"id": "t-4", "tags": ["wood"]}]})
    serve(store, name, at_page(first, second), tags="[]string", rating="int")

    job = await started(
        edge,
        name,
        mode="values",
        field="tags",
        source="origin",
        filters=["rating", "Gte", 5],
        page_size=2,
    )
    job = await ended(edge, name, job)

    results = await edge("GET", f"/v2/namespaces/{name}/scans/{job['id']}/results")
    assert results.json == {
        "values": [{"v": "wood", "n": 2}, {"v": "hand", "n": 1}],
        "total": 2,
        "truncated": False,
    }
    assert job["documents_scanned"] == 3
    one, two = pages(store, name)
    assert (one["top_k"], one["include_attributes"]) == (3, ["tags"])
    assert one["filters"] == ["rating", "Gte", 5]
    assert two["filters"] == ["And", [["id", "Gt", "t-3"], ["rating", "Gte", 5]]]


async def test_a_page_of_all_that_the_store_returns_is_followed_by_another(
    edge: EdgeCaller, store: ScriptedStore, name: str
) -> None:
    full = rows(*(f"{n:05}" for n in range(10_000)))
    serve(store, name, at_page(full, rows("z")))

    found = await started(edge, name, mode="count", source="origin", page_size=10_000)

    assert found["count"] == 10_001
    assert [page["top_k"] for page in pages(store, name)] == [10_000, 10_000]


async def test_what_is_left_after_some_pages_is_read_by_the_shards_of_its_rows(
    edge: EdgeCaller, store: ScriptedStore, name: str
) -> None:
    def respond(body: dict[str, Any]) -> bytes:
        filters = body.get("filters")
        if filters is None or filters[0] == "id":
            at = 0 if filters is None else int(filters[2][2:])
            return rows(f"r-{at + 1}", f"r-{at + 2}")
        is_third = filters[1][1] == ["_hevlayer_shard", "Eq", 3]
        return rows("s-3") if is_third else rows()

    serve(store, name, respond, _hevlayer_shard="int", _hevlayer_upserted_at="int")

    found = await started(edge, name, mode="count", source="origin", page_size=1)

    assert found["count"] == 5  # four pages of one row in order, and one in a shard
    parts = [page["filters"][1][1] for page in pages(store, name)[4:]]
    after = [page["filters"][1][0] for page in pages(store, name)[4:]]
    outside = ["Or", [["_hevlayer_shard", "Eq", None], ["_hevlayer_shard", "Gte", 16]]]
    assert sorted(map(str, parts)) == sorted(
        map(str, [*(["_hevlayer_shard", "Eq", shard] for shard in range(16)), outside])
    )
    assert after == [["id", "Gt", "r-4"]] * 17


async def test_refusals_for_load_are_waited_out(
    edge: EdgeCaller, store: ScriptedStore, name: str
) -> None:
    busy = answer({"error": "slow down"}, 429, retry_after_ms="1")
    serve(store, name, at_page(busy, busy, rows("a", "b"), busy, rows("b")))

    found = await started(edge, name, mode="count", source="origin", page_size=1)

    assert (found["count"], found["timed_out"]) == (2, False)
    assert len(pages(store, name)) == 5


async def test_refusals_in_the_midst_of_a_fan_out_cost_no_row(
    edge: EdgeCaller, store: ScriptedStore, name: str
) -> None:
    refusals_left = 6

    def respond(body: dict[str, Any]) -> bytes:
        nonlocal refusals_left
        filters = body.get("filters")
        if filters is None or filters[0] == "id":
            at = 0 if filters is None else int(filters[2][2:])
            return rows(f"r-{at + 1}", f"r-{at + 2}")
        if refusals_left:
            refusals_left -= 1
            return answer({"error": "slow down"}, 429, retry_after_ms="1")
        return rows(f"s-{filters[1][1]}")

    serve(store, name, respond, _hevlayer_shard="int", _hevlayer_upserted_at="int")

    found = await started(edge, name, mode="count", source="origin", page_size=1, threads=32)

    assert (found["count"], found["bounded"], found["threads"]) == (4 + 17, False, 32)
    assert len(pages(store, name)) == 4 + 17 + 6


@pytest.mark.parametrize(("status", "becomes"), [(500, 502), (503, 502), (400, 422), (403, 403)])
async def test_other_refusals_end_a_count(
    edge: EdgeCaller, store: ScriptedStore, name: str, status: int, becomes: int
) -> None:
    serve(store, name, lambda _: answer({"error": "no such luck"}, status))

    received = await edge(
        "POST", f"/v2/namespaces/{name}/scans", {"mode": "count", "source": "origin"}
    )

    assert received.status == becomes
    assert "no such luck" in received.json["message"]


async def test_a_job_outlasts_a_store_that_fails_now_and_then(
    edge: EdgeCaller, store: ScriptedStore, name: str
) -> None:
    down = answer({"error": "down"}, 503, retry_after_ms="1")
    serve(store, name, at_page(down, rows("a", "b"), down, down, rows("b")))

    job = await finished(
        edge, f"/v2/namespaces/{name}", await started(edge, name, source="origin", page_size=1)
    )

    assert (job["status"], job["documents_scanned"]) == ("completed", 2)


async def test_a_job_that_the_store_refuses_fails_with_what_it_says(
    edge: EdgeCaller, store: ScriptedStore, name: str
) -> None:
    serve(store, name, lambda _: answer({"error": "bad filter"}, 400))

    job = await ended(edge, name, await started(edge, name, source="origin"))

    assert job["status"] == "failed"
    assert "bad filter" in job["error"]


async def test_values_of_an_attribute_that_the_store_does_not_know_are_none(
    edge: EdgeCaller, store: ScriptedStore, name: str
) -> None:
    refused = answer({"error": "attribute 'colour' not found in schema"}, 400)
    serve(store, name, lambda _: refused)

    job = await started(edge, name, mode="values", field="colour", source="origin")
    job = await ended(edge, name, job)

    assert (job["status"], job["unique_values"]) == ("completed", 0)


async def test_a_scan_is_cut_where_the_index_was_when_it_began(
    edge: EdgeCaller, store: ScriptedStore, name: str
) -> None:
    """The watermark moves on between two pages; the scan does not."""
    moved = asyncio.Event()

    def respond(body: dict[str, Any]) -> bytes:
        is_first = body["filters"][0] == "_hevlayer_upserted_at"
        return rows("a", "b") if is_first else rows("b")

    async def script(exchange: Exchange) -> None:
        body = exchange.request.json
        if is_marker(body):
            await exchange.say(answer({"rows": []}))
            return
        if body["filters"][0] == "And":
            pass
        else:
            await become("up-to-date", wait_for_more=True)
            moved.set()
        await exchange.say(respond(body))

    async def become(status: str, *, wait_for_more: bool = False) -> int:
        before = await watermark()
        index = {"status": status} | ({"unindexed_bytes": 9} if status == "updating" else {})
        store.answers[f"GET /v2/namespaces/{name}/metadata"] = answer({"index": index})

        async def is_seen() -> int | None:
            layer = (await edge("GET", f"/v2/namespaces/{name}/metadata")).json["layer"]
            has_moved = not wait_for_more or (layer["stable_as_of"] or 0) > before
            is_it = layer["is_stable"] is (status == "up-to-date")
            return layer["stable_as_of"] if is_it and has_moved else None

        return await eventually(is_seen) or 0

    async def watermark() -> int:
        received = await edge("GET", f"/v2/namespaces/{name}/metadata")
        return (received.json["layer"]["stable_as_of"] or 0) if received.status == 200 else 0

    store.namespace(name, _hevlayer_upserted_at="int")
    store.answers[f"POST /v2/namespaces/{name}/query"] = script
    await become("up-to-date")
    cut = await become("updating")

    found = await started(edge, name, mode="count", source="origin", page_size=1)

    assert found["count"] == 2
    assert moved.is_set()
    kept = ["_hevlayer_upserted_at", "Lte", cut]
    one, two = pages(store, name)
    assert one["filters"] == kept
    assert two["filters"] == ["And", [["id", "Gt", "a"], kept]]


async def test_rows_beyond_a_radius_are_not_counted_and_end_the_search(
    edge: EdgeCaller, store: ScriptedStore, name: str
) -> None:
    near = [{"id": f"{n:05}", "$dist": n / 10} for n in range(10_000)]
    serve(store, name, lambda _: answer({"rows": near}), vector="[2]f32")

    def ann(radius: float) -> dict[str, Any]:
        return {"vector": [1.0, 0.0], "radius": radius}

    within = await started(edge, name, mode="count", ann=ann(1.0))
    beyond = await started(edge, name, mode="count", ann=ann(1e6), exhaustive=True)

    assert (within["count"], within["bounded"], within["shards_saturated"]) == (11, False, 0)
    assert (beyond["count"], beyond["bounded"], beyond["shards_saturated"]) == (10_000, True, 1)
    assert pages(store, name)[0] == {
        "rank_by": ["vector", "ANN", [1.0, 0.0]],
        "top_k": 10_000,
        "include_attributes": [],
        "consistency": EVENTUAL,
    }


async def test_a_row_without_a_distance_is_the_stores_fault(
    edge: EdgeCaller, store: ScriptedStore, name: str
) -> None:
    serve(store, name, lambda _: rows("a"), vector="[2]f32")

    received = await edge(
        "POST",
        f"/v2/namespaces/{name}/scans",
        {"mode": "count", "ann": {"vector": [1.0, 0.0], "radius": 1}},
    )

    assert (received.status, received.json["error"]) == (502, "upstream_error")


async def test_an_exhaustive_search_divides_what_is_too_much_by_id(
    edge: EdgeCaller, store: ScriptedStore, name: str
) -> None:
    """A store with 25,000 matching rows, of which it returns the best 10,000 of a range."""

    def respond(body: dict[str, Any]) -> bytes:
        low, high = -1, 30_000
        for leaf in leaves(body.get("filters")):
            match leaf:
                case ["id", "Gt", id_]:
                    low = max(low, int(id_))
                case ["id", "Lte", id_]:
                    high = min(high, int(id_))
                case _:
                    pass
        matching = [n for n in range(25_000) if low < n <= high]
        best = sorted(matching, key=lambda n: n * 7919 % 25_013)[:10_000]
        return answer({"rows": [{"id": f"{n:05}", "$dist": 1.0} for n in best]})

    serve(store, name, respond, text="string")

    fts = {"field": "text", "query": "saw"}

    bounded = await started(edge, name, mode="count", fts=fts)
    whole = await started(edge, name, mode="count", fts=fts, exhaustive=True)

    assert (bounded["count"], whole["count"]) == (10_000, 25_000)
    assert (bounded["bounded"], whole["bounded"]) == (True, False)
    assert (bounded["shards_saturated"], whole["shards_saturated"]) == (1, 0)


def leaves(filters: Any) -> list[Any]:
    match filters:
        case ["And", [*children]]:
            return [leaf for child in children for leaf in leaves(child)]
        case None:
            return []
        case _:
            return [filters]


async def test_the_key_of_the_caller_reads_every_page(store: ScriptedStore, name: str) -> None:
    async with gateway_over(store.url, TURBOPUFFER_API_KEY="") as process:
        serve(store, name, at_page(rows("a", "b"), rows("b")))
        edge = EdgeCaller(process.addresses["http"], key="another")

        job = await finished(
            edge, f"/v2/namespaces/{name}", await started(edge, name, source="origin", page_size=1)
        )

        assert job["status"] == "completed"
        asked = store.asked(f"POST /v2/namespaces/{name}/query")
        assert {one.header(b"authorization") for one in asked} == {b"Bearer another"}
