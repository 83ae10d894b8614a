"""Pipelines by the unchanged official client: staged, claimed, embedded, searchable, given up."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import httpx
import pytest
from hevlayer import HevlayerError

from layer_testing.edge_calls import eventually
from layer_testing.system import LocalSystem

Client = Any
"""``AsyncHevlayer``, whose every method is typed as ``T | LayerResponse[T]``."""

KEY = {"authorization": "Bearer any"}
CHUNKS = [
    {"id": "a#0", "text": "A saw cuts wood.", "metadata": {"page": 1}},
    {"id": "a#1", "text": "A drill makes holes.", "metadata": None},
]
ROWS = [
    {"id": "a#0", "vector": [1.0, 0.0], "attributes": {"text": "A saw cuts wood.", "page": 1}},
    {"id": "a#1", "vector": [0.0, 1.0], "attributes": {"text": "A drill makes holes."}},
]


@pytest.fixture
async def pipeline(layer: Client, name: str) -> str:
    await layer.ensure_pipeline({"id": name, "target_namespace": f"{name}-rows"})
    return name


async def refusal(call: Any) -> HevlayerError:
    with pytest.raises(HevlayerError) as caught:
        await call
    return caught.value


async def test_a_document_goes_from_chunks_to_rows_that_a_search_finds(
    layer: Client, pipeline: str
) -> None:
    staged = await layer.put_pipeline_document_chunks(pipeline, "a", {"chunks": CHUNKS})
    assert (staged.stage, staged.chunk_ids) == ("pending", ["a#0", "a#1"])

    claimed = await layer.claim_documents(pipeline, {"worker_id": "w"})
    assert (claimed.documents, claimed.claim_stage) == (["a"], "embedding")
    chunks = await layer.get_pipeline_document_chunks(pipeline, "a")
    assert [(chunk["id"], chunk["text"]) for chunk in map(dict, chunks)] == [
        ("a#0", "A saw cuts wood."),
        ("a#1", "A drill makes holes."),
    ]
    beat = await layer.heartbeat_documents(pipeline, {"document_ids": ["a"], "worker_id": "w"})
    assert beat.updated == 1
    await layer.put_pipeline_document_vectors(pipeline, "a", {"vectors": ROWS})

    found = await layer.query_namespace(
        f"{pipeline}-rows",
        {"rank_by": ["vector", "ANN", [1.0, 0.1]], "top_k": 1, "include_attributes": ["text"]},
    )
    assert found.rows[0]["id"] == "a#0"
    status = await layer.get_pipeline_status(pipeline)
    assert (status.status, status.counts, status.indexed_rate_per_min) == (
        "idle",
        {"indexed": 1},
        1,
    )


async def test_the_helpers_of_the_client_write_one_row_with_one_vector_or_several(
    layer: Client, pipeline: str, name: str
) -> None:
    late = f"{name}-late"
    await layer.ensure_pipeline({"id": late, "target_namespace": f"{late}-rows"})
    assert {late, pipeline} <= {one.id for one in (await layer.list_pipelines()).pipelines}
    for queue in (pipeline, late):
        await layer.put_pipeline_document_chunks(queue, "a", {"chunks": CHUNKS})

    await layer.write_single_vector(pipeline, "a", {"id": "a", "vector": [1.0, 0.0]})
    await layer.write_single_multivector(
        late, "a", "a", [[1.0, 0.0], [0.0, 1.0]], attributes={"page": 1}
    )

    for queue, rank_by in (
        (pipeline, ["vector", "ANN", [1.0, 0.1]]),
        (late, ["vectors", "ANN", [[1.0, 0.1]]]),
    ):
        found = await layer.query_namespace(f"{queue}-rows", {"rank_by": rank_by, "top_k": 1})
        assert [row["id"] for row in found.rows] == ["a"]
        assert (await layer.get_pipeline_status(queue)).counts == {"indexed": 1}


async def test_a_pipeline_exists_once_and_goes_with_its_documents(layer: Client, name: str) -> None:
    body = {"id": name, "target_namespace": "rows", "distance_metric": "euclidean_squared"}
    created = await layer.create_pipeline(body)
    assert created.distance_metric == "euclidean_squared"
    assert (await refusal(layer.create_pipeline(body))).status_code == 409
    assert await layer.ensure_pipeline(body) == created
    await layer.put_pipeline_document_chunks(name, "a", {"chunks": CHUNKS})

    await layer.delete_pipeline(name)

    assert (await refusal(layer.delete_pipeline(name))).status_code == 404
    assert (await refusal(layer.get_pipeline_status(name))).status_code == 404
    again = await layer.create_pipeline(body)
    assert again.created_at != created.created_at
    assert (await layer.claim_documents(name, {"worker_id": "w"})).documents == []
    assert (await refusal(layer.get_pipeline_document_chunks(name, "a"))).status_code == 404


async def test_jobs_move_through_stages_of_their_own(layer: Client, pipeline: str) -> None:
    jobs = [f"job-{number}" for number in range(5)]
    created = await layer.set_documents_stage(
        pipeline, {"document_ids": jobs, "stage": "pending", "create_missing": True}
    )
    again = await layer.set_documents_stage(
        pipeline, {"document_ids": jobs, "stage": "pending", "create_missing": True}
    )
    assert (created.updated, again.updated) == (5, 0)
    assert await layer.get_pipeline_document_chunks(pipeline, "job-0") == []

    claim = {"worker_id": "w", "claim_stage": "extracting", "limit": 3}
    taken = (await layer.claim_documents(pipeline, claim)).documents
    held = {"from_stage": "extracting", "worker_id": "w"}
    assert (await layer.release_documents(pipeline, taken[:1], **held)).updated == 1
    assert (await layer.fail_documents(pipeline, taken[1:2], **held)).updated == 1
    assert (await layer.complete_documents(pipeline, taken[2:], **held)).updated == 1
    assert (await layer.complete_documents(pipeline, jobs, **held)).updated == 0

    status = await layer.get_pipeline_status(pipeline)
    assert status.counts == {"pending": 3, "failed": 1, "indexed": 1}
    assert (status.status, status.failed_reasons) == ("pending", {"reported": 1})


async def test_a_lease_that_runs_out_gives_the_document_to_another(
    layer: Client, pipeline: str
) -> None:
    await layer.put_pipeline_document_chunks(pipeline, "a", {"chunks": CHUNKS})
    await layer.claim_documents(pipeline, {"worker_id": "late", "lease_seconds": 1})

    async def taken_over() -> bool:
        claimed = await layer.claim_documents(pipeline, {"worker_id": "quick"})
        return bool(claimed.documents == ["a"])

    await eventually(taken_over)
    late = {"document_ids": ["a"], "worker_id": "late"}
    assert (await layer.heartbeat_documents(pipeline, late)).updated == 0


async def test_a_prefix_chooses_documents(layer: Client, pipeline: str) -> None:
    for document in ("x-1", "y-1"):
        await layer.put_pipeline_document_chunks(pipeline, document, {"chunks": []})
    claim = {"worker_id": "w", "document_id_prefix": "y-"}
    assert (await layer.claim_documents(pipeline, claim)).documents == ["y-1"]


async def test_rows_that_the_store_refuses_are_a_failed_attempt_and_not_the_last(
    layer: Client, pipeline: str
) -> None:
    await layer.put_pipeline_document_chunks(pipeline, "a", {"chunks": CHUNKS})
    await layer.put_pipeline_document_vectors(pipeline, "a", {"vectors": ROWS})
    await layer.put_pipeline_document_chunks(pipeline, "a", {"chunks": CHUNKS})
    await layer.claim_documents(pipeline, {"worker_id": "w"})

    other_dimension = {"vectors": [{"id": "a#0", "vector": [1.0, 0.0, 0.0]}]}
    error = await refusal(layer.put_pipeline_document_vectors(pipeline, "a", other_dimension))

    assert 400 <= error.status_code < 500
    retried = await layer.claim_documents(pipeline, {"worker_id": "w"})
    assert retried.documents == []  # it waits

    async def is_free() -> bool:
        return bool((await layer.claim_documents(pipeline, {"worker_id": "w"})).documents)

    await eventually(is_free)


@pytest.mark.parametrize(
    ("call", "body", "named"),
    [
        ("POST ", {"id": "a/b", "target_namespace": "n"}, "a/b"),
        ("POST ", {"id": "p", "target_namespace": "n", "distance_metric": "dot"}, "distance"),
        ("POST /{p}/claim", {}, "worker_id"),
        ("POST /{p}/claim", {"worker_id": "w", "lease_seconds": 0}, "lease_seconds"),
        ("POST /{p}/claim", {"worker_id": "w", "stage": "a b"}, "stage"),
        ("POST /{p}/documents/stage", {"document_ids": ["a"]}, "stage"),
        ("PUT /{p}/documents/a", {"chunks": [{"id": ""}]}, "chunks[0].id"),
        ("PUT /{p}/documents/a", {"chunks": [{"id": "1"}, {"id": "1"}]}, "chunks[1].id"),
        ("PUT /{p}/documents/a", {"chunks": [{"id": "1", "metadata": []}]}, "metadata"),
        ("PUT /{p}/documents/a/vectors", {"vectors": []}, "vectors"),
        ("PUT /{p}/documents/a/vectors", {"vectors": [{"id": "r"}]}, "vectors[0]"),
        (
            "PUT /{p}/documents/a/vectors",
            {"vectors": [{"id": "r", "vector": [1], "attributes": {"_hevlayer_x": 1}}]},
            "_hevlayer_x",
        ),
    ],
)
async def test_bad_input_is_refused_by_name_and_changes_nothing(
    system: LocalSystem,
    layer: Client,
    pipeline: str,
    *,
    call: str,
    body: dict[str, Any],
    named: str,
) -> None:
    method, _, path = call.partition(" ")
    async with httpx.AsyncClient(base_url=system.url, headers=KEY) as http:
        url = "/v2/pipelines" + path.format(p=pipeline)
        answer = await http.request(method, url, json=body)
    assert answer.status_code == 422
    assert named in answer.text
    assert (await layer.get_pipeline_status(pipeline)).counts == {}


async def test_rows_without_vectors_are_written_by_a_route_of_their_own(
    system: LocalSystem, layer: Client, pipeline: str
) -> None:
    await layer.put_pipeline_document_chunks(pipeline, "a", {"chunks": []})
    async with httpx.AsyncClient(base_url=system.url, headers=KEY) as http:
        answer = await http.put(
            f"/v2/pipelines/{pipeline}/documents/a/rows", json={"rows": [{"id": "r", "n": 7}]}
        )
    assert answer.status_code == 200
    row = await layer.fetch_document(f"{pipeline}-rows", "r")
    assert row.attributes["n"] == 7


async def work(layer: Client, pipeline: str, worker: str) -> None:
    """Write one row for each document that can be claimed, whatever is away meanwhile."""
    while True:
        try:
            body = {"worker_id": worker, "limit": 2, "lease_seconds": 2}
            for document in (await layer.claim_documents(pipeline, body)).documents:
                row = {"id": document, "vector": [1.0, 0.0]}
                await layer.put_pipeline_document_vectors(pipeline, document, {"vectors": [row]})
        except HevlayerError as error:
            if error.status_code < 500:
                raise
        await asyncio.sleep(0.05)


async def test_a_database_that_is_killed_costs_no_document(
    system: LocalSystem, layer: Client, pipeline: str
) -> None:
    documents = [f"d{number:02}" for number in range(20)]
    for document in documents:
        await layer.put_pipeline_document_chunks(pipeline, document, {"chunks": CHUNKS[:1]})

    workers = [asyncio.create_task(work(layer, pipeline, f"w{number}")) for number in range(2)]
    system.kill("postgres")
    await asyncio.to_thread(system.wait_restarted, "postgres", restart_count=1)
    system.kill("runtime")

    async def all_indexed() -> bool:
        failed = [task for task in workers if task.done()]
        assert not failed, failed
        body = {"ids": documents, "include_attributes": ["id"]}
        try:
            found = await layer.fetch_documents(f"{pipeline}-rows", body)
        except HevlayerError as error:  # nothing is written yet
            if error.status_code != HTTPStatus.NOT_FOUND:
                raise
            return False
        return len(found.documents) == len(documents)

    await eventually(all_indexed)
    for task in workers:
        task.cancel()
    await asyncio.wait(workers)
