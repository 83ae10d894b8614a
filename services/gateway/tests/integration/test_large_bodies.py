"""Large bodies take a bounded amount of memory, whatever number of them comes at once."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from pathlib import Path

import pytest

from layer_testing.edge_calls import EdgeCaller, eventually
from layer_testing.gateway_calls import KEY, gateway_over
from layer_testing.processes import ServiceProcess
from layer_testing.scripted_store import Exchange, ScriptedStore, answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024
BODY_BYTES = 24 * MIB
ROW_BYTES = 64 * 1024
WRITE = "/v2/namespaces/large"
JSON = {"content-type": "application/json"}


def large_write() -> bytes:
    vector = base64.b64encode(bytes(ROW_BYTES * 3 // 4)).decode()
    rows = [{"id": at, "vector": vector} for at in range(BODY_BYTES // ROW_BYTES)]
    return json.dumps({"upsert_rows": rows}).encode()


def peak_bytes(process: ServiceProcess) -> int:
    return memory_bytes(process, "VmHWM")


def memory_bytes(process: ServiceProcess, name: str) -> int:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the system does not tell")


async def test_many_large_writes_take_the_memory_of_few(store: ScriptedStore) -> None:
    store.namespace("large", vector="[3072]f32")
    body = large_write()
    async with gateway_over(store.url, LAYER_GATEWAY_BODIES_BYTES_MAX=str(len(body))) as process:
        edge = EdgeCaller(process.addresses["http"], key=KEY)
        assert (await edge("POST", WRITE, body, JSON)).status == 200
        after_one = peak_bytes(process)
        answers = await asyncio.gather(*(edge("POST", WRITE, body, JSON) for _ in range(6)))
        assert {received.status for received in answers} == {200}
        assert peak_bytes(process) < after_one + 2 * len(body)


async def test_a_write_takes_no_more_than_three_times_its_size(store: ScriptedStore) -> None:
    store.namespace("large", vector="[3072]f32")
    body = large_write()
    async with gateway_over(store.url) as process:
        edge = EdgeCaller(process.addresses["http"], key=KEY)
        small = json.dumps({"upsert_rows": [{"id": 1, "vector": [1.0]}]}).encode()
        assert (await edge("POST", WRITE, small, JSON)).status == 200
        before = peak_bytes(process)
        assert (await edge("POST", WRITE, body, JSON)).status == 200
        assert peak_bytes(process) < before + 3 * len(body)


async def test_what_large_writes_took_is_given_back(store: ScriptedStore) -> None:
    store.namespace("large", vector="[3072]f32")
    body = large_write()
    async with gateway_over(store.url) as process:
        edge = EdgeCaller(process.addresses["http"], key=KEY)
        assert (await edge("POST", WRITE, b'{"upsert_rows":[{"id":1}]}', JSON)).status == 200
        before = memory_bytes(process, "VmRSS")
        answers = await asyncio.gather(*(edge("POST", WRITE, body, JSON) for _ in range(4)))
        assert {received.status for received in answers} == {200}
        assert peak_bytes(process) > before + 2 * len(body)

        async def is_given_back() -> bool:
            return memory_bytes(process, "VmRSS") < before + len(body)

        assert await eventually(is_given_back)


async def test_a_large_write_arrives_whole_whatever_way_it_came(store: ScriptedStore) -> None:
    store.namespace("large", vector="[3072]f32")
    body = large_write()
    rows = json.loads(body)["upsert_rows"]
    async with gateway_over(store.url) as process:
        edge = EdgeCaller(process.addresses["http"], key=KEY)
        for sent, headers in (
            (body, JSON),
            (gzip.compress(body, 1), {**JSON, "content-encoding": "gzip"}),
        ):
            store.requests.clear()
            assert (await edge("POST", WRITE, sent, headers)).status == 200
            (written,) = store.asked(f"POST {WRITE}")
            stamped = written.json["upsert_rows"]
            assert [row["id"] for row in stamped] == [row["id"] for row in rows]
            assert all(
                row["vector"] == expected["vector"]
                for row, expected in zip(stamped, rows, strict=True)
            )


async def test_a_body_without_room_is_refused_in_time_and_small_ones_pass(
    store: ScriptedStore,
) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        arrived.set()
        await go_on.wait()
        await exchange.say(answer({}))

    store.answers["POST /v1/slow"] = slow
    store.answers["POST /v1/quick"] = answer({})
    async with gateway_over(store.url, LAYER_GATEWAY_BODIES_BYTES_MAX=str(MIB)) as process:
        edge = EdgeCaller(process.addresses["http"], key=KEY)
        holding = asyncio.create_task(edge("POST", "/v1/slow", bytes(MIB)))
        await arrived.wait()
        refused = await edge("POST", "/v1/quick", bytes(MIB))
        assert (refused.status, refused.json["reason"]) == (503, "BODIES_TOO_MANY")
        assert refused["retry-after"] == "2"
        assert (await edge("POST", "/v1/quick", b"small")).status == 200
        go_on.set()
        assert (await holding).status == 200
        assert (await edge("POST", "/v1/quick", bytes(MIB))).status == 200
