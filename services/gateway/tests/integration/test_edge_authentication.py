"""Who comes in, and with which key the store is asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
import pytest_asyncio

from layer_kit.errors import ForbiddenError
from layer_testing.edge_calls import EdgeAnswer, EdgeCaller
from layer_testing.gateway_calls import KEY, Caller, gateway_over, row, string_id
from layer_testing.processes import ServiceProcess, launch
from layer_testing.scripted_store import ScriptedStore

pytestmark = pytest.mark.asyncio(loop_scope="module")

WRITE, FETCH = "/v2/namespaces/n", "/v2/namespaces/n/documents"
ROW = {"id": "a"}


@pytest.fixture(autouse=True)
def _namespace(store: ScriptedStore) -> None:
    store.namespace("n", rows=({"id": "a", "k": 1},))


def assert_refused(answer: EdgeAnswer, status: int, reason: str) -> None:
    assert (answer.status, answer.json["reason"]) == (status, reason), answer.body
    assert answer.json.keys() == {"error", "message", "reason"}
    assert answer["x-should-retry"] == "false"
    assert answer["x-request-id"]


MISSING = "missing or malformed Authorization: Bearer header"


@pytest.mark.parametrize("value", [None, "", "Bearer", "Bearer ", "Basic YTpi", "a-key"])
async def test_no_bearer_is_a_401(
    edge: EdgeCaller, store: ScriptedStore, value: str | None
) -> None:
    nobody = EdgeCaller(edge.address, key="")
    headers = {} if value is None else {"authorization": value}
    for target in (WRITE, "/v2/namespaces", "/v1/unknown"):
        answer = await nobody("GET", target, b"", headers)
        assert_refused(answer, 401, "BEARER_MISSING")
        assert answer.json["error"] == MISSING
    assert store.requests == []


@pytest.mark.parametrize("key", [b"another", b"a-key2", b"\xff\xfe", b"a-ke", b"a key"])
async def test_another_key_is_a_403(edge: EdgeCaller, store: ScriptedStore, key: bytes) -> None:
    answer = await edge("GET", "/v1/unknown", b"", {"authorization": b"Bearer " + key})
    assert_refused(answer, 403, "KEY_INVALID")
    assert answer.json["error"] == "invalid API key"
    assert store.requests == []


async def test_the_key_is_asked_before_the_body_is_looked_at(edge: EdgeCaller) -> None:
    nobody = EdgeCaller(edge.address, key="")
    answer = await nobody("POST", WRITE, b"{" * 2_000_000)
    assert_refused(answer, 401, "BEARER_MISSING")


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics"])
async def test_public_routes_ask_for_no_key(edge: EdgeCaller, path: str) -> None:
    nobody = EdgeCaller(edge.address, key="")
    assert (await nobody("GET", path)).status == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_spelt_in_any_case(edge: EdgeCaller, scheme: str) -> None:
    headers = {"authorization": f"{scheme} a-key"}
    assert (await edge("GET", f"{FETCH}/a", b"", headers)).status == 200


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keyless(store: ScriptedStore) -> AsyncIterator[EdgeCaller]:
    async with gateway_over(store.url, TURBOPUFFER_API_KEY="") as process:
        yield EdgeCaller(process.addresses["http"], key="")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_edge(store: ScriptedStore) -> AsyncIterator[EdgeCaller]:
    async with gateway_over(store.url, LAYER_GATEWAY_INBOUND_AUTH="open") as process:
        yield EdgeCaller(process.addresses["http"], key="")


KEYS = {
    "reader": ["read"],
    "writer": ["write"],
    "both": ["read", "write"],
    "root": ["admin"],
}
Calls = tuple[tuple[str, str, object], ...]

READ: Calls = (
    ("GET", "/v2/namespaces/n/documents/a", b""),
    ("HEAD", "/v1/unknown", b""),
    ("POST", FETCH, {"ids": ["a"]}),
    ("POST", f"{WRITE}/query", {"rank_by": ["id", "asc"], "top_k": 1}),
    ("POST", "/v1/namespaces/n/query", {"rank_by": ["id", "asc"]}),
    ("POST", f"{WRITE}/explain_query", {}),
)
WRITING: Calls = (
    ("POST", WRITE, {"upsert_rows": [ROW]}),
    ("DELETE", "/v2/namespaces/gone", b""),
    ("POST", "/v1/namespaces/n/schema", {}),
    ("POST", "/v2/namespaces/query", {"upsert_rows": [ROW]}),
)
ADMINISTRATION: Calls = (("GET", "/v2/keys", b""), ("POST", "/v2/udfs", {}))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keyed(store: ScriptedStore) -> AsyncIterator[ServiceProcess]:
    manifest = {
        "metadata": {"name": "main"},
        "spec": {
            "kind": "turbopuffer",
            "endpoint": {"url": store.url, "region": "here"},
            "credential": {"secretRef": {"name": "store", "key": "key"}},
            "inboundAuth": {
                "mode": "keys",
                "keys": [
                    {
                        "name": name,
                        "scopes": scopes,
                        "secretRef": {"name": "callers", "key": name},
                    }
                    for name, scopes in KEYS.items()
                ],
            },
        },
    }
    secrets = {f"LAYER_SECRET_CALLERS_{name.upper()}": f"{name}-key" for name in KEYS}
    async with gateway_over(
        "http://127.0.0.1:9",  # the manifest wins
        LAYER_STORE_JSON=json.dumps(manifest),
        LAYER_SECRET_STORE_KEY=KEY,
        **secrets,
    ) as process:
        yield process


@pytest.mark.parametrize("name", KEYS)
async def test_a_key_opens_what_its_scopes_say(
    keyed: ServiceProcess, store: ScriptedStore, name: str
) -> None:
    edge = EdgeCaller(keyed.addresses["http"], key=f"{name}-key")
    for scope, calls in (("read", READ), ("write", WRITING), ("admin", ADMINISTRATION)):
        for method, target, body in calls:
            store.requests.clear()
            answer = await edge(method, target, body)
            if scope in KEYS[name] or name == "root":
                assert answer.status not in (401, 403), (method, target, answer.body)
                assert {one.header(b"authorization") for one in store.requests} <= {b"Bearer a-key"}
            else:
                assert answer.status == 403, (method, target, answer.body)
                assert store.requests == []
                if method != "HEAD":
                    assert answer.json == {
                        "error": "insufficient API key scope",
                        "message": "insufficient API key scope",
                        "reason": "SCOPE_MISSING",
                        "required_scope": scope,
                    }


async def test_the_scope_is_asked_before_the_body_and_the_route(keyed: ServiceProcess) -> None:
    reader = EdgeCaller(keyed.addresses["http"], key="reader-key")
    for target in (WRITE, "/v2/no/such/route", "/v2/namespaces/not%20a%20name"):
        answer = await reader("POST", target, b"not json")
        assert (answer.status, answer.json["reason"]) == (403, "SCOPE_MISSING")
    root = EdgeCaller(keyed.addresses["http"], key="root-key")
    assert (await root("POST", "/v2/no/such/route", b"not json")).status == 404


async def test_with_keys_no_other_key_comes_in_not_even_the_stores(
    keyed: ServiceProcess, store: ScriptedStore
) -> None:
    store.requests.clear()
    for key in (KEY, "reader", "reader-key2", "reader-ke", "hvl_" + "x" * 32):
        answer = await EdgeCaller(keyed.addresses["http"], key=key)("GET", "/v1/unknown")
        assert_refused(answer, 403, "KEY_INVALID")
    assert_refused(
        await EdgeCaller(keyed.addresses["http"], key="")("GET", "/v1/unknown"),
        401,
        "BEARER_MISSING",
    )
    assert store.requests == []


async def test_scopes_hold_over_grpc_too(keyed: ServiceProcess) -> None:
    async with grpc.aio.insecure_channel(keyed.addresses["grpc"]) as channel:
        reader, writer = Caller(channel, "reader-key"), Caller(channel, "writer-key")
        a = [string_id("a")]
        assert await reader.lookup("n", a)
        assert await writer.write("n", upserts=[row(string_id("a"))])
        for call, scope in (
            (reader.write("n", upserts=[row(string_id("a"))]), "write"),
            (reader.delete("n"), "write"),
            (writer.lookup("n", a), "read"),
            (writer.query("n"), "read"),
            (writer.stream("n"), "read"),
            (writer.list(), "read"),
            (writer.get("n"), "read"),
        ):
            with pytest.raises(ForbiddenError) as refused:
                await call
            assert refused.value.reason == "SCOPE_MISSING"
            assert refused.value.metadata == {"required_scope": scope}
        with pytest.raises(ForbiddenError) as unknown:
            await Caller(channel, KEY).list()
        assert unknown.value.reason == "KEY_INVALID"


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"LAYER_STORE_FILE": "/no/such/file"}, "LAYER_STORE_FILE: cannot read /no/such/file: No"),
        ({"LAYER_STORE_JSON": "[]"}, "LAYER_STORE_JSON: declares no VectorStore"),
        ({"LAYER_STORES_JSON": '{"a": {}}'}, "LAYER_STORES_JSON: VectorStore a: Object missing"),
    ],
)
async def test_a_bad_manifest_stops_the_start_with_one_line(
    environment: dict[str, str], message: str
) -> None:
    process = await launch("layer_gateway", **environment)
    assert await process.wait() == 2
    lines = [line for line in process.stderr.splitlines() if "setting_deprecated" not in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"layer gateway: {message}")


async def test_the_file_wins_over_all_other_ways_to_name_a_store(
    store: ScriptedStore, tmp_path: Path
) -> None:
    spec = {"kind": "turbopuffer", "endpoint": {"url": store.url, "region": "here"}}
    elsewhere = {"endpoint": {"url": "http://127.0.0.1:9", "region": "here"}}
    (tmp_path / "stores.yaml").write_text(json.dumps({"main": spec}))
    async with gateway_over(
        "http://127.0.0.1:9",
        LAYER_STORE_FILE=str(tmp_path / "stores.yaml"),
        LAYER_STORE_JSON=json.dumps({"other": spec | elsewhere}),
    ) as process:
        edge = EdgeCaller(process.addresses["http"], key="whoever")
        assert (await edge("GET", f"{FETCH}/a")).status == 200


async def test_the_stores_key_replaces_the_callers_spelling_of_it(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    headers = {"authorization": "bearer   a-key"}
    assert (await edge("POST", WRITE, {"upsert_rows": [ROW]}, headers)).status == 200
    await edge("GET", "/v1/unknown", b"", headers)
    assert {one.header(b"authorization") for one in store.requests} == {b"Bearer a-key"}


async def test_a_gateway_without_a_key_sends_on_the_callers(
    keyless: EdgeCaller, store: ScriptedStore
) -> None:
    store.requests.clear()
    assert_refused(await keyless("GET", "/v1/unknown"), 401, "BEARER_MISSING")
    headers = {"authorization": "Bearer anyone"}
    await keyless("GET", "/v1/unknown", b"", headers)
    assert (await keyless("POST", WRITE, {"upsert_rows": [ROW]}, headers)).status == 200
    assert {one.header(b"authorization") for one in store.requests} == {b"Bearer anyone"}


async def test_an_open_gateway_asks_for_nothing_and_uses_its_own_key(
    open_edge: EdgeCaller, store: ScriptedStore
) -> None:
    store.requests.clear()
    assert (await open_edge("POST", WRITE, {"upsert_rows": [ROW]})).status == 200
    await open_edge("GET", "/v1/unknown", b"", {"authorization": "Bearer whoever"})
    assert {one.header(b"authorization") for one in store.requests} == {b"Bearer a-key"}
