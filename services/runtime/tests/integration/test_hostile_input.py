"""Bodies that no client of ours would send: each is refused by name, and nothing is changed."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio

from layer.common.v1 import common_pb2
from layer.runtime.v1 import runtime_pb2, runtime_pb2_grpc
from layer_kit.errors import LayerError
from layer_kit.rpc.client import invoke, open_channel
from layer_testing.function_system import FunctionSystem, function_system
from layer_testing.postgres import PostgresServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOO_LARGE = b"9223372036854775808"
ROWS = [{"id": f"t-{at}", "vector": [1.0, at], "n": at} for at in range(2)]
CALL_S_MAX = 20.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def layer(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[FunctionSystem]:
    folder = tmp_path_factory.mktemp("h")
    async with function_system(
        folder, postgres.new_database(), LAYER_RUNTIME_OBJECTS_DIRECTORY=str(folder / "objects")
    ) as system:
        yield system


@pytest_asyncio.fixture(loop_scope="module")
async def held(layer: FunctionSystem) -> str:
    """A namespace, and a function of the same name whose two rows `w1` holds."""
    name = f"tools-{secrets.token_hex(4)}"
    await layer.write(name, upsert_rows=ROWS, distance_metric="cosine_distance")
    await layer.put(name, target_namespaces=[name], inputs=["n"])
    await layer.discover(name)
    assert len(await layer.claim(name)) == 2
    return name


@pytest_asyncio.fixture(loop_scope="module")
async def pipeline(layer: FunctionSystem) -> str:
    """A pipeline with a document that `w1` holds."""
    name = f"books-{secrets.token_hex(4)}"
    await layer.call("POST", "/v2/pipelines", {"id": name, "target_namespace": f"{name}-rows"})
    await layer.call("PUT", f"/v2/pipelines/{name}/documents/a", {"chunks": [{"id": "c"}]})
    await layer.call("POST", f"/v2/pipelines/{name}/claim", {"worker_id": "w1"})
    return name


ITEM_BODIES = [
    (b'{"worker_id": "w\\u0000", "items": [%s]}', "worker_id"),
    (b'{"worker_id": "w\\n", "items": [%s]}', "worker_id"),
    (b'{"worker_id": "w1", "items": [{"namespace": "x", "id": "a\\u0000"}]}', "items[0].id"),
    (b'{"worker_id": "w1", "items": [{"namespace": "\\u0000", "id": "a"}]}', "items[0].namespace"),
    (
        b'{"worker_id": "w1", "items": [{"namespace": "x", "id": "a", "lease_token": %s}]}'
        % TOO_LARGE,
        "items[0].lease_token",
    ),
    (
        b'{"worker_id": "w1", "items": [{"namespace": "x", "id": "a", "lease_token": -1}]}',
        "items[0].lease_token",
    ),
]


@pytest.mark.parametrize(("body", "named"), ITEM_BODIES, ids=range(len(ITEM_BODIES)))
@pytest.mark.parametrize("action", ["heartbeat", "complete", "fail"])
async def test_an_item_that_no_queue_can_hold_is_refused_by_name(
    layer: FunctionSystem, held: str, action: str, body: bytes, named: str
) -> None:
    body = body.replace(b"%s", b'{"namespace": "x", "id": "a"}')
    if action == "fail":
        body = body.replace(b'"namespace"', b'"kind": "transient", "namespace"')
    answer = await json_call(layer, "POST", f"/v2/udfs/{held}/items/{action}", body)
    assert answer.status == 422, answer.body
    assert named in answer.json["message"]
    assert (await layer.status(held))["counts"] == {"processing": 2}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b'"attributes": {"n": 1e999}', "VALUE_INVALID"),
        (b'"attributes": {"n": [1, 1e999]}', "VALUE_INVALID"),
        (b'"vector": [1e999, 1]', "VALUE_INVALID"),
        (b'"vectors": [[1e39, 1]]', "VECTOR_INVALID"),
    ],
)
async def test_a_number_that_nothing_holds_is_refused_by_name(
    layer: FunctionSystem, held: str, pipeline: str, value: bytes, reason: str
) -> None:
    item = b'{"namespace": "%s", "id": "t-0", %s}' % (held.encode(), value)
    body = b'{"worker_id": "w1", "items": [%s]}' % item
    answer = await json_call(layer, "POST", f"/v2/udfs/{held}/items/complete", body)
    assert (answer.status, answer.json["reason"]) == (422, reason)
    assert "items[0]" in answer.json["message"]
    assert (await layer.status(held))["counts"] == {"processing": 2}

    vector = b"" if b"vector" in value else b', "vector": [1, 2]'
    body = b'{"vectors": [{"id": "r", %s%s}]}' % (value, vector)
    answer = await json_call(layer, "PUT", f"/v2/pipelines/{pipeline}/documents/a/vectors", body)
    assert (answer.status, answer.json["reason"]) == (422, reason)
    assert "vectors[0]" in answer.json["message"]


async def test_words_of_a_failure_may_hold_any_character(layer: FunctionSystem, held: str) -> None:
    item = {"namespace": held, "id": "t-0", "kind": "permanent", "message": "a\0b"}
    assert await layer.fail(held, [item]) == 1
    failed = await layer.call("GET", f"/v2/udfs/{held}/items/failed")
    assert [one["message"] for one in failed["items"]] == ["a\N{REPLACEMENT CHARACTER}b"]


async def test_a_row_whose_id_no_queue_holds_is_left_out_and_stops_nothing(
    layer: FunctionSystem,
) -> None:
    name = f"odd-{secrets.token_hex(4)}"
    rows = [{"id": "a\0b", "n": 1}, {"id": "🦀/é?#", "n": 2}]
    await layer.write(name, upsert_rows=rows)
    await layer.put(name, target_namespaces=[name], inputs=["n"])
    assert (await layer.discover(name))["enqueued"] == 1
    (item,) = await layer.claim(name)
    assert (item["id"], item["input"]) == ("🦀/é?#", {"n": 2})
    assert await layer.complete(name, [{**item, "attributes": {"done": True}}]) == 1
    assert (await layer.discover(name))["enqueued"] == 0


@pytest.mark.parametrize(
    ("action", "body", "named"),
    [
        ("claim", b'{"worker_id": "w", "claim_stage": "indexed"}', "claim_stage"),
        ("claim", b'{"worker_id": "w", "claim_stage": "failed"}', "claim_stage"),
        ("claim", b'{"worker_id": "w", "stage": "indexed"}', "stage"),
        ("claim", b'{"worker_id": "w\\u0000"}', "worker_id"),
        (
            "documents/stage",
            b'{"document_ids": ["a"], "stage": "x", "lease_token": %s}' % TOO_LARGE,
            "lease_token",
        ),
        (
            "documents/heartbeat",
            b'{"document_ids": ["a"], "worker_id": "w1", "lease_token": %s}' % TOO_LARGE,
            "lease_token",
        ),
    ],
)
async def test_a_stage_or_a_claim_that_cannot_be_is_refused_by_name(
    layer: FunctionSystem, pipeline: str, action: str, body: bytes, named: str
) -> None:
    answer = await json_call(layer, "POST", f"/v2/pipelines/{pipeline}/{action}", body)
    assert answer.status == 422, answer.body
    assert named in answer.json["message"]
    status = await layer.call("GET", f"/v2/pipelines/{pipeline}/status")
    assert status["counts"] == {"embedding": 1}


async def test_metadata_that_workers_could_not_read_is_refused(
    layer: FunctionSystem, pipeline: str
) -> None:
    path = f"/v2/pipelines/{pipeline}/documents/b"
    for metadata in (b'{"x": 1e999}', b"[]", b'"x"'):
        body = b'{"chunks": [{"id": "c", "metadata": %s}]}' % metadata
        answer = await json_call(layer, "PUT", path, body)
        assert (answer.status, answer.json["reason"]) == (422, "CHUNK_INVALID"), metadata
    assert (await layer.refused("GET", f"{path}/chunks")).status == 404


async def test_a_cursor_that_no_answer_gave_is_refused(
    layer: FunctionSystem, held: str, pipeline: str
) -> None:
    for path, cursors in (
        (f"/v2/udfs/{held}/items/failed", ["x", "YQBi", "WyJhXHUwMDAwIiwiYiJd"]),
        (f"/v2/pipelines/{pipeline}/documents/failed", ["x", "!!", "YQBi"]),
    ):
        for cursor in cursors:
            answer = await layer.refused("GET", f"{path}?cursor={cursor}")
            assert (answer.status, answer.json["reason"]) == (422, "PAGE_TOKEN_INVALID"), cursor


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"version": "a\0"}, "spec.version"),
        ({"worker": {"url": "http://"}}, "spec.worker.url"),
        ({"worker": {"url": "http://a b"}}, "spec.worker.url"),
        ({"worker": {"url": "https://host/\0"}}, "spec.worker.url"),
        ({"target_namespaces": ["a/b"]}, "spec.target_namespaces"),
    ],
)
async def test_a_specification_that_cannot_work_is_refused_by_name(
    layer: FunctionSystem, spec: dict[str, Any], named: str
) -> None:
    name = f"f-{secrets.token_hex(4)}"
    answer = await layer.refused("PUT", f"/v2/udfs/{name}", {"spec": {"worker": {}, **spec}})
    assert answer.status == 422
    assert named in answer.json["message"]
    assert ".." not in answer.json["message"]
    assert (await layer.refused("GET", f"/v2/udfs/{name}")).status == 404


async def test_what_may_be_left_out_may_be_null(layer: FunctionSystem, held: str) -> None:
    name = f"f-{secrets.token_hex(4)}"
    spec = {"worker": {"url": None}, "target_namespaces": [held], "inputs": None, "version": None}
    made = await layer.call("POST", "/v2/udfs", {"id": name, "spec": spec, "paused": None})
    assert not made["paused"]
    sweep = await layer.discover(name, namespaces=None, page_size=None, max_pages=None, cursor=None)
    assert (sweep["enqueued"], sweep["complete"]) == (2, True)
    items = await layer.claim(name, limit=None, lease_seconds=None)
    result = {**items[0], "lease_token": None, "attributes": None, "vector": None, "vectors": None}
    assert await layer.complete(name, [result]) == 1


async def test_a_caller_by_grpc_meets_the_same_bounds(layer: FunctionSystem, held: str) -> None:
    async with open_channel(layer.runtimes[0].addresses["grpc"], retries=False) as channel:
        stub = runtime_pb2_grpc.FunctionServiceStub(channel)
        nameless = runtime_pb2.ItemReference(namespace=held)
        long = runtime_pb2.ItemReference(namespace=held, id=common_pb2.DocumentId(text="x" * 129))
        for item in (nameless, long):
            request = runtime_pb2.HeartbeatItemsRequest(
                function_id=held, worker_id="w1", items=[item]
            )
            with pytest.raises(LayerError) as caught:
                await invoke(stub.HeartbeatItems, request, timeout_s=CALL_S_MAX)
            assert caught.value.reason == "ITEM_INVALID"
        with pytest.raises(grpc.RpcError) as failed:
            await stub.ListFunctions(runtime_pb2.ListFunctionsRequest(page_token="a\0"))
        assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def json_call(layer: FunctionSystem, method: str, path: str, body: bytes) -> Any:
    """Send bytes as JSON."""
    return await layer.edge(method, path, body, {"content-type": "application/json"})
