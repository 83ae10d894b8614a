"""Keys that are not in the manifest: what a ring grants is decided at one door, of both edges."""

from __future__ import annotations

import functools
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc.aio
import pytest
import pytest_asyncio

from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer_gateway import bootstrap
from layer_gateway.domain.access import Grant, Scope
from layer_gateway.entrance import admission
from layer_gateway.settings import GatewaySettings
from layer_kit.errors import ForbiddenError
from layer_kit.settings import load_settings
from layer_testing.edge_calls import EdgeAnswer, EdgeCaller
from layer_testing.gateway_calls import Caller, row, string_id
from layer_testing.scripted_store import ScriptedStore, answer, scripted_store

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMES = ["shop-1", "shop-2", "other"]
READ, WRITE = Scope.READ, Scope.WRITE


@dataclass
class Ring:
    """Grants what a test says."""

    grants: dict[bytes, Grant] = field(default_factory=dict)

    async def find(self, token: bytes) -> Grant | None:
        return self.grants.get(token)


@dataclass
class World:
    """A gateway of which a ring knows further keys, and its store."""

    ring: Ring
    store: ScriptedStore
    http: str
    rpc: grpc.aio.Channel

    def key(self, name: str, *scopes: Scope, namespaces: tuple[str, ...] = ()) -> EdgeCaller:
        grant = Grant(name=name, scopes=frozenset(scopes), namespaces=namespaces)
        self.ring.grants[name.encode()] = grant
        return EdgeCaller(self.http, key=name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    ring = Ring()
    async with scripted_store() as store:
        declared = {
            "main": {
                "kind": "turbopuffer",
                "default": True,
                "endpoint": {"url": store.url, "region": "here"},
                "credential": {"secretRef": {"name": "store", "key": "api-key"}},
            }
        }
        environment = {
            "LAYER_STORE_JSON": json.dumps(declared),
            "LAYER_GATEWAY_HTTP_ADDRESS": "127.0.0.1:0",
            "LAYER_GATEWAY_GRPC_ADDRESS": "127.0.0.1:0",
            "LAYER_GATEWAY_OPS_ADDRESS": "127.0.0.1:0",
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bootstrap, "admission", functools.partial(admission, minted=ring))
            patch.setenv("LAYER_SECRET_STORE_API_KEY", "of-the-store")
            async with (
                bootstrap.serving(load_settings(GatewaySettings, environment)) as addresses,
                grpc.aio.insecure_channel(addresses["grpc"]) as channel,
            ):
                yield World(ring, store, addresses["http"], channel)


@pytest.fixture(autouse=True)
def namespaces(world: World) -> None:
    for name in NAMES:
        world.store.namespace(name, rows=({"id": "a", "k": 1},))
        world.store.answers[f"GET /v2/namespaces/{name}/metadata"] = answer(
            {"schema": {"id": "string"}, "index": {"status": "up-to-date"}}
        )
    listed = {"namespaces": [{"id": name} for name in NAMES]}
    world.store.answers["GET /v1/namespaces"] = answer(listed)


def fetch_of(namespace: str) -> tuple[str, str]:
    return "GET", f"/v2/namespaces/{namespace}/documents/a"


def assert_forbidden(received: EdgeAnswer) -> None:
    assert (received.status, received.json["error"]) == (403, "forbidden"), received.body
    assert received.json["reason"] == "NAMESPACE_FORBIDDEN"


async def test_a_granted_key_opens_what_its_scopes_say_until_it_is_revoked(world: World) -> None:
    edge = world.key("reads", READ)
    assert (await edge(*fetch_of("other"))).status == 200
    refused = await edge("POST", "/v2/namespaces/other", {"upsert_rows": [{"id": "a"}]})
    assert (refused.status, refused.json["required_scope"]) == (403, "write")
    del world.ring.grants[b"reads"]
    assert (await edge(*fetch_of("other"))).json["error"] == "invalid API key"


async def test_a_key_of_some_namespaces_reaches_no_other(world: World) -> None:
    edge = world.key("shops", READ, WRITE, namespaces=("shop-*",))
    assert (await edge(*fetch_of("shop-1"))).status == 200
    assert (await edge("GET", "/v2/namespaces/%73hop-2/documents/a")).status == 200
    asked = len(world.store.requests)
    for method, target, body in (
        (*fetch_of("other"), b""),
        ("GET", "/v2/namespaces/%6Fther/documents/a", b""),
        ("POST", "/v2/namespaces/other/query", {"rank_by": ["id", "asc"], "top_k": 1}),
        ("POST", "/v2/namespaces/other", {"upsert_rows": [{"id": "a"}]}),
        ("GET", "/v1/namespaces/other/schema", b""),
        ("DELETE", "/v2/namespaces/other", b""),
        ("GET", "/v1/namespaces/shop-1/../other/schema", b""),
        ("GET", "/v1/namespaces/shop-1/%2E%2e/other/schema", b""),
        ("GET", "/v1/namespaces/shop-1%2F..%2Fother/schema", b""),
        ("GET", "//v1/namespaces/shop-1/schema", b""),
    ):
        assert_forbidden(await edge(method, target, body))
    assert len(world.store.requests) == asked


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/v1/namespaces"), ("GET", "/v2/license"), ("GET", "/v2/pipelines")],
)
async def test_nor_what_is_of_no_namespace(world: World, method: str, target: str) -> None:
    assert_forbidden(await world.key("shops", READ, namespaces=("shop-*",))(method, target))


async def test_it_lists_and_queries_those_that_it_reaches(world: World) -> None:
    edge = world.key("shops", READ, namespaces=("shop-*",))
    listed = await edge("GET", "/v2/namespaces")
    assert [one["name"] for one in listed.json["namespaces"]] == ["shop-1", "shop-2"]
    query = {"rank_by": ["id", "asc"], "top_k": 1}
    found = await edge("POST", "/v2/query", query)
    assert [one["namespace"] for one in found.json["namespaces"]] == ["shop-1", "shop-2"]
    assert_forbidden(await edge("POST", "/v2/query", {**query, "namespaces": ["shop-1", "other"]}))
    everything = world.key("everything", READ)
    found = await everything("POST", "/v2/query", query)
    assert {one["namespace"] for one in found.json["namespaces"]} == set(NAMES)


@pytest.mark.parametrize("key", ["copy_from_namespace", "branch_from_namespace"])
@pytest.mark.parametrize("source", ["other", {"source_namespace": "other"}], ids=["text", "object"])
async def test_it_copies_no_namespace_that_it_does_not_reach(
    world: World, key: str, source: object
) -> None:
    edge = world.key("shops", READ, WRITE, namespaces=("shop-*",))
    world.store.answers["POST /v2/namespaces/shop-3"] = answer({"status": "OK"})
    assert_forbidden(await edge("POST", "/v2/namespaces/shop-3", {key: source}))
    copied = await edge("POST", "/v2/namespaces/shop-3", {key: "shop-1"})
    assert copied.status == 200, copied.body


@pytest.mark.parametrize("target", ["/v2/namespaces/shop-3/async", "/v1/namespaces/shop-3"])
async def test_it_copies_none_by_a_route_of_the_stores_own(world: World, target: str) -> None:
    edge = world.key("shops", READ, WRITE, namespaces=("shop-*",))
    world.store.answers[f"POST {target}"] = answer({"token": "t"})
    asked = len(world.store.asked(f"POST {target}"))
    json_ = {"content-type": "application/json"}
    body = json.dumps({"copy_from_namespace": "other"}).encode()
    assert_forbidden(await edge("POST", target, body, json_))
    packed = gzip.compress(body)
    assert_forbidden(await edge("POST", target, packed, json_ | {"content-encoding": "gzip"}))
    hidden = await edge(
        "POST", target, zlib.compress(body), json_ | {"content-encoding": "deflate"}
    )
    assert hidden.status == 415
    assert (await edge("POST", target, body, {"content-type": "text/plain"})).status == 415
    assert len(world.store.asked(f"POST {target}")) == asked
    copied = await edge("POST", target, {"copy_from_namespace": "shop-1"})
    assert copied.json == {"token": "t"}
    assert len(world.store.asked(f"POST {target}")) == asked + 1


async def test_it_copies_none_beside_rows_of_its_own(world: World) -> None:
    edge = world.key("shops", READ, WRITE, namespaces=("shop-*",))
    world.store.namespace("shop-4")
    rows = {"upsert_rows": [{"id": "a"}]}
    assert_forbidden(
        await edge("POST", "/v2/namespaces/shop-4", rows | {"copy_from_namespace": "other"})
    )
    assert world.store.asked("POST /v2/namespaces/shop-4") == []


async def test_the_same_door_is_before_grpc(world: World) -> None:
    world.key("shops", READ, WRITE, namespaces=("shop-*",))
    caller = Caller(world.rpc, "shops")
    a = [string_id("a")]
    assert await caller.lookup("shop-1", a)
    for call in (
        caller.lookup("other", a),
        caller.write("other", upserts=[row(string_id("a"))]),
        caller.delete("other"),
        caller.stream("other"),
        caller.call(
            gateway_pb2_grpc.GatewayServiceStub(world.rpc).CopyNamespace,
            gateway_pb2.CopyNamespaceRequest(namespace="shop-3", source_namespace="other"),
        ),
    ):
        with pytest.raises(ForbiddenError) as refused:
            await call
        assert refused.value.reason == "NAMESPACE_FORBIDDEN"
    assert [one.name for one in (await caller.list()).namespaces] == ["shop-1", "shop-2"]
