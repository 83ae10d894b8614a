"""Pipelines: each case once over HTTP and once over gRPC, with one expectation."""

from __future__ import annotations

import secrets

import pytest
import pytest_asyncio

from layer_testing.edge_calls import eventually
from layer_testing.function_system import FunctionSystem
from layer_testing.namespace_transports import RefusedError
from layer_testing.pipeline_transports import Lost, Made, Piece, PipelineTransport, Vector, Work

pytestmark = pytest.mark.asyncio(loop_scope="module")

PIECES = [
    Piece("a#0", "A saw cuts wood.", {"page": 1, "tags": ["tool"]}),
    Piece("a#1", ""),
    Piece("a#2", None, {}),
]
ROWS = [Vector("a#0", (1.0, 0.0), attributes={"text": "A saw."}), Vector("a#1", (0.0, 1.0))]


@pytest_asyncio.fixture(loop_scope="module")
async def books(transport: PipelineTransport) -> str:
    """A pipeline that no other test knows."""
    name = f"books-{secrets.token_hex(4)}"
    await transport.create(name, f"{name}-rows")
    return name


async def refused(call: object, kind: str) -> None:
    with pytest.raises(RefusedError) as caught:
        await call  # type: ignore[misc]
    assert caught.value.kind == kind


async def test_a_pipeline_is_made_once_listed_and_deleted(transport: PipelineTransport) -> None:
    name = f"books-{secrets.token_hex(4)}"
    made = await transport.create(name, "rows", "euclidean_squared")
    assert made == Made(name, "rows", "euclidean_squared")
    await refused(transport.create(name, "rows"), "conflict")
    other = await transport.create(f"{name}.b", "rows")
    assert other.metric == "cosine_distance"
    assert [one for one in await transport.all() if one.id.startswith(name)] == [made, other]
    await transport.stage(name, "a", PIECES)

    await transport.delete(name)

    assert made not in await transport.all()
    await refused(transport.delete(name), "not_found")
    await transport.create(name, "rows")
    assert not (await transport.claim(name, "w")).ids
    await refused(transport.chunks(name, "a"), "not_found")


async def test_what_does_not_exist_is_not_found(transport: PipelineTransport, books: str) -> None:
    for call in (
        transport.work("none"),
        transport.stage("none", "a", PIECES),
        transport.chunks("none", "a"),
        transport.claim("none", "w"),
        transport.heartbeat("none", ["a"], "w"),
        transport.move("none", ["a"], "pending"),
        transport.write("none", "a", ROWS),
        transport.lost("none"),
        transport.chunks(books, "none"),
        transport.write(books, "none", ROWS),
    ):
        await refused(call, "not_found")


@pytest.mark.parametrize("document", ["a", "sub/dir é🦀 %2F?#.md", "stage", "failed", "x" * 512])
async def test_a_document_goes_from_chunks_to_rows(
    layer: FunctionSystem, transport: PipelineTransport, books: str, document: str
) -> None:
    assert (await transport.work(books)).state == "idle"
    assert await transport.stage(books, document, PIECES) == ["a#0", "a#1", "a#2"]
    assert await transport.chunks(books, document) == PIECES
    taken = await transport.claim(books, "w")
    assert (taken.ids, taken.token > 0) == ([document], True)
    assert await transport.heartbeat(books, [document], "w", token=taken.token) == 1
    assert await transport.heartbeat(books, [document], "other") == 0

    await transport.write(books, document, ROWS, taken.token)

    assert await layer.row(f"{books}-rows", "a#0") == {"text": "A saw."}
    await refused(transport.write(books, document, ROWS, taken.token), "conflict")
    await transport.write(books, document, ROWS)  # by nobody in particular, as often as wanted
    assert await transport.work(books) == Work(
        state="idle",
        counts={"indexed": 1},
        reasons={},
        pending=0,
        processing=0,
        failed=0,
        per_minute=1.0,
        window_s=60,
    )


async def test_a_row_may_have_several_vectors(
    layer: FunctionSystem, transport: PipelineTransport, books: str
) -> None:
    await transport.stage(books, "a", [])
    assert await transport.chunks(books, "a") == []
    await transport.write(books, "a", [Vector("r", vectors=((1.0, 0.0), (0.0, 1.0)))])
    near = {"rank_by": ["vectors", "ANN", [[1.0, 0.0]]], "top_k": 1}
    found = await layer.call("POST", f"/v2/namespaces/{books}-rows/query", near)
    assert [row["id"] for row in found["rows"]] == ["r"]
    schema = await layer.call("GET", f"/v1/namespaces/{books}-rows/schema")
    assert schema["vectors"]["type"] == "[][2]f32"
    again = [Vector("r", vectors=((1.0, 0.0),)), Vector("s", vectors=((0.5, 0.5), (0.0, 1.0)))]
    await transport.write(books, "a", again)


async def test_the_oldest_are_claimed_first_and_each_once(
    transport: PipelineTransport, books: str
) -> None:
    for document in ("y-1", "x-1", "y-2", "x-2"):
        await transport.stage(books, document, [])
    assert (await transport.claim(books, "w", prefix="y-", limit=1)).ids == ["y-1"]
    assert (await transport.claim(books, "w", limit=2)).ids == ["x-1", "y-2"]
    assert (await transport.claim(books, "w", limit=100_000)).ids == ["x-2"]
    nothing = await transport.claim(books, "w")
    assert (nothing.ids, nothing.token) == ([], 0)
    work = await transport.work(books)
    assert (work.state, work.pending, work.processing) == ("pending", 0, 4)


async def test_a_lease_that_runs_out_gives_the_document_to_another(
    transport: PipelineTransport, books: str
) -> None:
    await transport.stage(books, "a", PIECES)
    late = await transport.claim(books, "w", lease_s=1)

    async def taken_over() -> int:
        again = await transport.claim(books, "w")  # of the same name, and yet another claim
        return again.token if again.ids == ["a"] else 0

    token = await eventually(taken_over)
    assert await transport.heartbeat(books, ["a"], "w", token=late.token) == 0
    assert await transport.move(books, ["a"], "pending", lease_token=late.token) == 0
    await refused(transport.write(books, "a", ROWS, late.token), "conflict")
    assert await transport.heartbeat(books, ["a"], "w", token=token) == 1


async def test_jobs_move_through_stages_of_their_own(
    transport: PipelineTransport, books: str
) -> None:
    jobs = [f"job-{number}" for number in range(5)]
    assert await transport.move(books, jobs, "pending", create_missing=True) == 5
    assert await transport.move(books, [*jobs, "job-5"], "pending", create_missing=True) == 1
    assert await transport.chunks(books, "job-0") == []
    taken = await transport.claim(books, "w", to="extracting", limit=3)
    held = {"from_stage": "extracting", "worker_id": "w"}
    first, second, third = taken.ids
    assert await transport.move(books, [first], "pending", **held) == 1
    assert await transport.move(books, [second], "failed", **held) == 1
    assert await transport.move(books, [third], "indexed", **held) == 1
    assert await transport.move(books, jobs, "indexed", **held) == 0
    work = await transport.work(books)
    assert work.counts == {"pending": 4, "failed": 1, "indexed": 1}
    assert work.reasons == {"reported": 1}
    assert await transport.move(books, [second, third], "pending") == 2
    assert (await transport.lost(books))[0] == []


async def test_a_reason_tells_why_a_document_failed_and_lets_it_wait(
    transport: PipelineTransport, books: str
) -> None:
    for document in ("a", "b", "c"):
        await transport.stage(books, document, PIECES)
    await transport.move(books, ["c"], "cut")
    taken = await transport.claim(books, "w", limit=2)
    held = {"worker_id": "w", "lease_token": taken.token}
    assert await transport.move(books, ["a"], "pending", reason="model_away", **held) == 1
    assert await transport.move(books, ["a"], "pending", reason="model_away", **held) == 0
    assert await transport.move(books, ["b"], "failed", reason="no_text", **held) == 1
    assert (await transport.claim(books, "w")).ids == []  # it waits

    async def is_free() -> bool:
        return (await transport.claim(books, "w")).ids == ["a"]

    assert await eventually(is_free)
    assert (await transport.lost(books))[0] == [Lost("b", "no_text", 0)]
    # What fails goes back to where it was claimed from.
    await transport.claim(books, "w", stage="cut", to="embedding")
    assert await transport.move(books, ["c"], "pending", reason="model_away") == 1
    assert (await transport.work(books)).counts == {"embedding": 1, "cut": 1, "failed": 1}

    for reason, stage in (("a b", "pending"), ("no_text", "indexed"), ("x" * 65, "failed")):
        call = transport.move(books, ["a"], stage, reason=reason)
        await refused(call, "validation_error")
    call = transport.move(books, ["z"], "failed", reason="no_text", create_missing=True)
    await refused(call, "validation_error")


async def test_documents_that_were_given_up_are_listed_in_pages(
    transport: PipelineTransport, books: str
) -> None:
    names = ["a", "b", "c"]
    await transport.move(books, names, "pending", create_missing=True)
    await transport.move(books, names, "failed")
    first, after = await transport.lost(books, limit=2)
    second, end = await transport.lost(books, limit=2, after=after)
    assert [one.id for one in [*first, *second]] == names
    assert (len(first), end) == (2, "")


async def test_rows_that_the_store_refuses_are_a_failed_attempt(
    transport: PipelineTransport, books: str
) -> None:
    await transport.stage(books, "a", PIECES)
    await transport.write(books, "a", ROWS)
    await transport.stage(books, "a", PIECES)
    taken = await transport.claim(books, "w")
    other_dimension = [Vector("a#0", (1.0, 0.0, 0.0))]
    await refused(transport.write(books, "a", other_dimension, taken.token), "validation_error")
    assert (await transport.work(books)).counts == {"pending": 1}
    assert (await transport.claim(books, "w")).ids == []


async def test_bad_input_is_refused_and_changes_nothing(
    transport: PipelineTransport, books: str
) -> None:
    twice = [Vector("r", (1.0, 0.0)), Vector("r", (1.0, 0.0))]
    for call in (
        transport.create("a/b", "rows"),
        transport.create("", "rows"),
        transport.create("x" * 129, "rows"),
        transport.create("p", "a/b"),
        transport.stage(books, "a\0b", []),
        transport.stage(books, "x" * 513, []),
        transport.stage(books, "a", [Piece("")]),
        transport.stage(books, "a", [Piece("x" * 65)]),
        transport.stage(books, "a", [Piece("c"), Piece("c")]),
        transport.stage(books, "a", [Piece("c", "x" * (1024 * 1024 + 1))]),
        transport.stage(books, "a", [Piece("c", None, {"x": "y" * 65536})]),
        transport.claim(books, ""),
        transport.claim(books, "w" * 129),
        transport.claim(books, "w", stage="a b"),
        transport.claim(books, "w", to="failed"),
        transport.claim(books, "w", lease_s=86_401),
        transport.claim(books, "w", limit=-1),
        transport.claim(books, "w", prefix="x" * 513),
        transport.heartbeat(books, [""], "w"),
        transport.heartbeat(books, ["a"] * 1001, "w"),
        transport.move(books, ["a"], ""),
        transport.move(books, ["a"], "x" * 65),
        transport.move(books, ["a\n"], "pending", create_missing=True),
        transport.lost(books, after="!!"),
    ):
        await refused(call, "validation_error")
    await transport.stage(books, "a", PIECES)
    for rows in (
        [],
        twice,
        [Vector("", (1.0,))],
        [Vector("x" * 65, (1.0,))],
        [Vector("r", vectors=((1.0,), (1.0, 2.0)))],
        [Vector("r", (1.0,) * 10_753)],
        [Vector("r", (1.0,), attributes={"_hevlayer_x": "y"})],
        [Vector("r", (1.0,), attributes={"vector": "y"})],
    ):
        await refused(transport.write(books, "a", rows), "validation_error")
    assert (await transport.work(books)).counts == {"pending": 1}
