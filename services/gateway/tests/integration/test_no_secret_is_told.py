"""Nothing that the gateway says to anybody holds a key, whatever goes wrong."""

from __future__ import annotations

import json

import grpc.aio
import pytest

from layer_kit.errors import LayerError
from layer_testing.edge_calls import EdgeCaller
from layer_testing.gateway_calls import Caller, gateway_over
from layer_testing.processes import launch
from layer_testing.scripted_store import Exchange, ScriptedStore, answer

STORE_KEY, READER, UNKNOWN = "secret-of-the-store", "secret-of-a-reader", "secret-made-up"
SECRETS = (STORE_KEY, READER, UNKNOWN)


def manifest(url: str, **inbound: object) -> str:
    reader = {
        "name": "reader",
        "scopes": ["read"],
        "secretRef": {"name": "callers", "key": "reader"},
    }
    spec = {
        "kind": "turbopuffer",
        "endpoint": {"url": url, "region": "here"},
        "credential": {"secretRef": {"name": "store", "key": "key"}},
        "inboundAuth": {"mode": "keys", "keys": [reader], **inbound},
    }
    return json.dumps({"main": spec})


def environment(url: str) -> dict[str, str]:
    return {
        "LAYER_STORE_JSON": manifest(url),
        "LAYER_SECRET_STORE_KEY": STORE_KEY,
        "LAYER_SECRET_CALLERS_READER": READER,
        "LAYER_GATEWAY_LOG_LEVEL": "debug",
        "LAYER_GATEWAY_UPSTREAM_TIMEOUT_S": "0.5",
        "LAYER_GATEWAY_KEY_REQUESTS_PER_SECOND": "200",
    }


async def hang_up(_: Exchange) -> None:
    pass


async def garbage(exchange: Exchange) -> None:
    await exchange.say(b"\0\0garbage\r\n\r\n")


async def never(exchange: Exchange) -> None:
    await exchange.wait_closed()


FAULTS = (
    answer({"rows": [{"id": "a"}]}),
    answer({"error": "no"}, 401),
    answer({"error": "busy"}, 429),
    answer({"error": "broken"}, 500),
    answer(b"not json", content_type="application/json"),
    hang_up,
    garbage,
    never,
)
CALLS: tuple[tuple[str, str, object], ...] = (
    ("GET", "/v2/namespaces/n/documents/a", b""),
    ("POST", "/v2/namespaces/n/documents", {"ids": ["a"]}),
    ("POST", "/v2/namespaces/n/query", {"vector": [1], "top_k": 1}),
    ("POST", "/v2/namespaces/n/query", b"{"),
    ("POST", "/v2/namespaces/n", {"upsert_rows": [{"id": "a"}]}),
    ("GET", "/v2/namespaces", b""),
    ("GET", "/v2/vectorstores", b""),
    ("GET", "/v1/unknown", b""),
)


async def test_no_answer_log_or_metric_holds_a_key_under_any_fault(store: ScriptedStore) -> None:
    said: list[bytes] = []
    async with gateway_over(store.url, **environment(store.url)) as process:
        for fault in FAULTS:
            store.answers = {
                f"{method} {target}": fault
                for method, target in (
                    ("GET", "/v1/namespaces"),
                    ("GET", "/v1/namespaces/n/schema"),
                    ("GET", "/v2/namespaces/n/metadata"),
                    ("POST", "/v2/namespaces/n/query"),
                    ("GET", "/v1/unknown"),
                )
            }
            for method, target, body in CALLS:
                for key in (READER, UNKNOWN, STORE_KEY):
                    received = await EdgeCaller(process.addresses["http"], key=key)(
                        method, target, body
                    )
                    said += [received.body, repr(received.headers).encode()]
            async with grpc.aio.insecure_channel(process.addresses["grpc"]) as channel:
                for key in (READER, UNKNOWN):
                    with pytest.raises(LayerError) as refused:
                        await Caller(channel, key).write("n")
                    said.append(repr((refused.value, refused.value.metadata)).encode())
        broken = EdgeCaller(process.addresses["http"], key=READER)
        request = broken.request("GET", "/v1/unknown").replace(b"HTTP/1.1", b"HTTP/9.9")
        said.append((await broken.send(request)).body)
        operations = EdgeCaller(process.addresses["ops"], key="")
        for caller in (broken, operations):
            said.append((await caller("GET", "/metrics")).body)
        await process.terminate()
        said.append(process.stderr.encode())
    told = b"\n".join(said)
    assert b"request_finished" in told
    for secret in SECRETS:
        assert secret.encode() not in told, _around(told, secret)


@pytest.mark.parametrize(
    "changes",
    [
        {"LAYER_STORE_JSON": manifest("http://store", mode=READER)[:-1]},
        {"LAYER_STORE_JSON": manifest(f"http://user:{READER}@store")},
        {"LAYER_STORE_JSON": manifest("http://store", mode="open")},
        {"LAYER_SECRET_CALLERS_READER": ""},
        {"LAYER_GATEWAY_KEY_REQUESTS_PER_SECOND": "-1"},
        {"LAYER_GATEWAY_HTTP_ADDRESS": "no-address"},
    ],
)
async def test_a_start_that_is_refused_tells_no_secret(changes: dict[str, str]) -> None:
    process = await launch("layer_gateway", **environment("http://127.0.0.1:9") | changes)
    assert await process.wait() == 2
    assert process.stderr
    for secret in SECRETS:
        assert secret not in process.stderr


def _around(told: bytes, secret: str) -> bytes:
    at = told.find(secret.encode())
    return told[max(0, at - 300) : at + 100]
