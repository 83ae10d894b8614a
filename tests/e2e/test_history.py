"""History from end to end: the official client writes it, reads it, and the command exports it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hevlayer import AsyncHevlayer

from layer_testing.edge_calls import eventually
from layer_testing.processes import child_environment
from layer_testing.system import LocalSystem

Client = Any
"""``AsyncHevlayer``, whose every method is typed as ``T | LayerResponse[T]``."""

ROWS = [{"id": f"t-{n}", "vector": [1.0, n / 10], "kind": "saw"} for n in range(4)]


@pytest.fixture
async def tools(layer: Client, name: str) -> str:
    await layer.write_namespace(name, {"upsert_rows": ROWS, "distance_metric": "cosine_distance"})
    return name


async def told(layer: Client, namespace: str, count: int, **selection: Any) -> list[Any]:
    async def ask() -> list[Any]:
        found = (await layer.list_search_history(namespace, **selection)).entries
        return found if len(found) >= count else []

    return await eventually(ask)


def layer_command(system: LocalSystem, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "layer_cli", "history", *arguments],
        env=child_environment({"LAYER_BASE_URL": system.url}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


async def test_the_official_client_lists_searches_by_tag_time_and_page(
    layer: Client, tools: str
) -> None:
    for n in range(5):
        await layer.query_namespace(
            tools,
            {"vector": [1.0, 0.1], "top_k": n + 1},
            raw_query=f"saw {n}",
            tags=["web", f"variant={n % 2}"],
        )
    entries = await told(layer, tools, 5)
    assert [entry.raw_query for entry in entries] == [f"saw {n}" for n in (4, 3, 2, 1, 0)]
    assert entries[0].query["vector_len"] == 2
    assert entries[1].top_result_ids == ["t-1", "t-2", "t-0", "t-3"]
    odd = await layer.list_search_history(tools, tags=["web", "variant=1"])
    assert [entry.raw_query for entry in odd.entries] == ["saw 3", "saw 1"]
    first = await layer.list_search_history(tools, limit=2)
    rest = await layer.list_search_history(tools, before=first.next_cursor)
    assert [entry.raw_query for entry in rest.entries] == ["saw 2", "saw 1", "saw 0"]
    assert rest.next_cursor is None
    since = await layer.list_search_history(tools, from_=entries[1].timestamp)
    assert {"saw 3", "saw 4"} <= {entry.raw_query for entry in since.entries}
    none = await layer.list_search_history(tools, to="2026-01-01T00:00:00Z")
    assert none.entries == []


async def test_the_official_client_lists_clicks_of_a_trace(
    system: LocalSystem, layer: Client, tools: str
) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    async with AsyncHevlayer(api_key="any", base_url=system.url) as client:
        client._client.headers.update(headers)
        await client.query_namespace(tools, {"vector": [1.0, 0.1], "top_k": 2})
        await client.fetch_document(tools, "t-1")
        await client.fetch_documents(tools, {"ids": ["t-0", "nope"]})

    async def clicks() -> list[Any]:
        found = (await layer.list_clickstream(tools, trace_id=trace)).events
        return found if len(found) == 2 else []

    batch, single = await eventually(clicks)
    assert (batch.doc_id, batch.source, batch.served_from) == ("t-0", "batch", "cache")
    assert (single.doc_id, single.source, single.trace_id) == ("t-1", "single", trace)
    assert (await layer.list_clickstream(tools, trace_id="1" * 32)).events == []
    shown = await asyncio.to_thread(layer_command, system, "session", tools, trace, "-o", "json")
    session = json.loads(shown.stdout)
    assert [click["doc_id"] for click in session["clicks"]] == ["t-1", "t-0"]
    assert len(session["queries"]) == 1


async def test_searches_of_every_form_are_told(layer: Client, tools: str) -> None:
    await layer.query_namespace(tools, {"nearest_to_id": ["t-1"], "filters": ["kind", "Eq", "saw"]})
    (entry,) = await told(layer, tools, 1)
    assert entry.query["nearest_to_id"] == ["t-1"]
    assert entry.query["filters"] == ["kind", "Eq", "saw"]


async def test_a_deleted_namespace_takes_its_history_along(layer: Client, tools: str) -> None:
    await layer.query_namespace(tools, {"vector": [1.0, 0.1]})
    await told(layer, tools, 1)
    await layer.delete_namespace(tools)
    assert (await layer.list_search_history(tools)).entries == []


async def test_an_export_has_every_event_once_newest_first(
    system: LocalSystem, layer: Client, tools: str, tmp_path: Path
) -> None:
    for n in range(12):
        await layer.query_namespace(tools, {"vector": [1.0, 0.1]}, raw_query=f"shoe {n}")
    await told(layer, tools, 12)
    file = tmp_path / "history.jsonl"
    done = await asyncio.to_thread(layer_command, system, "export", tools, "--file", str(file))
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "12 events")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["raw_query"] for line in lines] == [f"shoe {n}" for n in reversed(range(12))]
    assert os.listdir(tmp_path) == [file.name]  # noqa: PTH208 -- in a test that awaits
    listed = await asyncio.to_thread(
        layer_command, system, "list", tools, "--limit", "3", "-o", "json"
    )
    assert json.loads(listed.stdout) == lines[:3]
    table = await asyncio.to_thread(layer_command, system, "list", tools)
    assert "shoe 11" in table.stdout


def test_a_failed_export_says_why_and_leaves_no_file(system: LocalSystem, tmp_path: Path) -> None:
    bad = layer_command(system, "export", "x", "--from", "now", "--file", str(tmp_path / "h"))
    assert bad.returncode == 1
    assert "from" in bad.stderr
    unwritable = layer_command(system, "export", "x", "--file", str(tmp_path / "no" / "h"))
    assert unwritable.returncode == 2
    assert list(tmp_path.iterdir()) == []
