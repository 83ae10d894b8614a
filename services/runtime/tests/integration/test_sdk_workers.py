"""Workers written with the SDK, over both transports, against real processes."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hevlayer import PermanentError as OfficialPermanentError

from layer_kit.children import Child, start_child
from layer_sdk import TransientError, run_worker, udf
from layer_testing.edge_calls import eventually
from layer_testing.function_system import FunctionSystem, function_system
from layer_testing.gateway_calls import KEY
from layer_testing.postgres import PostgresServer
from layer_testing.processes import child_environment, tell_to_stop

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOLDER = Path(__file__).parent


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def layer(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[FunctionSystem]:
    async with function_system(tmp_path_factory.mktemp("f"), postgres.new_database()) as system:
        yield system


@pytest_asyncio.fixture(loop_scope="module")
async def tools(layer: FunctionSystem) -> str:
    name = f"tools-{secrets.token_hex(4)}"
    rows = [{"id": f"t-{at}", "vector": [1.0, at], "kind": "saw", "n": at} for at in range(5)]
    await layer.write(name, upsert_rows=rows, distance_metric="cosine_distance")
    return name


@pytest_asyncio.fixture(loop_scope="module")
async def tag(layer: FunctionSystem, tools: str) -> str:
    """A function whose five rows wait."""
    function_id = f"tag-{secrets.token_hex(4)}"
    await layer.put(function_id, target_namespaces=[tools], inputs=["kind", "n"])
    await layer.discover(function_id)
    return function_id


async def counts(layer: FunctionSystem, function_id: str) -> dict[str, int]:
    return dict((await layer.status(function_id))["counts"])


async def test_a_function_tags_rows(
    layer: FunctionSystem, tools: str, tag: str, options: dict[str, Any]
) -> None:
    @udf(id=tag, output="label")
    def label(kind: str, n: int) -> str:
        if n == 4:
            raise OfficialPermanentError("too large")
        if n == 3:
            raise TransientError("later")
        return f"{kind}-{n}"

    assert await run_worker(label, limit=2, **options) == 3
    assert (await layer.row(tools, "t-2"))["label"] == "saw-2"
    assert await counts(layer, tag) == {"pending": 1, "failed": 1}


async def test_a_batch_function_gets_its_items_together(
    layer: FunctionSystem, tools: str, tag: str, options: dict[str, Any]
) -> None:
    sizes = []

    @udf(id=tag, batch=True, batch_size=3)
    async def judge(inputs: list[dict[str, Any]]) -> list[Any]:
        sizes.append(len(inputs))
        return [
            ValueError("odd") if one["n"] % 2 else {"twice": one["n"] * 2, "tags": ["a", "b"]}
            for one in inputs
        ]

    assert await run_worker(judge, **options) == 3
    assert sizes == [3, 2]
    row = await layer.row(tools, "t-4")
    assert (row["twice"], row["tags"]) == (8, ["a", "b"])
    assert await counts(layer, tag) == {"pending": 2}


async def test_a_function_over_documents_gets_a_list_for_each_input(
    layer: FunctionSystem, tools: str, tag: str, options: dict[str, Any]
) -> None:
    of_documents = f"{tag}-documents"
    spec = {"target_namespaces": [tools], "inputs": ["kind", "n"], "group_by_parent": True}
    await layer.put(of_documents, **spec)
    await layer.discover(of_documents)

    @udf(id=of_documents, output="label")
    def label(kind: list[str], n: list[int]) -> str:
        return f"{kind[0]}-{n[0]}-{len(n)}"

    assert await run_worker(label, **options) == 5
    assert (await layer.row(tools, "t-2"))["label"] == "saw-2-1"


async def test_an_embedding_becomes_the_vector(
    layer: FunctionSystem, tools: str, tag: str, options: dict[str, Any]
) -> None:
    @udf(id=tag, kind="embedding")
    def embed(n: int, **_: object) -> list[float]:
        return [0.5, float(n)]

    assert await run_worker(embed, **options) == 5
    query = {"rank_by": ["id", "asc"], "top_k": 5, "include_attributes": ["vector", "kind"]}
    rows = (await layer.call("POST", f"/v1/namespaces/{tools}/query", query))["rows"]
    assert [(row["vector"], row["kind"]) for row in rows] == [
        ([0.5, float(at)], "saw") for at in range(5)
    ]


async def test_a_value_that_cannot_be_written_fails_its_item_alone(
    layer: FunctionSystem, tag: str, options: dict[str, Any]
) -> None:
    @udf(id=tag)
    def odd(n: int, **_: object) -> dict[str, Any]:
        return {"_hevlayer_secret": n} if n == 1 else {"ok": True}

    assert await run_worker(odd, **options) == 4
    assert await counts(layer, tag) == {"failed": 1}


@asynccontextmanager
async def started(
    layer: FunctionSystem, function_id: str, folder: Path, *options: str
) -> AsyncIterator[Child]:
    """Run a worker as a process until it is in its first item."""
    environment = {
        "HEVLAYER_BASE_URL": f"http://{layer.edge.address}",
        "LAYER_GATEWAY_API_KEY": KEY,
        "HEVLAYER_UDF_ID": function_id,
        "HEVLAYER_UDF_LEASE_SECONDS": "3",
        "TAGGING_STARTED": str(folder / "started"),
        "TAGGING_UNTIL": str(folder / "until"),
    }
    environment |= child_environment(environment)
    environment["PYTHONPATH"] = os.pathsep.join([str(FOLDER), environment["PYTHONPATH"]])
    process = await start_child(
        sys.executable, "-m", "layer_sdk", "tagging_worker:tag", *options, env=environment
    )
    try:

        async def is_started() -> bool:
            return (folder / "started").exists()

        assert await eventually(is_started)
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            await process.wait()


async def test_a_worker_that_is_told_to_stop_finishes_one_item_and_gives_back_the_others(
    layer: FunctionSystem, tools: str, tmp_path: Path
) -> None:
    function_id = f"tag-{secrets.token_hex(4)}"
    await layer.put(function_id, target_namespaces=[tools], inputs=["kind"])
    await layer.discover(function_id)
    async with started(layer, function_id, tmp_path) as worker:
        assert await counts(layer, function_id) == {"processing": 5}
        await tell_to_stop(worker)
        (tmp_path / "until").touch()
        assert await worker.wait() == 0
    assert await counts(layer, function_id) == {"pending": 4}
    assert (await layer.row(tools, "t-0"))["seen"] == "SAW"
    assert len(await layer.claim(function_id)) == 4  # no pause, since nothing failed


async def test_a_call_that_never_returns_keeps_no_worker_from_ending(
    layer: FunctionSystem, tools: str, tmp_path: Path
) -> None:
    function_id = f"tag-{secrets.token_hex(4)}"
    await layer.put(function_id, target_namespaces=[tools], inputs=["kind"])
    await layer.discover(function_id)
    async with started(layer, function_id, tmp_path, "--drain", "0.1") as worker:
        worker.send_signal(signal.SIGTERM)
        assert await worker.wait() == 0
    assert await counts(layer, function_id) == {"pending": 5}


async def test_leases_go_on_while_a_call_takes_long_and_end_with_a_worker_that_is_killed(
    layer: FunctionSystem, tools: str, tmp_path: Path
) -> None:
    function_id = f"tag-{secrets.token_hex(4)}"
    await layer.put(function_id, target_namespaces=[tools], inputs=["kind"])
    await layer.discover(function_id)
    async with started(layer, function_id, tmp_path) as worker:
        shorter = f"held-{secrets.token_hex(4)}"
        await layer.put(shorter, target_namespaces=[tools])
        await layer.discover(shorter)
        assert len(await layer.claim(shorter, lease_seconds=4)) == 5
        # When a lease of four seconds has run out, those of three seconds have been renewed.
        assert len(await eventually(lambda: layer.claim(shorter, "w2"))) == 5
        assert await layer.claim(function_id, "w2") == []
        worker.send_signal(signal.SIGKILL)
        await worker.wait()
    again = await eventually(lambda: layer.claim(function_id, "w2"))
    assert len(again) == 5
