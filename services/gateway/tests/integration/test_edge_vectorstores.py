"""Vector stores as the official client reads them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hevlayer import AsyncHevlayer, HevlayerError

from layer_testing.edge_calls import EdgeCaller
from layer_testing.gateway_calls import KEY, gateway_over
from layer_testing.processes import ServiceProcess
from layer_testing.scripted_store import ScriptedStore, answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

Client = Any
"""``AsyncHevlayer``, whose every method is typed as ``T | LayerResponse[T]``."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def declared(store: ScriptedStore) -> AsyncIterator[ServiceProcess]:
    credential = {"secretRef": {"name": "store", "key": "api-key"}}
    stores = {
        "archive": {
            "kind": "turbopuffer",
            "endpoint": {"url": "http://127.0.0.1:9", "region": "there"},
        },
        "main": {
            "kind": "turbopuffer",
            "default": True,
            "endpoint": {"url": store.url, "region": "here"},
            "credential": credential,
            "turbopuffer": {"orgId": "o-1"},
        },
    }
    async with gateway_over(
        "", LAYER_STORE_JSON=json.dumps(stores), LAYER_SECRET_STORE_API_KEY=KEY
    ) as process:
        yield process


@pytest_asyncio.fixture(loop_scope="module")
async def layer(declared: ServiceProcess) -> AsyncIterator[Client]:
    url = f"http://{declared.addresses['http']}"
    async with AsyncHevlayer(api_key=KEY, base_url=url) as client:
        yield client


async def test_stores_are_listed_with_the_default_first(layer: Client) -> None:
    found = (await layer.list_vectorstores()).vectorstores
    assert [(store.name, store.default) for store in found] == [("main", True), ("archive", False)]
    main, archive = found
    assert (main.kind, main.endpoint.region, main.turbopuffer.orgId) == (
        "turbopuffer",
        "here",
        "o-1",
    )
    assert main.credential.secretRef.model_dump() == {"name": "store", "key": "api-key"}
    assert main.turbopufferUrl == "https://turbopuffer.com/organizations/o-1"
    assert archive.turbopufferUrl is None
    assert main.inboundAuth.mode == "deriveFromStore"
    assert archive.credential.secretRef.model_dump() == {"name": "", "key": ""}
    assert archive.status.model_dump(exclude_none=True) == {"conditions": []}
    assert (await layer.get_vectorstore("archive")) == archive


async def test_a_store_says_whether_it_answers(
    layer: Client, declared: ServiceProcess, store: ScriptedStore
) -> None:
    edge = EdgeCaller(declared.addresses["http"], key=KEY)

    async def hang_up(_: object) -> None:
        pass

    for reachable, told in ((True, answer({}, 500)), (False, hang_up), (True, answer({}, 404))):
        store.answers["GET /ping"] = told
        await edge("GET", "/ping")
        status = (await layer.get_vectorstore("main")).status
        assert status.reachable is reachable
        (condition,) = status.conditions
        assert condition.type == "Reachable"
        assert condition.status == str(reachable)
        assert condition.lastTransitionTime.endswith("Z")


async def test_capabilities_are_those_of_the_kind(layer: Client) -> None:
    found = await layer.get_vector_store_capabilities("main")
    assert (found.store.name, found.store.kind, found.declared) == ("main", "turbopuffer", True)
    by_id = {feature.id: feature.support for feature in found.features}
    assert len(by_id) == len(found.features)
    assert by_id["vector_search"] == "supported"
    assert by_id["import"] == "unsupported"
    assert by_id["snapshots"] == "unsupported"  # of a service that this gateway runs without
    assert {hybrid.feature for hybrid in found.hybrid_routes} <= by_id.keys()
    assert {hybrid.route for hybrid in found.hybrid_routes} == {"hybrid_text", "semantic", "fused"}
    assert await layer.get_namespace_capabilities("any") == found


@pytest.mark.parametrize("suffix", ["", "/capabilities"])
async def test_an_unknown_store_is_told_by_its_message_alone(
    declared: ServiceProcess, layer: Client, suffix: str
) -> None:
    edge = EdgeCaller(declared.addresses["http"], key=KEY)
    received = await edge("GET", f"/v2/vectorstores/x%20y{suffix}")
    assert (received.status, received.json) == (404, {"error": "VectorStore x y not found"})
    with pytest.raises(HevlayerError) as missing:
        await layer.get_vectorstore("x")
    assert missing.value.error == "VectorStore x not found"


async def test_the_capabilities_of_a_bad_name_are_a_422(layer: Client) -> None:
    with pytest.raises(HevlayerError) as refused:
        await layer.get_namespace_capabilities("not a name")
    assert (refused.value.status_code, refused.value.error) == (422, "validation_error")


async def test_without_a_manifest_there_is_one_store(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    (found,) = (await edge("GET", "/v2/vectorstores")).json["vectorstores"]
    assert found["name"] == "default"
    assert found["endpoint"] == {"url": store.url, "region": "aws-us-east-1"}
    assert found["credential"] == {"secretRef": {"name": "", "key": ""}}
    assert KEY not in json.dumps(found)
