"""Plain queries by errand: asked and answered as the ordinary way asks and answers them."""

from __future__ import annotations

import gc
import json
import random
from dataclasses import dataclass, field
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, cast

import pytest

from layer_gateway.adapters.no_history import NoHistory
from layer_gateway.application.cuts import Cut
from layer_gateway.application.examples import RankByExample
from layer_gateway.application.history import History
from layer_gateway.application.plain_queries import PlainQueries, PlainQuery
from layer_gateway.application.querying import QueryRows
from layer_gateway.application.watermarks import Watermarks
from layer_gateway.domain.visits import Visit
from layer_gateway.http.answers import PageAnswer, WholeAnswer, error_answer
from layer_gateway.http.edge_request import EdgeRequest
from layer_gateway.http.exchanges import PlainExchange, QueryCalls
from layer_gateway.http.queries import query_response
from layer_gateway.ports.stores import Caller, Receiver
from layer_gateway_testing.legs_store import (
    BEHIND,
    MARKER,
    STABLE,
    STAMPED,
    TOOLS,
    Answer,
    World,
    rows,
)
from layer_kit.errors import LayerError
from layer_wire.prepared import Prepared, QueryForm, QueryReader, prepare
from layer_wire.queries import decode_query, layer_query

VISIT = Visit("00-" + "a" * 32 + "-" + "b" * 16 + "-01", "a" * 32, False, "", ())  # noqa: FBT003
LONG = [round(random.Random(1).uniform(-1, 1), 6) for _ in range(200)]  # noqa: S311 -- any numbers

QUERIES: dict[str, dict[str, Any]] = {
    "a short vector": {"vector": [0.1, 0.2], "top_k": 2},
    "a long vector": {"vector": LONG, "top_k": 2},
    "as many rows as are usual": {"vector": LONG},
    "a filter": {"vector": LONG, "top_k": 2, "filters": ["kind", "Eq", "saw"]},
    "a filter of many numbers": {"vector": [1, 2], "top_k": 2, "filters": ["n", "In", LONG]},
    "two long lists": {"filters": ["n", "In", LONG], "vector": LONG, "top_k": 2},
    "a ranking by a long vector": {"rank_by": ["vector", "ANN", LONG], "top_k": 2},
    "a ranking by text": {"rank_by": ["text", "BM25", "quick fox"], "top_k": 2},
    "an order": {"rank_by": ["price", "asc"], "top_k": 3},
    "as of a moment": {"vector": LONG, "top_k": 2, "as_of": 400},
    "a span": {"vector": LONG, "top_k": 2, "between": [1, 400], "filters": ["a", "Eq", 1]},
    "attributes": {"vector": LONG, "top_k": 2, "include_attributes": ["title", "vector"]},
    "all attributes": {"vector": LONG, "top_k": 2, "include_attributes": True},
    "strong": {"vector": LONG, "top_k": 2, "consistency": {"level": "strong"}},
}
SAW, AXE = {"id": "saw", "$dist": 0.25, "title": "a ä"}, {"id": 7, "$dist": 0.5}
ANSWERS: dict[str, Answer] = {
    "none": rows(),
    "one": rows(SAW),
    "two": rows(SAW, AXE),
    "three": rows(SAW, AXE, {"id": "c", "$dist": 1}),
    "vectors": rows({**SAW, "vector": [1, 2]}, {**AXE, "vector": [3, 4]}),
    "long": rows({**SAW, "title": "x" * 40_000}, AXE),
    "no vectors": rows({**SAW, "vector": None}, {**AXE, "vector": None}),
    "no distance": rows({"id": "a"}, {"id": "b"}),
    "a marker": rows(MARKER, SAW),
    "a spelt-out vector": Answer(body=rb'{"rows":[{"id":"a","\u0076ector":[1],"$dist":2}]}'),
    "spaces": Answer(body=b'{ "rows" : [ { "id" : "a" , "$dist" : 1e0 } ] , "performance" : {} }'),
    "other things": Answer(body=b'{"performance":{"rows":[1]},"rows":[{"id":"a","$dist":3}]}'),
    "no rows": Answer(body=b"{}"),
    "no id": rows({"$dist": 1}),
    "no list": Answer(body=b'{"rows":{}}'),
    "no JSON": Answer(body=b"{"),
    "refused": Answer(400, b'{"error":"no"}', ((b"content-type", b"application/json"),)),
    "refused for layer": Answer(400, b'{"error":"_hevlayer_upserted_at"}'),
    "gone": Answer(404, b'{"error":"gone"}'),
    "busy": Answer(429, b'{"error":"busy"}', ((b"retry-after", b"1"),)),
    "broken": Answer(500, b"oh"),
}
BODY_BYTES_MAX = 40_000
CUTS = {"unknown": Cut(), "stable": STABLE, "behind": BEHIND}


@dataclass
class FixedCut:
    """Watermarks that say what a test wants."""

    at: Cut
    seen_count: int = 0

    def cut(self, _: str) -> Cut:
        return self.at

    def seen(self, *_: object) -> None:
        self.seen_count += 1


@dataclass
class Told:
    """What became of a query: what the store was asked, and what the caller was sent."""

    asked: list[dict[str, Any]]
    head: str = ""
    body: object = None
    seen_count: int = 0


@dataclass
class Transport:
    sent: bytes = b""

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        self.sent += data

    def writelines(self, parts: list[bytes]) -> None:
        self.sent += b"".join(parts)


@dataclass
class Way:
    """One of both ways through the gateway."""

    answer: Answer
    cut: Cut
    world: World = field(init=False)

    def __post_init__(self) -> None:
        self.world = World(script=lambda _: self.answer, schema_types=dict(STAMPED))
        self.watermarks = FixedCut(self.cut)
        watermarks = cast("Watermarks", self.watermarks)
        run_legs = self.world.run_legs
        object.__setattr__(run_legs, "watermarks", watermarks)
        by_example = RankByExample(fetch=cast("Any", None))
        query_rows = QueryRows(run_legs=run_legs, watermarks=watermarks, rank_by_example=by_example)
        self.query_rows = query_rows
        self.plain = PlainQueries(
            plans=self.world.plans, watermarks=watermarks, query_rows=query_rows
        )

    def told(self, response: PageAnswer | WholeAnswer) -> Told:
        transport = Transport()
        if isinstance(response, WholeAnswer):
            response.request_id = "one"
        head = SimpleNamespace(method="POST", is_usual=True)
        protocol = SimpleNamespace(transport=transport)
        response.send(cast("EdgeRequest", SimpleNamespace(protocol=protocol, head=head)))
        lines, _, body = transport.sent.decode().partition("\r\n\r\n")
        kept = [line for line in lines.split("\r\n") if not line.startswith(("date:", "content-l"))]
        parsed = json.loads(body) if response.status != HTTPStatus.INTERNAL_SERVER_ERROR else body
        return Told(self.world.asked, "\n".join(sorted(kept)), parsed, self.watermarks.seen_count)

    async def ordinary(self, body: bytes) -> Told:
        try:
            query = layer_query(decode_query(body))
            answer = await self.query_rows(TOOLS, query, Caller())
        except LayerError as error:
            return self.told(error_answer(error))
        return self.told(query_response(VISIT, query, answer))

    async def by_errand(self, body: bytes, reader: QueryReader) -> Told:
        exchange, call = await self.exchange(body, reader)
        exchange.begin(cast("Any", None))
        exchange.prepare("one")
        try:
            answer = await self.world.query(TOOLS, call.body, Caller())
            response = exchange.conclude(answer) or await exchange.go_on(answer)
        except LayerError as error:
            return self.told(error_answer(error))
        exchange.settle()
        return self.told(cast("PageAnswer | WholeAnswer", response))

    async def exchange(
        self, body: bytes, reader: QueryReader
    ) -> tuple[PlainExchange, RecordingCall]:
        """Return how an errand serves a query, and the request to the store that it makes."""
        await self.world.plans(TOOLS, self.cut, Caller())  # so that the facts are known
        query = reader.read(body)
        assert query is not None
        assert query.prepared.form is QueryForm.PLAIN
        plain = self.plain.plain(TOOLS, query.prepared, Caller())
        assert plain is not None
        call = RecordingCall()
        nothing = cast("Any", None)
        calls = QueryCalls(nothing, TOOLS, nothing, call, reader, BODY_BYTES_MAX)
        history = History(recorder=NoHistory(), now_ns=lambda: 0)
        return PlainExchange(history, calls, plain, VISIT, query.numbers, VISIT), call


class RecordingCall:
    body = b""

    def begin(self, body: Any, receiver: Receiver) -> None:
        assert all(body)
        self.body = b"".join(body)


def sent(plain: PlainQuery, numbers: memoryview | None) -> bytes:
    """Return what the store is asked."""
    return b"".join(piece for piece in (plain.before, numbers, plain.after) if piece is not None)


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS.keys())
@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
async def test_both_ways_ask_and_answer_alike(query: dict[str, Any], cut: Cut) -> None:
    body = json.dumps(query).encode()
    for name, answer in ANSWERS.items():
        ordinary, reader = await Way(answer, cut).ordinary(body), QueryReader()
        for _ in range(2):  # the second time it is read already
            assert await Way(answer, cut).by_errand(body, reader) == ordinary, name


async def test_the_second_vector_takes_the_place_of_the_first() -> None:
    first, second, reader = LONG, [-number for number in LONG], QueryReader()
    for numbers in (first, second, first):
        way = Way(rows(SAW), STABLE)
        await way.by_errand(json.dumps({"vector": numbers, "top_k": 2}).encode(), reader)
        assert way.world.asked[0]["rank_by"] == ["vector", "ANN", numbers]


async def test_an_exchange_takes_what_differs_in_its_numbers_alone_while_nothing_has_changed() -> (
    None
):
    way = Way(rows(SAW), STABLE)
    usual = json.dumps({"vector": LONG, "top_k": 2}).encode()
    other = json.dumps({"vector": [-number for number in LONG], "top_k": 2}).encode()
    exchange, call = await way.exchange(usual, QueryReader())
    for body in (usual, other):
        assert exchange.takes(b"head" + body, len(b"head"))
        exchange.begin(cast("Any", None))
        assert json.loads(call.body)["rank_by"][2] == json.loads(body)["vector"]
        assert exchange.is_right
        exchange.settle()
        assert exchange._numbers is None  # which would keep the whole body
    for body in (
        usual.replace(b'"top_k": 2', b'"top_k": 3'),
        usual + b" ",
        json.dumps({"vector": LONG * 30, "top_k": 2}).encode(),
        b'{"vector": , "top_k": 2}',
    ):
        assert not exchange.takes(body, 0)
    for change in (b", [", b', "a", ', b"], ", b', "a": ['):
        assert exchange.takes(usual.replace(b", ", change, 1), 0)
        assert not exchange.is_right
    way.watermarks.at = BEHIND
    assert not exchange.takes(usual, 0)
    way.watermarks.at = STABLE
    assert exchange.takes(usual, 0)
    way.world.plans.facts.forget(TOOLS)
    assert not exchange.takes(usual, 0)


async def test_vectors_that_were_asked_for_are_dropped_from_whatever_row_has_one() -> None:
    body = json.dumps({"vector": LONG, "top_k": 2, "include_attributes": True}).encode()
    for mixed in (rows({**SAW, "vector": [1, 2]}, AXE), rows(SAW, {**AXE, "vector": [1, 2]})):
        told = await Way(mixed, STABLE).by_errand(body, QueryReader())
        assert cast("dict[str, object]", told.body)["rows"] == [SAW, AXE]


@pytest.mark.parametrize(
    "query",
    [
        {"nearest_to_id": ["a"]},
        {"vector": LONG, "cursor": "eyJkaXN0IjowLjUsImlkIjoiYSIsIm4iOjJ9"},
        {"rank_by": ["text", "HybridText", "fox"], "top_k": 2},
        {"rank_by": ["text", "Auto", "fox"], "top_k": 2},
        {"queries": [{"vector": [1]}, {"vector": [2]}]},
        {"vector": LONG, "top_k": 0},
        {"vector": LONG, "rank_by": ["a", "asc"], "top_k": 1},
        {"vector": LONG, "between": [2, 1]},
        {"top_k": 3},
        {str(LONG): 1},
        {"vector": [1], "include_attributes": [str(LONG)]},
        [],
    ],
)
def test_other_queries_are_not_prepared(query: object) -> None:
    for _ in range(2):
        assert prepare(json.dumps(query).encode()) is None


async def test_long_queries_that_are_not_remembered_are_not_kept() -> None:
    way = Way(rows(SAW), STABLE)
    await way.world.plans(TOOLS, STABLE, Caller())
    for number in range(20):
        words = [f"{number}-{at}" for at in range(1000)]
        query = prepare(json.dumps({"vector": LONG, "filters": ["word", "In", words]}).encode())
        assert query is not None
        plain = way.plain.plain(TOOLS, query.prepared, Caller())
        assert plain is not None
        body = sent(plain, query.numbers)
        assert json.loads(body)["filters"] == ["word", "In", words]
    del query, plain
    prepared = [one for one in gc.get_objects() if isinstance(one, Prepared)]
    assert [one for one in prepared if not one.is_remembered] == []


@pytest.mark.parametrize(
    "schema", [{"id": "string"}, {"id": "string", "_hevlayer_upserted_at": "int"}]
)
async def test_an_index_that_is_behind_is_cut_where_rows_have_stamps(
    schema: dict[str, str],
) -> None:
    way = Way(rows(SAW), BEHIND)
    way.world.schema_types = schema
    await way.world.plans(TOOLS, STABLE, Caller())
    query = prepare(json.dumps({"vector": LONG}).encode())
    assert query is not None
    plain = way.plain.plain(TOOLS, query.prepared, Caller())
    if len(schema) == 1:
        assert plain is None  # another gateway may have written the first stamps
    else:
        assert plain is not None
        assert b"_hevlayer_upserted_at" in sent(plain, query.numbers)


async def test_shards_and_namespaces_that_nobody_knows_are_left_to_the_ordinary_way() -> None:
    query = prepare(json.dumps({"vector": LONG}).encode())
    assert query is not None
    unknown = Way(rows(SAW), STABLE)
    assert unknown.plain.plain(TOOLS, query.prepared, Caller()) is None
    sharded = Way(rows(SAW), STABLE)
    sharded.world.marker = MARKER
    await sharded.world.plans(TOOLS, STABLE, Caller())
    assert sharded.plain.plain(TOOLS, query.prepared, Caller()) is None


async def test_how_a_query_is_asked_is_current_until_something_changes_that_it_follows_from() -> (
    None
):
    way = Way(rows(SAW), STABLE)
    plans = way.world.plans
    await plans(TOOLS, STABLE, Caller())
    query = prepare(json.dumps({"vector": LONG}).encode())
    assert query is not None
    plain = way.plain.plain(TOOLS, query.prepared, Caller())
    assert plain is not None
    assert plain.is_current
    way.watermarks.at = BEHIND
    assert not plain.is_current
    way.watermarks.at = STABLE
    assert plain.is_current
    plans.facts.forget(TOOLS)
    assert not plain.is_current
    await plans(TOOLS, STABLE, Caller())
    assert not plain.is_current


def test_the_fields_of_a_prepared_query_are_those_of_its_body() -> None:
    for query in (*QUERIES.values(), {"rank_by": ["v", "ANN", LONG], "limit": 3}):
        body = json.dumps(query).encode()
        for _ in range(2):
            prepared = prepare(body)
            assert prepared is not None
            assert prepared.fields == decode_query(body)
            assert prepared.prepared.shape == ("filters" in query, "rank_by" in query)
