"""Functions whose items are documents of several rows, over HTTP and over gRPC."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio

from layer.common.v1 import common_pb2
from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer_testing.edge_calls import eventually
from layer_testing.function_system import FunctionSystem, keys, marker
from layer_testing.gateway_calls import KEY

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGES = {"d1": ("one", "two", "three"), "d2": ("four", "five")}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(system: FunctionSystem) -> AsyncIterator[gateway_pb2_grpc.GatewayServiceStub]:
    address = f"unix:{system.folder / 'g.sock'}"
    async with grpc.aio.insecure_channel(address) as channel:
        yield gateway_pb2_grpc.GatewayServiceStub(channel)


async def write_pages(
    gateway: gateway_pb2_grpc.GatewayServiceStub, name: str, document: str, texts: Sequence[str]
) -> None:
    """Write the rows of a document as a pipeline does, the last of them first."""
    request = gateway_pb2.WriteRowsRequest(namespace=name, is_pipeline_result=True)
    for at, text in reversed([*enumerate(texts)]):
        row = request.upserts.add()
        row.id.kind = common_pb2.DOCUMENT_ID_KIND_STRING
        row.id.text = f"{document}#{len(texts) - at}"
        row.attributes["text"].string_value = text
        row.attributes["_hevlayer_parent_id"].string_value = document
        row.attributes["_hevlayer_chunk_index"].int_value = at
    await gateway.WriteRows(request, metadata=(("authorization", f"Bearer {KEY}"),))


@pytest_asyncio.fixture(loop_scope="module")
async def documents(layer: FunctionSystem, gateway: gateway_pb2_grpc.GatewayServiceStub) -> str:
    """A namespace of two documents of several rows, and one of a single row."""
    name = f"documents-{secrets.token_hex(4)}"
    for document, texts in PAGES.items():
        await write_pages(gateway, name, document, texts)
    await layer.write(name, upsert_rows=[{"id": "d3", "text": "six"}])
    return name


def results(name: str, items: Sequence[Any], **attributes: object) -> list[dict[str, Any]]:
    return [{"namespace": name, "id": item["id"], "attributes": attributes} for item in items]


async def test_a_document_is_one_item_with_all_of_its_pages(
    layer: FunctionSystem, documents: str, tag: str
) -> None:
    await layer.put(tag, target_namespaces=[documents], inputs=["text"], group_by_parent=True)
    assert (await layer.discover(tag))["enqueued"] == 3
    items = await layer.claim(tag)
    assert keys(items) == ["d1", "d2", "d3"]
    assert items[0]["pages"] == [
        {"id": "d1#3", "index": 0, "input": {"text": "one"}},
        {"id": "d1#2", "index": 1, "input": {"text": "two"}},
        {"id": "d1#1", "index": 2, "input": {"text": "three"}},
    ]
    assert items[0]["input"] == {"text": ["one", "two", "three"]}
    assert items[2]["pages"] == [{"id": "d3", "index": 0, "input": {"text": "six"}}]

    assert await layer.complete(tag, results(documents, items, language="en")) == 3
    for id_ in ("d1#1", "d1#2", "d1#3", "d2#1", "d2#2", "d3"):
        row = await layer.row(documents, id_)
        assert (row["language"], row[marker(tag)]) == ("en", "v1")
    assert (await layer.discover(tag))["enqueued"] == 0
    found = await layer.calls.look_up(tag, items)
    assert {one["state"] for one in found} == {"completed"}


async def test_a_document_with_a_page_that_changed_waits_again(
    layer: FunctionSystem,
    gateway: gateway_pb2_grpc.GatewayServiceStub,
    documents: str,
    tag: str,
) -> None:
    await layer.put(tag, target_namespaces=[documents], inputs=["text"], group_by_parent=True)
    await layer.discover(tag)
    first, second, third = await layer.claim(tag)
    await layer.write(
        documents,
        patch_rows=[{"id": "d1#2", "text": "2"}, {"id": "d2#1", "stock": 1}],
        deletes=["d3"],
    )
    found = await layer.dispositions(tag, results(documents, [first, second, third], n=1))
    assert found == ["stale", "completed", "gone"]
    assert "n" not in await layer.row(documents, "d1#1")
    assert (await layer.row(documents, "d2#1"))["stock"] == 1
    (again,) = await layer.claim(tag)
    assert again["input"] == {"text": ["one", "2", "three"]}
    assert again["input_revision"] != first["input_revision"]
    assert await layer.complete(tag, results(documents, [again], n=2)) == 1

    # A page that is new makes its document due with all of them.
    await write_pages(gateway, documents, "d2", ("four", "five", "5 1/2"))
    assert (await layer.discover(tag))["enqueued"] == 1
    (longer,) = await layer.claim(tag)
    assert longer["input"] == {"text": ["four", "five", "5 1/2"]}


async def test_results_of_documents_have_no_vector(
    layer: FunctionSystem, documents: str, tag: str
) -> None:
    await layer.put(tag, target_namespaces=[documents], inputs=["text"], group_by_parent=True)
    await layer.discover(tag)
    items = await layer.claim(tag)
    vectors = [{**one, "vector": [1.0, 0.0]} for one in results(documents, items)]
    assert await layer.refusal(layer.complete(tag, vectors)) == "VECTOR_INVALID"


async def test_a_write_of_a_page_makes_its_document_due(
    system: FunctionSystem,
    gateway: gateway_pb2_grpc.GatewayServiceStub,
    tag: str,
) -> None:
    name = f"documents-{secrets.token_hex(4)}"
    await write_pages(gateway, name, "d1", PAGES["d1"])
    await system.put(
        tag,
        target_namespaces=[name],
        inputs=["text"],
        group_by_parent=True,
        triggers=["write"],
        filter=["text", "NotEq", "none"],
    )

    async def heard() -> list[Any]:
        await system.write(name, patch_rows=[{"id": "d1#1", "text": "3"}])
        return await system.claim(tag)

    (item,) = await eventually(heard)
    assert (item["id"], item["input"]) == ("d1", {"text": ["one", "two", "3"]})
    assert await system.complete(tag, results(name, [item], n=1)) == 1

    async def is_empty() -> bool:
        return not await system.claim(tag) and not (await system.status(tag))["counts"]

    assert await eventually(is_empty)


async def test_a_document_of_too_many_rows_is_given_up(
    system: FunctionSystem, gateway: gateway_pb2_grpc.GatewayServiceStub, tag: str
) -> None:
    name = f"documents-{secrets.token_hex(4)}"
    await write_pages(gateway, name, "long", [str(at) for at in range(1001)])
    await write_pages(gateway, name, "short", [str(at) for at in range(300)])
    await system.put(tag, target_namespaces=[name], inputs=["text"], group_by_parent=True)
    assert (await system.discover(tag))["enqueued"] == 2
    (short,) = await system.claim(tag)
    assert (short["id"], len(short["pages"])) == ("short", 300)
    (failed,) = await system.calls.failed(tag)
    assert failed["message"] == "the document has more than 1000 rows"
    assert await system.complete(tag, results(name, [short], n=1)) == 1
    assert (await system.row(name, "short#300"))["n"] == 1


async def test_the_first_document_of_a_namespace_is_one_item_at_once(
    system: FunctionSystem, gateway: gateway_pb2_grpc.GatewayServiceStub, tag: str
) -> None:
    name = f"documents-{secrets.token_hex(4)}"
    await system.write(name, upsert_rows=[{"id": "d0", "text": "zero"}])
    await system.put(
        tag, target_namespaces=[name], inputs=["text"], group_by_parent=True, triggers=["write"]
    )

    async def heard() -> list[Any]:
        await system.write(name, patch_rows=[{"id": "d0", "text": "zero"}])
        return await system.claim(tag)

    assert keys(await eventually(heard)) == ["d0"]
    # Nothing in the namespace has had a parent so far, which is remembered for a while.
    await write_pages(gateway, name, "d1", PAGES["d1"])
    (item,) = await eventually(lambda: system.claim(tag))
    assert (item["id"], item["input"]) == ("d1", {"text": ["one", "two", "three"]})
