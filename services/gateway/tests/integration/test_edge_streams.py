"""Streams of requests: each is answered as it would be on a connection of its own.

However their bytes are cut, and whichever came before. ``LAYER_TEST_SEED`` repeats what was made
up, and ``LAYER_TEST_CHECKER_OPERATIONS`` is how many requests are sent at least.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from random import Random
from typing import Final

import pytest
import pytest_asyncio

from layer_gateway_testing.errand_calls import (
    PLAIN,
    ROWS,
    Gate,
    ask,
    compact,
    essence,
    query,
    ready,
    receive,
    samples,
)
from layer_gateway_testing.moody_store import KEPT, KEPT_IDS, NAMES, make_moody
from layer_gateway_testing.stream_cuts import NO_HTTP, Pause, Piece, cut
from layer_gateway_testing.streams import QUERY_BYTES_MAX, Sent, Streams
from layer_testing.edge_calls import EdgeAnswer, EdgeCaller, eventually
from layer_testing.gateway_calls import KEY, gateway_over
from layer_testing.processes import running
from layer_testing.scripted_store import ScriptedStore, scripted_store

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEED: Final = int(os.environ.get("LAYER_TEST_SEED") or secrets.randbelow(2**32))
REQUESTS_COUNT: Final = int(os.environ.get("LAYER_TEST_CHECKER_OPERATIONS") or 320)
STREAM_COUNT_MAX: Final = 60
INFLIGHT_MAX: Final = 2
MOMENT_S: Final = 0.001
WHILE_S: Final = 0.07
WAIT_S_MAX: Final = 30.0

REQUESTS: Final = "layer_http_request_seconds_count"
COUNTED: Final = (REQUESTS, "layer_query", "layer_fetch", "layer_upsert", "hevlayer_")
LOST: Final = "layer_lost_errors"
MINTED: Final = ("x-request-id", "traceparent")
CUT_SHARE: Final = 0.5


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def moody() -> AsyncIterator[ScriptedStore]:
    async with scripted_store() as store:
        make_moody(store)
        yield store


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edge(
    moody: ScriptedStore, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[EdgeCaller]:
    """A gateway that lets each key have two requests in flight, and a cache with some rows."""
    directory: Path = tmp_path_factory.mktemp("streams")
    async with (
        running(
            "layer_cache",
            LAYER_CACHE_GRPC_ADDRESS="127.0.0.1:0",
            LAYER_CACHE_DATA_DIRECTORY=str(directory),
        ) as cache,
        gateway_over(
            moody.url,
            LAYER_GATEWAY_CACHE_ADDRESS=cache.addresses["grpc"],
            LAYER_GATEWAY_KEY_INFLIGHT_MAX=str(INFLIGHT_MAX),
            LAYER_GATEWAY_QUERY_BODY_BYTES_MAX=str(QUERY_BYTES_MAX),
        ) as process,
    ):
        caller = EdgeCaller(process.addresses["http"], key=KEY)
        rows = [{"id": id_, "title": id_ * 9} for id_ in KEPT_IDS]
        written = await caller("POST", f"/v2/namespaces/{KEPT}", {"upsert_rows": rows})
        assert written.status == 200, written.body
        for name in NAMES:
            asked = await caller(
                "POST", f"/v2/namespaces/{name}/query", {"vector": [0], "top_k": 1}
            )
            assert asked.status == 200, asked.body
        yield caller


class Conversation:
    """One connection: requests that are sent in pieces, and their answers as they come."""

    def __init__(
        self, sent: Sequence[Sent], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._sent = sent
        self._reader = reader
        self._writer = writer
        self._answers: list[EdgeAnswer] = []
        self._has_come = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def hold(self, pieces: Sequence[Piece]) -> list[EdgeAnswer]:
        """Send all pieces; return the answers, behind which nothing may follow.

        Raises:
            AssertionError: When there are fewer answers.
        """
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                for piece in pieces:
                    if not self._reading.done():
                        self._writer.write(piece.text)
                        await self._pause(piece)
                await self._reading
                self._writer.write_eof()
                assert await self._reader.read() == b""
        except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            at = len(self._answers)
            kinds = [one.kind for one in self._sent[: at + 1]]
            raise AssertionError(f"{error!r} instead of the last answer to {kinds}") from error
        else:
            return self._answers
        finally:
            self._reading.cancel()
            self._writer.close()

    async def _pause(self, piece: Piece) -> None:
        match piece.pause:
            case Pause.NOTHING:
                pass
            case Pause.A_TURN:
                await asyncio.sleep(0)
            case Pause.A_MOMENT:
                await asyncio.sleep(MOMENT_S)
            case Pause.A_WHILE:
                await asyncio.sleep(WHILE_S)
            case Pause.ANSWERS:
                while len(self._answers) < piece.whole_count and not self._reading.done():
                    self._has_come.clear()
                    await self._has_come.wait()

    async def _read(self) -> None:
        try:
            for one in self._sent:
                self._answers.append(await receive(self._reader, one.method))
                self._has_come.set()
        finally:
            self._has_come.set()


async def counted(
    edge: EdgeCaller, sent: Sequence[Sent], before: dict[str, float]
) -> dict[str, float]:
    """Return what was counted of requests since then, once all are, and the store has none."""
    count = sum(one.kind not in NO_HTTP | {"public"} for one in sent)

    def grown(found: dict[str, float]) -> dict[str, float]:
        return {
            name: value - before.get(name, 0.0)
            for name, value in found.items()
            if name.startswith(COUNTED)
            and "'public'" not in name  # as is what asks for these
            and value != before.get(name, 0.0)
        }

    def requests_count(found: dict[str, float]) -> float:
        return sum(value for name, value in found.items() if name.startswith(REQUESTS))

    async def all_of_it() -> tuple[dict[str, float]] | None:
        found = await samples(edge)
        is_over = requests_count(grown(found)) >= count and not found["layer_tpuf_inflight []"]
        return (grown(found),) if is_over else None

    (found,) = await eventually(all_of_it)
    assert requests_count(found) == count
    return found


Told = tuple[list[EdgeAnswer], dict[str, float]]


async def as_one(
    edge: EdgeCaller, store: ScriptedStore, sent: Sequence[Sent], pieces: Sequence[Piece]
) -> Told:
    """Send requests as one stream; return the answers, and what was counted."""
    store.requests.clear()
    before = await samples(edge)
    answers = await Conversation(sent, *await edge.connect()).hold(pieces)
    minted = [
        value
        for one, answer in zip(sent, answers, strict=True)
        for name, value in answer.headers
        if name in MINTED and one.kind != "traced"
    ]
    assert len(set(minted)) == len(minted), "an id was told twice"
    return answers, await counted(edge, sent, before)


async def each_alone(
    edge: EdgeCaller, store: ScriptedStore, sent: Sequence[Sent], chance: Random
) -> Told:
    """Do the same with requests that have a connection each, cut in their bodies or not at all."""
    store.requests.clear()
    before = await samples(edge)
    answers = []
    for one in sent:
        at = one.head_bytes + 1
        pieces = [Piece(one.text, 1, Pause.NOTHING)]
        if one.kind not in NO_HTTP and at < len(one.text) and chance.random() < CUT_SHARE:
            pieces = [
                Piece(one.text[:at], 0, Pause.A_MOMENT),
                Piece(one.text[at:], 1, Pause.NOTHING),
            ]
        answers += await Conversation([one], *await edge.connect()).hold(pieces)
    return answers, await counted(edge, sent, before)


def written_to(store: ScriptedStore) -> list[str]:
    """Return what the store was asked to write, in the order in which it was."""
    asked = store.asked(f"POST /v2/namespaces/{NAMES[1]}")
    return [one.json["upsert_rows"][0]["id"] for one in asked]


async def compare(
    edge: EdgeCaller, store: ScriptedStore, chance: Random, sent: Sequence[Sent]
) -> None:
    """Send requests as one stream, and each alone."""
    to_write = [one.written for one in sent if one.written]
    streamed, streamed_counts = await as_one(edge, store, sent, cut(chance, sent))
    assert written_to(store) == to_write
    single, single_counts = await each_alone(edge, store, sent, chance)
    assert written_to(store) == to_write
    for at, one in enumerate(sent):
        before = [each.kind for each in sent[max(0, at - 5) : at]]
        assert essence(streamed[at]) == essence(single[at]), f"{one} after {before}"
        if one.request_id is not None:
            assert streamed[at]["x-request-id"] == one.request_id
    assert streamed_counts == single_counts


async def see_that_nothing_is_left(edge: EdgeCaller, store: ScriptedStore) -> None:
    """See that a key may have as many requests in flight as ever, and that no error was lost."""
    await ready(edge, store)
    gate = Gate(store, compact({"rows": ROWS}))
    held = [
        asyncio.create_task(ask(edge, query(edge, "errand", PLAIN))) for _ in range(INFLIGHT_MAX)
    ]
    await gate.holds(INFLIGHT_MAX)
    gate.is_open.set()
    assert [(await one).status for one in held] == [200] * INFLIGHT_MAX
    lost = {name: value for name, value in (await samples(edge)).items() if name.startswith(LOST)}
    assert not any(lost.values()), lost


@pytest.mark.parametrize("way", ["any", "idempotent"])
async def test_each_request_of_a_stream_is_answered_as_it_is_alone(
    edge: EdgeCaller, moody: ScriptedStore, way: str
) -> None:
    print(f"LAYER_TEST_SEED={SEED}")  # noqa: T201 -- shown when it fails
    chance = Random(f"{SEED} {way}")  # noqa: S311 -- to be repeatable
    streams = Streams(chance, KEY, is_idempotent=way == "idempotent")
    sent_count = 0
    while sent_count < REQUESTS_COUNT // 2:
        sent = streams.stream(chance.choice((3, 10, 30, STREAM_COUNT_MAX)))
        sent_count += len(sent)
        await compare(edge, moody, chance, sent)
    await see_that_nothing_is_left(edge, moody)
