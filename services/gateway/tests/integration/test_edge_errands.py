"""Queries by errand: each answered once, in its turn, whatever becomes of its caller or of us."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from layer_gateway_testing.errand_calls import (
    KINDS,
    LARGE,
    NAMESPACE,
    NATIVE,
    PLAIN,
    QUERY,
    ROWS,
    TOLD,
    WAYS,
    Gate,
    ask,
    compact,
    essence,
    query,
    ready,
    receive,
    request,
    samples,
    slowly,
)
from layer_testing.edge_calls import EdgeCaller, eventually
from layer_testing.gateway_calls import KEY, gateway_over
from layer_testing.scripted_store import Exchange, ScriptedStore, answer

pytestmark = pytest.mark.asyncio(loop_scope="module")


def mixed(edge: EdgeCaller, kind: str, identifier: str) -> tuple[bytes, int]:
    """Return a request of some kind, and the status of its answer."""
    fields = {"x_request_id": identifier}
    malformed = {"content_type": "application/json", **fields}
    match kind:
        case "plain" | "native":
            return query(edge, "errand", KINDS[kind], **fields), 200
        case "slow":
            return query(edge, "errand", PLAIN, "/v2/namespaces/slow/query", **fields), 200
        case "chunks":
            return query(edge, "ordinary", PLAIN, **fields), 200
        case "invalid":
            return query(edge, "errand", {"vector": [], "top_k": 2}, **fields), 422
        case "malformed":
            return request(edge, "POST", QUERY, b'{"vector": ', **malformed), 400
        case "write":
            return request(edge, "POST", NAMESPACE, {"upsert_rows": [{"id": "a"}]}, **fields), 200
        case "expecting":
            write = {"upsert_rows": [{"id": "a"}]}
            return request(edge, "POST", NAMESPACE, write, expect="100-continue", **fields), 200
        case "fetch":
            return request(edge, "GET", f"{NAMESPACE}/documents/zz", **fields), 200
        case "public":
            return request(edge, "GET", "/health", **fields), 200
        case _:
            return request(edge, "GET", "/nothing", **fields), 404


MIXED = (
    "plain", "plain", "native", "slow", "slow", "chunks", "invalid", "malformed", "write",
    "expecting", "public", "nothing",
)  # fmt: skip


@pytest.mark.parametrize("cut", ["apart", "at once", "anywhere"])
async def test_answers_come_once_and_in_the_order_of_the_requests(
    edge: EdgeCaller, store: ScriptedStore, cut: str
) -> None:
    await ready(edge, store)
    await ready(edge, store, "slow")
    store.answers["POST /v2/namespaces/slow/query"] = slowly
    numbers = random.Random(cut)  # noqa: S311 -- the same each time
    for turn in range(12):
        kinds = numbers.choices(MIXED, k=numbers.randint(2, 10))
        sent = [mixed(edge, kind, f"r-{turn}-{at}") for at, kind in enumerate(kinds)]
        pieces = [text for text, _ in sent]
        if cut != "apart":
            whole = b"".join(pieces)
            at = sorted(numbers.sample(range(len(whole)), 4 if cut == "anywhere" else 0))
            pieces = [whole[a:b] for a, b in zip([0, *at], [*at, len(whole)], strict=True)]
        reader, writer = await edge.connect()
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.002 * numbers.randint(0, 2))
        told = [await receive(reader) for _ in kinds]
        assert [one.status for one in told] == [status for _, status in sent], kinds
        assert [one["x-request-id"] for one in told] == [
            f"r-{turn}-{at}" for at in range(len(kinds))
        ]
        writer.write(request(edge, "GET", "/health").replace(b"keep-alive", b"close"))
        last = await reader.read(-1)
        assert last.count(b"HTTP/1.1 ") == 1, kinds
        writer.close()


@pytest.mark.parametrize("body", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("then", ["rows", "large", "no HTTP"])
async def test_a_caller_that_leaves_during_an_errand_takes_no_room(
    edge: EdgeCaller, store: ScriptedStore, body: object, then: str
) -> None:
    await ready(edge, store)
    told = TOLD[then]
    assert isinstance(told, bytes)
    gate = Gate(store, told)
    callers = [await edge.connect() for _ in range(6)]
    for at, (_, writer) in enumerate(callers):
        writer.write(query(edge, "errand", body))
        if at % 2:
            writer.write_eof()
    await gate.holds(len(callers))
    for _, writer in callers:
        writer.transport.abort()
    gate.is_open.set()

    async def is_quiet() -> bool:
        found = await samples(edge)
        return not any(
            value
            for name, value in found.items()
            if name.startswith(("layer_tpuf_inflight", "layer_lost_errors"))
            or (name.startswith("layer_upstream_connections") and "busy" in name)
        )

    assert await eventually(is_quiet)
    await ready(edge, store)
    assert (await ask(edge, query(edge, "errand", body))).status == 200


async def test_a_caller_that_does_not_read_is_not_served_without_end(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    await ready(edge, store)
    text = "x" * 900_000
    store.answers[f"POST {QUERY}"] = answer({"rows": [{"id": "a", "$dist": 1, "text": text}]})
    reader, writer = await edge.connect()
    count = 60
    for _ in range(count):
        writer.write(query(edge, "errand", PLAIN))
        await asyncio.sleep(0.001)
    seen = -1

    async def is_settled() -> bool:
        nonlocal seen
        await asyncio.sleep(0.1)
        before, seen = seen, len(store.asked(f"POST {QUERY}"))
        return 0 < seen == before

    assert await eventually(is_settled)
    assert seen < count
    for _ in range(count):
        received = await receive(reader)
        assert (received.status, len(received.json["rows"][0]["text"])) == (200, len(text))
    writer.close()


async def test_a_large_answer_that_waits_to_be_taken_is_not_written_over(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    other_target = "/v2/namespaces/other/query"
    store.answers[f"POST {QUERY}"] = answer({"text": "a" * 900_000})
    store.answers[f"POST {other_target}"] = answer({"text": "b" * 850_000})
    reader, writer = await edge.connect()
    count = 12
    for _ in range(count):
        writer.write(query(edge, "errand", NATIVE))
        await asyncio.sleep(0.001)
    for _ in range(count):
        received = await ask(edge, query(edge, "errand", NATIVE, other_target))
        assert received.json["text"] == "b" * 850_000
    for _ in range(count):
        assert (await receive(reader)).json["text"] == "a" * 900_000
    writer.close()


async def test_errands_end_before_the_process_does(store: ScriptedStore, tmp_path: Path) -> None:
    marker = tmp_path / "draining"
    settings = {"LAYER_GATEWAY_SHUTDOWN_GRACE_S": "300", "LAYER_DRAIN_MARKER_PATH": str(marker)}
    async with gateway_over(store.url, **settings) as process:
        edge = EdgeCaller(process.addresses["http"], key=KEY)
        await ready(edge, store)
        breaks = asyncio.Event()

        async def half_of_it(exchange: Exchange) -> None:
            await exchange.say(LARGE[: len(LARGE) // 2])
            await breaks.wait()

        store.answers[f"POST {QUERY}"] = half_of_it
        reader, writer = await edge.connect()
        writer.write(query(edge, "errand", NATIVE, x_request_id="broken-off"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        gate = Gate(store, compact({"rows": ROWS}))
        held = [
            asyncio.create_task(ask(edge, query(edge, "errand", body))) for body in KINDS.values()
        ]
        await gate.holds(2)
        marker.touch()

        async def is_draining() -> bool:
            return (await edge("GET", "/ready")).status == 503

        assert await eventually(is_draining)
        refused = [await ask(edge, query(edge, way, PLAIN)) for way in WAYS]
        assert essence(refused[0]) == essence(refused[1])
        assert (refused[0].status, refused[0].json["reason"]) == (503, "GATEWAY_DRAINING")
        end = asyncio.create_task(process.terminate())

        async def is_closed() -> bool:
            try:
                await edge("GET", "/health")
            except OSError:
                return True
            return False

        assert await eventually(is_closed)
        gate.is_open.set()
        assert [(await one).status for one in held] == [200, 200]
        breaks.set()  # one answer is never whole, which is no reason to wait for its end
        assert len(await reader.read(-1)) < len(LARGE)
        writer.close()
        assert await end == 0
        (line,) = [one for one in process.stderr.splitlines() if "relay_broken" in one]
        assert "broken-off" in line
