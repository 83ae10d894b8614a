"""Facet snapshots by the unchanged official layer client, from the write to the comparison."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hevlayer import HevlayerError

from layer_testing.edge_calls import eventually
from layer_testing.system import LocalSystem, local_system

Client = Any
"""``AsyncHevlayer``, whose every method is typed as ``T | LayerResponse[T]``."""

ROWS = [
    {"id": "t-1", "vector": [1, 0], "kind": "saw", "tags": ["wood", "hand", "wood"], "rating": 5},
    {"id": "t-2", "vector": [1, 0], "kind": "saw", "tags": ["metal"], "rating": 4},
    {"id": "t-3", "vector": [1, 0], "kind": "drill", "tags": [], "rating": 5},
    {"id": "t-4", "vector": [1, 0], "kind": "râpe", "tags": ["wood"], "rating": 5},
    {"id": "t-5", "vector": [1, 0], "kind": "saw", "tags": ["hand", "metal"]},
]
"""Those of the worked example."""

SHA = "377a8c3d1354f29f2423d5c66195574cd10f44f1a7b1ce4df650796612020dc6"
KEY = {"authorization": "Bearer any"}
POLICY = {"facetFields": ["tags", "kind", "rating"], "interval": "1s", "retention": "never"}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    """A system that looks at its indexes often, so that what was just written is soon stable."""
    often = {"CONSISTENCY_STABLE_POLL_INTERVAL_MS": "500"}
    with local_system(tmp_path_factory.mktemp("s"), **often) as running:
        yield running


@pytest.fixture
async def tools(layer: Client, name: str) -> str:
    """A namespace with the rows, a policy, and its first snapshot taken."""
    await layer.write_namespace(name, {"upsert_rows": ROWS, "distance_metric": "cosine_distance"})
    assert (await layer.put_snapshot_policy(name, POLICY)).model_dump() == POLICY

    async def is_taken() -> bool:
        return bool(await layer.list_namespace_history(name))

    await eventually(is_taken)
    return name


async def ended(layer: Client, namespace: str, job: Any) -> Any:
    async def is_over() -> bool:
        found = await layer.get_snapshot_job(namespace, job.id)
        return bool(found.status != "running")

    await eventually(is_over)
    return await layer.get_snapshot_job(namespace, job.id)


async def test_a_write_is_followed_by_the_snapshot_of_the_worked_example(
    layer: Client, tools: str
) -> None:
    [entry] = await layer.list_namespace_history(tools)
    assert entry.sha == "377a8c3"

    body = await layer.get_namespace_snapshot(tools, entry.sha)
    assert body == await layer.get_namespace_snapshot(tools, SHA)
    assert (body.namespace, body.sha, body.row_count) == (tools, SHA, 5)
    assert body.watermark_ms == entry.watermark_ms
    assert {field.name: {one.v: one.n for one in field.values} for field in body.fields} == {
        "kind": {"drill": 1, "râpe": 1, "saw": 3},
        "rating": {"4": 1, "5": 3},
        "tags": {"hand": 2, "metal": 2, "wood": 2},
    }
    assert body.fields_skipped == []

    activity = await layer.list_snapshot_activity(namespace=tools)
    [event] = activity.events
    assert (event.ts_ms, event.namespace, event.sha) == (entry.watermark_ms, tools, "377a8c3")

    metadata = await layer.get_namespace_metadata(tools)
    assert (metadata.layer.indexed, metadata.layer.index_lag_rows) == (True, 0)


async def test_a_policy_is_shown_as_it_was_put(layer: Client, name: str) -> None:
    with pytest.raises(HevlayerError) as missing:
        await layer.get_snapshot_policy(name)
    assert (missing.value.status_code, missing.value.error) == (404, "not_found")

    policy = {"facetFields": ["kind"], "interval": "90s", "retention": "30d"}
    await layer.put_snapshot_policy(name, policy)
    assert (await layer.get_snapshot_policy(name)).model_dump() == policy

    with pytest.raises(HevlayerError) as refused:
        await layer.put_snapshot_policy(name, {**policy, "interval": "soon"})
    assert (refused.value.status_code, refused.value.error) == (422, "validation_error")


async def test_a_job_counts_what_matches_and_hides_nothing(layer: Client, tools: str) -> None:
    started = await layer.create_snapshot(
        tools, {"field": "kind", "filters": ["rating", "Gte", 5], "page_size": 2}
    )
    assert (started.status, started.field, started.source) == ("running", "kind", "auto")

    job = await ended(layer, tools, started)
    assert (job.status, job.effective_source, job.documents_scanned) == ("completed", "origin", 3)
    body = await layer.get_namespace_snapshot(tools, job.sha)
    assert [(one.v, one.n) for one in body.fields[0].values] == [
        ("drill", 1),
        ("râpe", 1),
        ("saw", 1),
    ]
    assert [one.id for one in (await layer.list_snapshot_jobs(tools)).snapshot_jobs] == [job.id]

    stored = await ended(layer, tools, await layer.create_snapshot(tools, {"field": "tags"}))
    assert (stored.effective_source, stored.sha) == ("stored", SHA)


async def test_a_warm_namespace_is_counted_in_the_cache(layer: Client, tools: str) -> None:
    async def is_warm() -> bool:
        await layer.fetch_document(tools, "t-1")
        job = await ended(
            layer, tools, await layer.create_snapshot(tools, {"field": "kind", "source": "cache"})
        )
        if job.status == "failed":
            await layer.warm_cache(tools)
            return False
        body = await layer.get_namespace_snapshot(tools, job.sha)
        assert {one.v: one.n for one in body.fields[0].values} == {"drill": 1, "râpe": 1, "saw": 3}
        return bool(job.effective_source == "cache")

    await eventually(is_warm)


async def test_checkpoints_name_states_that_are_compared(
    system: LocalSystem, layer: Client, tools: str
) -> None:
    first = await layer.create_checkpoint(tools, {"label": "before"})
    assert (first.label, first.sha, first.row_count) == ("before", SHA, 5)

    await layer.write_namespace(
        tools,
        {
            "deletes": ["t-1"],
            "upsert_rows": [{"id": "t-6", "vector": [1, 0], "kind": "axe", "rating": 5}],
        },
    )

    async def is_newer() -> bool:
        return len(await layer.list_namespace_history(tools)) > 1

    await eventually(is_newer)
    second = await layer.create_checkpoint(tools, {"label": "after"})

    assert await layer.get_checkpoint(tools, "before") == first
    page = await layer.list_checkpoints(tools, limit=1)
    assert page.checkpoints == [second]
    rest = await layer.list_checkpoints(tools, before=page.next_cursor)
    assert rest.checkpoints == [first]
    history = await layer.list_namespace_history(tools)
    assert [entry.tags for entry in history] == [["after"], ["before"]]
    older = await layer.list_namespace_history(tools, before=str(second.watermark_ms))
    assert [entry.sha for entry in older] == [SHA[:7]]

    async with httpx.AsyncClient(base_url=system.url, headers=KEY) as http:
        answer = await http.get(f"/v2/namespaces/{tools}/snapshots/{SHA}/diff/after")
    assert answer.json() == {
        "namespace": tools,
        "old": {"sha": SHA, "watermark_ms": first.watermark_ms},
        "new": {"sha": second.sha, "watermark_ms": second.watermark_ms},
        "row_count_change": 0,
        "fields": [
            {
                "name": "kind",
                "status": "changed",
                "added": [{"v": "axe", "n": 1}],
                "removed": [],
                "changed": [{"v": "saw", "old_n": 3, "new_n": 2}],
            },
            {
                "name": "tags",
                "status": "changed",
                "added": [],
                "removed": [],
                "changed": [
                    {"v": "hand", "old_n": 2, "new_n": 1},
                    {"v": "wood", "old_n": 2, "new_n": 1},
                ],
            },
        ],
    }
    with pytest.raises(HevlayerError) as taken:
        await layer.create_checkpoint(tools, {"label": "before"})
    assert taken.value.status_code == 409


async def test_counts_and_values_come_from_the_latest_snapshot(layer: Client, tools: str) -> None:
    async def is_served() -> bool:
        count = await layer.create_scan(
            tools, {"mode": "count", "filters": ["kind", "In", ["saw", "drill"]]}
        )
        return bool(count.served_by == "snapshot" and count.count == 4)

    await eventually(is_served)


async def test_a_deleted_namespace_takes_its_snapshots_along(layer: Client, tools: str) -> None:
    await layer.create_checkpoint(tools, {"label": "last"})
    await layer.delete_namespace(tools)
    assert await layer.list_namespace_history(tools) == []
    assert (await layer.list_checkpoints(tools)).checkpoints == []
    with pytest.raises(HevlayerError) as gone:
        await layer.get_namespace_snapshot(tools, SHA)
    assert gone.value.status_code == 404


async def test_fields_that_nobody_has_heard_of_are_tolerated(
    system: LocalSystem, name: str
) -> None:
    async with httpx.AsyncClient(base_url=f"{system.url}/v2/namespaces", headers=KEY) as http:
        put = await http.put(f"/{name}/snapshot-policy", json=POLICY | {"unheard": 1})
        assert (put.status_code, put.json()) == (200, POLICY)
        job = await http.post(f"/{name}/snapshots", json={"field": "kind", "unheard": 1})
        assert job.status_code == 202
        none_yet = await http.post(f"/{name}/checkpoints", json={"label": "a", "unheard": 1})
        assert (none_yet.status_code, none_yet.json()["error"]) == (404, "not_found")


LONG = "x" * 129
REFUSED: list[tuple[str, str, Any, str]] = [
    ("POST", "/snapshots", {}, "field"),
    ("POST", "/snapshots", {"field": "id"}, "field"),
    ("POST", "/snapshots", {"field": LONG}, "field"),
    ("POST", "/snapshots", {"field": "kind", "source": "moon"}, "source"),
    ("POST", "/snapshots", {"field": "kind", "page_size": 0}, "page_size"),
    ("POST", "/snapshots", {"field": "kind", "page_size": 10_001}, "page_size"),
    ("POST", "/snapshots", {"field": "kind", "filters": ["kind", "Like", "s"]}, "filters"),
    ("PUT", "/snapshot-policy", {"facetFields": "kind"}, "facetFields"),
    ("PUT", "/snapshot-policy", {"facetFields": ["id"]}, "facetFields"),
    ("PUT", "/snapshot-policy", {"interval": ""}, "interval"),
    ("PUT", "/snapshot-policy", {"interval": "90"}, "interval"),
    ("PUT", "/snapshot-policy", {"retention": "1ms"}, "retention"),
    ("POST", "/checkpoints", {}, "label"),
    ("POST", "/checkpoints", {"label": ""}, "label"),
    ("POST", "/checkpoints", {"label": "a/b"}, "label"),
    ("GET", "/checkpoints?before=yesterday", None, "before"),
    ("GET", "/checkpoints?limit=0", None, "limit"),
    ("GET", "/history?limit=many", None, "limit"),
    ("GET", "/history?before=-1", None, "before"),
    ("GET", "/snapshots/xyz", None, "hexadecimal"),
    ("GET", "/snapshots/377a8c3/diff/a~b", None, "label"),
]


@pytest.mark.parametrize("refused", REFUSED, ids=str)
async def test_what_cannot_be_is_refused_by_name_and_changes_nothing(
    system: LocalSystem, name: str, refused: tuple[str, str, Any, str]
) -> None:
    method, path, body, told = refused
    async with httpx.AsyncClient(base_url=system.url, headers=KEY) as http:
        answer = await http.request(method, f"/v2/namespaces/{name}{path}", json=body)
        policy = await http.get(f"/v2/namespaces/{name}/snapshot-policy")

    assert (answer.status_code, answer.json()["error"]) == (422, "validation_error")
    assert told in answer.json()["message"]
    assert policy.status_code == 404


@pytest.mark.parametrize(
    "path", ["?limit=0", "?since=now", "?cursor=next", "?namespace=a%2Fb", "?since=99999999999999"]
)
async def test_a_page_of_the_activity_that_cannot_be_is_refused(
    system: LocalSystem, path: str
) -> None:
    async with httpx.AsyncClient(base_url=system.url, headers=KEY) as http:
        answer = await http.get(f"/v2/activity/snapshots{path}")
    assert (answer.status_code, answer.json()["error"]) == (422, "validation_error")
