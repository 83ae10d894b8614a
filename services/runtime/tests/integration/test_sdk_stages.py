"""Stages written with the SDK, over both transports, against real processes."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from layer_kit.children import start_child
from layer_sdk import (
    Document,
    PermanentError,
    Row,
    TransientError,
    pipeline_stage,
    run_worker,
)
from layer_testing.edge_calls import eventually
from layer_testing.function_system import FunctionSystem, function_system
from layer_testing.gateway_calls import KEY
from layer_testing.postgres import PostgresServer
from layer_testing.processes import child_environment, tell_to_stop

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOLDER = Path(__file__).parent
DOCUMENTS = ("a", "b/é", "c")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def layer(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[FunctionSystem]:
    folder = tmp_path_factory.mktemp("s")
    async with function_system(
        folder,
        postgres.new_database(),
        LAYER_RUNTIME_OBJECTS_DIRECTORY=str(folder / "objects"),
        PIPELINE_STATUS_CACHE_TTL_MS="0",
    ) as system:
        yield system


@pytest_asyncio.fixture(loop_scope="module")
async def books(layer: FunctionSystem) -> str:
    """A pipeline with three documents of two chunks each."""
    name = f"books-{secrets.token_hex(4)}"
    await layer.call("POST", "/v2/pipelines", {"id": name, "target_namespace": f"{name}-rows"})
    for document in DOCUMENTS:
        chunks = [
            {"id": f"{document}#{at}", "text": f"part {at}", "metadata": {"at": at}}
            for at in range(2)
        ]
        path = f"/v2/pipelines/{name}/documents/{quote(document, safe='')}"
        await layer.call("PUT", path, {"chunks": chunks})
    return name


async def counts(layer: FunctionSystem, pipeline: str) -> dict[str, int]:
    return dict((await layer.call("GET", f"/v2/pipelines/{pipeline}/status"))["counts"])


def rows(document: Document) -> list[Row]:
    return [
        Row(id=chunk.id, vector=[1.0, 0.5], attributes={"text": chunk.text, **chunk.metadata})
        for chunk in document.chunks
        if chunk.metadata is not None
    ]


async def test_documents_become_rows(
    layer: FunctionSystem, books: str, options: dict[str, Any]
) -> None:
    @pipeline_stage(id=books)
    def embed(document: Document) -> list[Row]:
        return rows(document)

    assert await run_worker(embed, **options) == 3
    assert await layer.row(f"{books}-rows", "b%2F%C3%A9%231") == {"text": "part 1", "at": 1}
    assert await counts(layer, books) == {"indexed": 3}


async def test_a_batch_of_documents_is_processed_together(
    layer: FunctionSystem, books: str, options: dict[str, Any]
) -> None:
    sizes = []

    @pipeline_stage(id=books, batch=True, batch_size=2)
    async def embed(documents: Sequence[Document]) -> list[Any]:
        sizes.append(len(documents))
        return [
            PermanentError("no") if document.id == "b/é" else rows(document)
            for document in documents
        ]

    assert await run_worker(embed, **options) == 2
    assert sizes == [2, 1]
    assert await counts(layer, books) == {"indexed": 2, "failed": 1}


async def test_stages_hand_over_to_each_other_and_rows_need_no_vectors(
    layer: FunctionSystem, books: str, options: dict[str, Any]
) -> None:
    seen = []

    @pipeline_stage(id=books, claim_stage="checking", next_stage="checked")
    async def check(document: Document) -> None:
        seen.append(document.id)

    @pipeline_stage(id=books, stage="checked", claim_stage="writing")
    def write(document: Document) -> list[Row]:
        if document.id == "c":
            raise TransientError("busy")
        return [Row(id=document.id, attributes={"chunk_count": len(document.chunks)})]

    assert await run_worker(check, **options) == 3
    assert await counts(layer, books) == {"checked": 3}
    assert await run_worker(write, **options) == 2
    assert await counts(layer, books) == {"indexed": 2, "checked": 1}  # where it was claimed from
    assert await layer.row(f"{books}-rows", "a") == {"chunk_count": 2}


def nothing(_: Document) -> list[Row]:
    raise PermanentError("never")


def later(_: Document) -> list[Row]:
    raise KeyError("text")


def odd(_: Document) -> list[Row]:
    return [Row(id="x" * 65, vector=[1.0])]


def untyped(_: Document) -> list[Row]:
    return [Row(id="x", vector=[1.0], attributes={"made": object()})]


@pytest.mark.parametrize(
    ("function", "reason"),
    [(nothing, "worker_refused"), (odd, "worker_refused"), (untyped, "worker_refused")],
)
async def test_a_document_that_can_never_be_done_is_given_up_with_a_reason(
    layer: FunctionSystem,
    books: str,
    options: dict[str, Any],
    function: Callable[[Document], list[Row]],
    reason: str,
) -> None:
    assert await run_worker(pipeline_stage(id=books)(function), **options) == 0
    status = await layer.call("GET", f"/v2/pipelines/{books}/status")
    assert (status["counts"], status["failed_reasons"]) == ({"failed": 3}, {reason: 3})


async def test_a_document_that_failed_waits_and_is_no_loop(
    layer: FunctionSystem, books: str, options: dict[str, Any]
) -> None:
    assert await run_worker(pipeline_stage(id=books)(later), **options) == 0
    assert await counts(layer, books) == {"pending": 3}


async def test_a_worker_that_is_told_to_stop_finishes_one_document_and_gives_back_the_others(
    layer: FunctionSystem, books: str, tmp_path: Path
) -> None:
    environment = {
        "HEVLAYER_BASE_URL": f"http://{layer.edge.address}",
        "LAYER_GATEWAY_API_KEY": KEY,
        "HEVLAYER_PIPELINE_ID": books,
        "TAGGING_STARTED": str(tmp_path / "started"),
        "TAGGING_UNTIL": str(tmp_path / "until"),
    }
    environment |= child_environment(environment)
    environment["PYTHONPATH"] = os.pathsep.join([str(FOLDER), environment["PYTHONPATH"]])
    worker = await start_child(
        sys.executable, "-m", "layer_sdk", "tagging_worker:embed", env=environment
    )
    try:

        async def is_started() -> bool:
            return (tmp_path / "started").exists()

        assert await eventually(is_started)
        assert await counts(layer, books) == {"embedding": 3}
        await tell_to_stop(worker)
        (tmp_path / "until").touch()
        assert await worker.wait() == 0
    finally:
        if worker.returncode is None:
            worker.send_signal(signal.SIGKILL)
            await worker.wait()
    assert await counts(layer, books) == {"indexed": 1, "pending": 2}
    claimed = await layer.call("POST", f"/v2/pipelines/{books}/claim", {"worker_id": "w2"})
    assert claimed["documents"] == ["b/é", "c"]  # no pause, since nothing failed
