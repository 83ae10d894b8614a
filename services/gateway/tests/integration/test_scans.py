"""Scans over a running gateway: counts, ids and values equal those of looking at every row."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layer_testing.edge_calls import EdgeCaller, eventually
from layer_testing.gateway_calls import KEY, embedded_store, gateway_over
from layer_testing.processes import running
from layer_testing.scan_calls import completed, count, finished, results, scan, warmed
from layer_testing.scanned_rows import (
    CONDITIONS,
    FILTERS,
    ROWS,
    ROWS_COUNT,
    SCHEMA,
    Test,
    values_of,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUICK = {
    "CONSISTENCY_POLL_INTERVAL_MS": "50",
    "CONSISTENCY_STABLE_POLL_INTERVAL_MS": "50",
    "CONSISTENCY_SAFETY_MARGIN_MS": "1",
    "LAYER_GATEWAY_FACTS_TTL_S": "0.1",
}


@dataclass
class System:
    """The embedded store, a cache, a gateway over both, and one without a cache."""

    edge: EdgeCaller
    bare: EdgeCaller


async def started(stack: AsyncExitStack, url: str, **settings: str) -> EdgeCaller:
    process = await stack.enter_async_context(gateway_over(url, **(QUICK | settings)))
    return EdgeCaller(process.addresses["http"], key=KEY)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    home = tmp_path_factory.mktemp("scans")
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(embedded_store(home / "store"))
        cache = f"unix:{home / 'cache.sock'}"
        await stack.enter_async_context(
            running(
                "layer_cache",
                LAYER_CACHE_GRPC_ADDRESS=cache,
                LAYER_CACHE_DATA_DIRECTORY=str(home / "cache"),
            )
        )
        edge = await started(
            stack,
            url,
            LAYER_GATEWAY_CACHE_ADDRESS=cache,
            LAYER_GATEWAY_OBJECTS_DIRECTORY=str(home / "objects"),
            LAYER_GATEWAY_REACTIVE_WARM="false",
        )
        system = System(edge, await started(stack, url))
        for name, shard_count in (("plain", None), ("sharded", 4)):
            await fill(edge, path(name), shard_count)
        await warmed(edge, path("plain"))
        yield system


def path(name: str) -> str:
    return f"/v2/namespaces/{name}"


async def fill(edge: EdgeCaller, target: str, shard_count: int | None) -> None:
    body = {"upsert_rows": ROWS, "distance_metric": "euclidean_squared", "schema": SCHEMA}
    if shard_count is not None:
        assert (await edge("POST", target, body | {"upsert_rows": ROWS[:1]})).status == 200
        answer = await edge("POST", f"{target}/init", {"shard_count": shard_count})
        assert answer.status == 200, answer.body
    assert (await edge("POST", target, body)).status == 200
    if shard_count is not None:

        async def is_scattered() -> bool:
            described = await edge("GET", f"{target}/metadata")
            return bool(described.json["layer"]["scatter_gather_active"])

        await eventually(is_scattered)


@pytest.mark.parametrize("name", ["plain", "sharded"])
@pytest.mark.parametrize(("filters", "test"), FILTERS.values(), ids=FILTERS.keys())
async def test_every_source_counts_what_looking_at_every_row_counts(
    system: System, name: str, filters: Any, test: Test
) -> None:
    expected = sum(map(test, ROWS))

    origin = await count(system.edge, path(name), source="origin", filters=filters, page_size=100)
    auto = await count(system.edge, path(name), filters=filters)

    assert (origin["count"], auto["count"]) == (expected, expected)
    assert origin["served_by"] == "origin"
    assert origin["shards_total"] == (4 if name == "sharded" else 1)
    assert origin["threads"] == (4 if name == "sharded" else 8)
    assert (origin["bounded"], origin["timed_out"], origin["shards_saturated"]) == (False, False, 0)
    assert not {"watermark_ms", "snapshot_sha", "approximate"} & origin.keys()


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    condition=CONDITIONS,
    page_size=st.sampled_from([7, 150, 1000]),
    place=st.sampled_from([("plain", "auto"), ("plain", "origin"), ("sharded", "origin")]),
)
async def test_whatever_the_filter_every_source_finds_the_same_rows(
    system: System, condition: tuple[Any, Test], page_size: int, place: tuple[str, str]
) -> None:
    filters, test = condition
    name, source = place
    matching = [row for row in ROWS if test(row)]
    body = {"source": source, "filters": filters, "page_size": page_size}

    counted = await count(system.edge, path(name), **body)
    ids = await completed(system.edge, path(name), mode="ids", **body)
    values = await completed(system.edge, path(name), mode="values", field="tags", **body)

    served_by = "cache" if source == "auto" else "origin"
    assert (counted["count"], counted["served_by"]) == (len(matching), served_by)
    assert ids["effective_source"] == values["effective_source"] == served_by
    found = await results(system.edge, path(name), ids, "?limit=10000")
    assert found["ids"] == [row["id"] for row in matching]
    found = await results(system.edge, path(name), values, "?limit=10000")
    assert found["values"] == values_of(matching, "tags")


@pytest.mark.parametrize(
    ("filters", "served_by"),
    [(None, "cache"), (["n", "Lt", 5], "cache"), (["kind", "Glob", "s*"], "origin")],
)
async def test_a_warm_cache_counts_what_it_can_evaluate(
    system: System, filters: Any, served_by: str
) -> None:
    found = await count(system.edge, path("plain"), filters=filters)

    assert found["served_by"] == served_by
    assert ("threads" in found) is (served_by == "origin")


async def test_a_cold_namespace_is_counted_by_the_store(system: System) -> None:
    assert (await count(system.bare, path("plain")))["served_by"] == "origin"


@pytest.mark.parametrize("name", ["plain", "sharded"])
@pytest.mark.parametrize("source", ["origin", "auto"])
@pytest.mark.parametrize("label", ["all rows", "nested", "nothing"])
async def test_ids_come_sorted_and_can_be_read_from_any_place(
    system: System, name: str, source: str, label: str
) -> None:
    filters, test = FILTERS[label]
    expected = [row["id"] for row in ROWS if test(row)]

    job = await completed(system.edge, path(name), source=source, filters=filters, page_size=90)

    assert await results(system.edge, path(name), job, "?limit=10000") == {
        "ids": expected,
        "total": len(expected),
    }
    for offset, limit in (
        (0, 1),
        (990, 20),
        (max(0, len(expected) - 1), 5),
        (len(expected) + 5, 5),
    ):
        page = await results(system.edge, path(name), job, f"?offset={offset}&limit={limit}")
        assert page == {"ids": expected[offset:][:limit], "total": len(expected)}
    assert job["documents_scanned"] == len(expected)
    assert (job["progress"], job["mode"], job["source"]) == (1.0, "ids", source)
    assert job["created_at"] <= job["completed_at"]
    assert not {"count", "served_by", "elapsed_ms", "owner", "attempt"} & job.keys()


@pytest.mark.parametrize("name", ["plain", "sharded"])
@pytest.mark.parametrize("source", ["origin", "auto"])
@pytest.mark.parametrize("field", ["kind", "tags", "rating", "n", "nobody-has-this"])
async def test_values_are_those_of_counting_them_row_by_row(
    system: System, name: str, source: str, field: str
) -> None:
    filters, test = FILTERS["nested"]
    expected = values_of([row for row in ROWS if test(row)], field)

    job = await completed(
        system.edge, path(name), mode="values", field=field, source=source, filters=filters
    )

    found = await results(system.edge, path(name), job, "?limit=10000")
    assert found == {"values": expected, "total": len(expected), "truncated": False}
    assert (job["field"], job["unique_values"], job["truncated"]) == (field, len(expected), False)


@pytest.mark.parametrize("name", ["plain", "sharded"])
async def test_a_text_selects_the_rows_that_have_one_of_its_words(
    system: System, name: str
) -> None:
    fts = {"field": "text", "query": "saw"}
    expected = [row for row in ROWS if "saw" in row["text"] and row["n"] < 600]
    filters = ["n", "Lt", 600]

    found = await count(system.edge, path(name), fts=fts, filters=filters)
    job = await completed(
        system.edge, path(name), mode="values", field="kind", fts=fts, filters=filters
    )

    assert (found["count"], found["served_by"]) == (len(expected), "origin")
    assert "approximate" not in found
    assert (await results(system.edge, path(name), job))["values"] == values_of(expected, "kind")


@pytest.mark.parametrize("name", ["plain", "sharded"])
async def test_a_misspelt_text_selects_rows_with_something_like_its_words(
    system: System, name: str
) -> None:
    hybrid = {"field": "text", "query": "power"}
    misspelt = {"field": "text", "query": "powwer"}
    expected = sum("power" in row["text"] for row in ROWS)

    counts = [
        (await count(system.edge, path(name), hybrid_text=selector))["count"]
        for selector in (hybrid, misspelt, misspelt | {"fuzziness": 0})
    ]

    assert counts == [expected, expected, 0]


@pytest.mark.parametrize("name", ["plain", "sharded"])
async def test_a_distance_selects_the_rows_within_it(system: System, name: str) -> None:
    ann = {"vector": [10.0, 0.0], "radius": 25.0}

    found = await count(system.edge, path(name), ann=ann)

    assert (found["count"], found["approximate"], found["bounded"]) == (11, True, False)


async def test_times_select_rows_by_when_they_were_written(system: System) -> None:
    target = path("timed")
    for n in range(2):
        body = {"upsert_rows": [{"id": f"{n}", "n": n}]}
        assert (await system.edge("POST", target, body)).status == 200
    rows = await system.edge(
        "POST",
        f"{target}/query",
        {"rank_by": ["id", "asc"], "top_k": 2, "include_attributes": ["_hevlayer_upserted_at"]},
    )
    first, second = (row["_hevlayer_upserted_at"] for row in rows.json["rows"])

    async def counted(**times: Any) -> int:
        return int((await count(system.edge, target, source="origin", **times))["count"])

    assert await counted(as_of=first - 1) == 0
    assert await counted(as_of=second) == 2
    assert await counted(between=[first - 1, second]) == 2
    if first < second:
        assert await counted(as_of=first) == 1
        assert await counted(between=[first, second]) == 1


async def test_numbers_as_ids_are_sorted_as_numbers_from_either_source(system: System) -> None:
    target = path("numbered")
    ids = [*range(95, 115), 2**63, 2**64 - 1, 7]
    rows = [{"id": id_, "n": 1} for id_ in ids]
    assert (await system.edge("POST", target, {"upsert_rows": rows})).status == 200
    await warmed(system.edge, target)

    for source in ("origin", "cache"):
        job = await completed(system.edge, target, source=source, page_size=4)
        found = await results(system.edge, target, job)
        assert found["ids"] == [str(id_) for id_ in sorted(ids)], source


async def test_a_count_that_takes_too_long_says_how_far_it_came(system: System) -> None:
    found = await count(
        system.bare, path("plain"), source="origin", timeout_seconds=1, page_size=1, threads=1
    )

    assert found["timed_out"] is found["bounded"] is True
    assert 0 < found["count"] < ROWS_COUNT
    assert found["elapsed_ms"] >= 900


async def test_a_job_that_is_given_a_time_ends_with_what_it_has_found(system: System) -> None:
    job = await completed(
        system.bare, path("plain"), source="origin", timeout_seconds=1, page_size=1, threads=1
    )

    assert job["bounded"] is True
    found = await results(system.bare, path("plain"), job, "?limit=10000")
    assert 0 < found["total"] == job["documents_scanned"] < ROWS_COUNT
    assert found["ids"] == [row["id"] for row in ROWS[: found["total"]]]


INVALID, UNFIT = "validation_error", "precondition_failed"
COUNT, VALUES = {"mode": "count"}, {"mode": "values"}
FROM_SNAPSHOT = {"source": "snapshot"}
SAWS = {"filters": ["kind", "Eq", "saw"]}
GLOB = {"source": "cache", "filters": ["kind", "Glob", "s*"]}


@pytest.mark.parametrize(
    ("body", "status", "code", "word"),
    [
        (VALUES, 422, INVALID, "field"),
        (COUNT | {"field": "kind"}, 422, INVALID, "field"),
        ({"fts": {"field": "text", "query": "x"}}, 422, INVALID, "ids"),
        ({"threads": 0}, 422, INVALID, "threads"),
        ({"page_size": 10_001}, 422, INVALID, "page_size"),
        ({"timeout_seconds": 0}, 422, INVALID, "timeout_seconds"),
        (FROM_SNAPSHOT, 422, INVALID, "snapshot"),
        (COUNT | FROM_SNAPSHOT, 412, UNFIT, "filter"),
        (COUNT | FROM_SNAPSHOT | SAWS, 412, UNFIT, "snapshot"),
        (VALUES | FROM_SNAPSHOT | {"field": "kind"}, 412, UNFIT, "snapshot"),
        (COUNT | GLOB, 422, "UnsupportedByStore", "Glob"),
        (COUNT | {"filters": ["nobody", "Eq", 1]}, 422, INVALID, "nobody"),
        (COUNT | {"hybrid_text": {"field": "text", "query": "!"}}, 422, INVALID, "word"),
    ],
)
async def test_what_cannot_be_scanned_is_refused(
    system: System, body: dict[str, Any], status: int, code: str, word: str
) -> None:
    answer = await scan(system.edge, path("plain"), **body)

    assert (answer.status, answer.json["error"]) == (status, code), answer.body
    assert word in answer.json["message"]


async def test_a_cache_that_is_away_is_a_503_where_it_is_insisted_on(system: System) -> None:
    for body in ({"mode": "count"}, {"mode": "ids"}, {"mode": "values", "field": "kind"}):
        answer = await scan(system.bare, path("plain"), source="cache", **body)

        assert (answer.status, answer.json["error"]) == (503, "cache_cold")
        assert answer.json["cache_state"] == "cold"


async def test_a_namespace_that_does_not_exist_is_a_404_or_a_failed_job(system: System) -> None:
    answer = await scan(system.edge, path("nowhere"), mode="count")
    assert (answer.status, answer.json["error"]) == (404, "not_found")

    job = (await scan(system.edge, path("nowhere"), mode="ids")).json
    job = await finished(system.edge, path("nowhere"), job)
    assert job["status"] == "failed"
    assert "nowhere" in job["error"]
    refused = await system.edge("GET", f"{path('nowhere')}/scans/{job['id']}/results")
    assert (refused.status, refused.json["error"]) == (422, "validation_error")


async def test_scans_are_listed_oldest_first_and_deleted_for_good(system: System) -> None:
    target = path("sharded")
    jobs = [await completed(system.edge, target, filters=["n", "Lt", n]) for n in (1, 2)]

    listed = (await system.edge("GET", f"{target}/scans")).json["scans"]
    assert listed[-2:] == jobs
    deleted = await system.edge("DELETE", f"{target}/scans/{jobs[0]['id']}")
    assert (deleted.status, deleted.json) == (200, {"status": "OK"})

    left = (await system.edge("GET", f"{target}/scans")).json["scans"]
    assert jobs[0]["id"] not in [job["id"] for job in left]
    for method, suffix in (("GET", ""), ("GET", "/results"), ("DELETE", "")):
        answer = await system.edge(method, f"{target}/scans/{jobs[0]['id']}{suffix}")
        assert (answer.status, answer.json["error"]) == (404, "not_found")


@pytest.mark.parametrize("query", ["?limit=-1", "?limit=x", "?offset=1.5"])
async def test_a_wrong_place_in_results_is_refused_by_its_name(system: System, query: str) -> None:
    job = await completed(system.edge, path("plain"), filters=["n", "Lt", 3])

    answer = await system.edge("GET", f"{path('plain')}/scans/{job['id']}/results{query}")

    assert answer.status == 422
    assert query[1:].partition("=")[0] in answer.json["message"]


async def test_scans_are_counted_in_metrics(system: System) -> None:
    await count(system.edge, path("sharded"), fts={"field": "text", "query": "saw"})

    metrics = (await system.edge("GET", "/metrics")).body.decode()

    labels = (
        'mode="count",namespace="sharded",selector="fts",served_by="origin",'
        'status="ok",store_kind="turbopuffer"'
    )
    for name in ("total", "duration_seconds_count", "documents_scanned_count"):
        assert f"hevlayer_scan_{name}{{{labels}}}" in metrics
