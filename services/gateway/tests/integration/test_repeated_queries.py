"""Queries that follow others like them on one connection, which one errand serves in turn."""

from __future__ import annotations

import asyncio
import json
import random
import re
from typing import Any, Final

import pytest

from layer_gateway.http.gathering import GATHERING_S_MAX
from layer_gateway_testing.errand_calls import (
    KINDS,
    LONG,
    NATIVE,
    PLAIN,
    QUERY,
    ROWS,
    Gate,
    ask,
    compact,
    counted,
    essence,
    query,
    ready,
    receive,
    request,
    samples,
)
from layer_testing.edge_calls import EdgeAnswer, EdgeCaller, eventually
from layer_testing.gateway_calls import KEY, gateway_over
from layer_testing.scripted_store import ScriptedStore, answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

TURNS_COUNT: Final = 120
PIECES: Final = ("whole", "cut", "two at once")


def of(kind: str, numbers: list[float]) -> dict[str, Any]:
    """Return a query of a kind with other numbers."""
    if kind == "plain":
        return {**PLAIN, "vector": numbers}
    return {**NATIVE, "rank_by": ["vector", "ANN", numbers]}


def some(chance: random.Random) -> list[float]:
    return [round(chance.uniform(-9, 9), chance.randrange(1, 9)) for _ in LONG]


def odd(chance: random.Random, usual: str) -> str:
    """Return a body that is the usual one but for something that matters."""
    at = chance.randrange(len(usual) // 2, len(usual) - 60)
    change = chance.choice(("]", "[", '"', "{}", "null", ",", "1e", '"a"', "], [", "x"))
    return usual[:at] + change + usual[at:]


def damaged(edge: EdgeCaller) -> bytes:
    """Return a query like the plain one whose list of numbers is none."""
    usual = query(edge, "errand", PLAIN)
    body = usual[usual.index(b"{") :]
    changed = body.replace(b"0.25,", b"0], [25,")
    assert len(changed) > len(body)
    lengths = [b"content-length: %d\r\n" % len(one) for one in (body, changed)]
    assert lengths[0] in usual.lower()
    head = re.sub(lengths[0], lengths[1], usual[: -len(body)], flags=re.IGNORECASE)
    return head + changed


async def is_quiet(edge: EdgeCaller) -> bool:
    """Tell whether the store has answered all that it was asked."""
    return (await samples(edge))["layer_tpuf_inflight []"] == 0


async def repeating(edge: EdgeCaller) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a connection on which another plain query is like the one before."""
    reader, writer = await edge.connect()
    for _ in range(2):
        writer.write(query(edge, "errand", PLAIN))
        assert (await receive(reader)).json["rows"] == list(ROWS)
    return reader, writer


async def told(reader: asyncio.StreamReader) -> tuple[int, list[tuple[str, str]], bytes]:
    return essence(await receive(reader))


@pytest.mark.parametrize("kind", KINDS)
async def test_each_is_asked_and_answered_as_it_would_be_alone(
    edge: EdgeCaller, store: ScriptedStore, kind: str
) -> None:
    await ready(edge, store)
    store.answers[f"POST {QUERY}"] = compact({"rows": ROWS})
    chance = random.Random(kind)  # noqa: S311 -- the same each time
    reader, writer = await edge.connect()
    for turn in range(TURNS_COUNT):
        usual = json.dumps(of(kind, some(chance)))
        is_odd = turn % 7 == 5
        body = odd(chance, usual) if is_odd else usual
        found = []
        for way in ("errand", "ordinary"):
            fields = {"content_type": "application/json"}
            if way == "errand":
                writer.write(request(edge, "POST", QUERY, body.encode(), **fields))
                answered = await told(reader)
                await eventually(lambda: is_quiet(edge))
            else:
                fields["transfer_encoding"] = "chunked"
                chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body.encode())
                other, alone = await edge.connect()
                alone.write(request(edge, "POST", QUERY, **fields) + chunks)
                answered = await told(other)
                alone.close()
            found.append((answered, [one.body for one in store.asked(f"POST {QUERY}")]))
            store.requests.clear()
        assert found[0][0] == found[1][0], body
        # The store may have been at work on what seemed to be another query like the last.
        assert found[0][1][1 if is_odd and found[0][1] != found[1][1] else 0 :] == found[1][1]
    writer.close()


@pytest.mark.parametrize("pieces", PIECES)
async def test_they_may_come_in_pieces_and_together(
    edge: EdgeCaller, store: ScriptedStore, pieces: str
) -> None:
    await ready(edge, store)
    before = await samples(edge)
    reader, writer = await edge.connect()
    chance = random.Random(pieces)  # noqa: S311 -- the same each time
    asked = [some(chance) for _ in range(12)]
    for turn, numbers in enumerate(asked):
        sent = query(edge, "errand", of("plain", numbers))
        if pieces == "cut" and turn % 3 == 1:
            writer.write(sent[:300])
            await asyncio.sleep(0)
            writer.write(sent[300:])
        else:
            writer.write(sent)
        if pieces != "two at once" or turn % 2:
            for _ in range(2 if pieces == "two at once" else 1):
                assert (await receive(reader)).json["rows"] == list(ROWS)
    writer.close()
    queries = [one.json["rank_by"][2] for one in store.asked(f"POST {QUERY}")]
    assert [numbers for numbers in queries if numbers in asked] == asked
    assert set((await counted(edge, before)).values()) == {len(asked)}


async def test_limits_and_bounds_hold_for_each(store: ScriptedStore) -> None:
    settings = {
        "LAYER_GATEWAY_KEY_REQUESTS_PER_SECOND": "0.001",
        "LAYER_GATEWAY_KEY_BURST_COUNT": "7",
        "LAYER_GATEWAY_QUERY_BODY_BYTES_MAX": "20000",
    }
    async with gateway_over(store.url, **settings) as process:
        edge = EdgeCaller(process.addresses["http"], key=KEY)
        await ready(edge, store)  # of the seven, that takes one
        reader, writer = await edge.connect()

        async def ask(numbers: list[float]) -> EdgeAnswer:
            writer.write(query(edge, "errand", of("plain", numbers)))
            return await receive(reader)

        statuses = [(await ask(some(random.Random(turn)))).status for turn in range(3)]  # noqa: S311
        writer.write(damaged(edge))
        statuses.append((await receive(reader)).status)
        statuses.append((await ask([0.125] * 4000)).status)
        statuses += [(await ask(LONG)).status for _ in range(3)]
        assert statuses == [200, 200, 200, 400, 413, 200, 429, 429]
        writer.close()


async def test_one_that_is_not_what_it_seemed_is_answered_and_counted_once(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    await ready(edge, store)
    reader, writer = await repeating(edge)
    usual = query(edge, "errand", PLAIN)
    before = await samples(edge)
    store.requests.clear()
    writer.write(damaged(edge))
    refused = await receive(reader)
    assert (refused.status, refused.json["reason"]) == (400, "JSON_MALFORMED")
    assert set((await counted(edge, before)).values()) == {1.0}
    writer.write(usual)
    assert (await receive(reader)).json["rows"] == list(ROWS)
    await eventually(lambda: is_quiet(edge))
    assert len(store.asked(f"POST {QUERY}")) == 2  # once in vain
    writer.close()


async def test_what_the_store_is_asked_in_vain_counts_as_in_flight(store: ScriptedStore) -> None:
    async with gateway_over(store.url, LAYER_GATEWAY_KEY_INFLIGHT_MAX="1") as process:
        edge = EdgeCaller(process.addresses["http"], key=KEY)
        await ready(edge, store)
        reader, writer = await repeating(edge)
        gate = Gate(store, compact({"rows": ROWS}))
        writer.write(damaged(edge))
        await gate.holds(1)
        refused = await ask(edge, query(edge, "errand", PLAIN))
        assert (refused.status, refused.json["reason"]) == (429, "KEY_INFLIGHT")
        gate.is_open.set()
        assert (await receive(reader)).status == 400
        writer.write(query(edge, "errand", PLAIN))
        assert (await receive(reader)).status == 200
        writer.close()


async def test_a_short_vector_after_a_long_one_is_asked_once(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    await ready(edge, store)
    reader, writer = await edge.connect()
    for body in (PLAIN, PLAIN, {**PLAIN, "vector": [0.5, 1.5]}):
        store.requests.clear()
        writer.write(query(edge, "errand", body))
        assert (await receive(reader)).status == 200
        await eventually(lambda: is_quiet(edge))
        assert len(store.asked(f"POST {QUERY}")) == 1
    writer.close()


async def test_what_another_request_in_between_changes_holds_for_the_next(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    await ready(edge, store)
    reader, writer = await edge.connect()
    plain = query(edge, "errand", PLAIN)
    for between in (
        request(edge, "GET", "/health"),
        query(edge, "ordinary", PLAIN),
        query(edge, "errand", {**PLAIN, "top_k": 1}),
        request(edge, "POST", QUERY, b"{", content_type="application/json"),
        query(edge, "errand", PLAIN, x_request_id="another-head"),
    ):
        for sent in (plain, plain, between):
            writer.write(sent)
            last = await receive(reader)
            if sent is plain:
                assert last.json["rows"] == list(ROWS)
    assert dict(last.headers)["x-request-id"] == "another-head"
    usual = store.answers[f"POST {QUERY}"]
    store.answers[f"POST {QUERY}"] = answer({"error": "no"}, status=400)
    writer.write(plain)
    assert (await receive(reader)).status == 400
    store.answers[f"POST {QUERY}"] = usual
    writer.write(plain)
    assert (await receive(reader)).json["rows"] == list(ROWS)
    writer.close()


async def test_what_is_a_part_of_another_request_is_not_served(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    await ready(edge, store)
    reader, writer = await repeating(edge)
    usual = query(edge, "errand", PLAIN)
    store.requests.clear()
    gate = Gate(store, compact({"rows": ROWS}))
    writer.write(usual)
    await gate.holds(1)
    writer.write(b"GET /health HTTP/1.1\r\nx-note: ")
    await edge("GET", "/health")
    gate.is_open.set()
    assert (await receive(reader)).json["rows"] == list(ROWS)
    writer.write(usual)
    assert (await receive(reader)).json["status"] == "ok"
    assert len(store.asked(f"POST {QUERY}")) == 1
    writer.close()


async def test_the_rest_of_a_body_is_not_taken_for_another_request(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    await ready(edge, store)
    reader, writer = await repeating(edge)
    usual = query(edge, "errand", PLAIN)
    store.requests.clear()
    text = b'{"vector": ' + usual
    whole = request(edge, "POST", QUERY, text, content_type="application/json")
    writer.write(whole[: -len(usual)])
    await asyncio.sleep(2 * GATHERING_S_MAX)  # longer than parts of it are kept
    writer.write(usual)
    refused = await receive(reader)
    assert (refused.status, refused.json["reason"]) == (400, "JSON_MALFORMED")
    assert not store.asked(f"POST {QUERY}")
    writer.write(usual)
    assert (await receive(reader)).status == 200
    writer.close()


async def test_a_caller_that_closes_after_the_last_one_is_answered(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    await ready(edge, store)
    reader, writer = await repeating(edge)
    sent = query(edge, "errand", PLAIN).replace(b"connection: keep-alive", b"connection: close")
    writer.write(sent)
    assert (await receive(reader)).status == 200
    assert await reader.read() == b""
    writer.close()
