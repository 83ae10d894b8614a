"""Searches of a text, and a store that answers their legs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

from hevlayer.models import QueryResponse

from layer_testing.edge_calls import EdgeAnswer, EdgeCaller
from layer_testing.scripted_store import Exchange, ScriptedStore, answer

QUERY = "POST /v2/namespaces/tools/query"
HAMMAR = ["text", "HybridText", "Hand hammar, a hand"]
RULES = [
    {"min_query_chars": 3, "distance": 0},
    {"min_query_chars": 6, "distance": 1},
    {"min_query_chars": 9, "distance": 2},
]
SCORES = {"t-2": 1.4, "t-1": 1.1, "t-5": 0.9}


def like(token: str, rules: Sequence[object] = RULES) -> list[object]:
    return ["text", "Fuzzy", token, {"max_edit_distance": rules}]


def scored(*ids: str, **attributes: object) -> list[dict[str, object]]:
    return [{"id": id_, "$dist": SCORES.get(id_, 1.0), **attributes} for id_ in ids]


class Legs:
    """Answers each leg by the token of its filter; that of the whole text is ``bm25``."""

    def __init__(self, store: ScriptedStore, told: Callable[[Any], bytes]) -> None:
        self.asked: list[Any] = []
        self.in_flight_max = 0
        self._in_flight = 0
        self._told = told
        self.gate: asyncio.Barrier | None = None
        store.namespace("tools", text="string")
        store.answers[QUERY] = self._answer

    async def _answer(self, exchange: Exchange) -> None:
        body = exchange.request.json
        if (
            body["filters"] == ["id", "Eq", "_hevlayer:namespace_meta"]
            if "filters" in body
            else False
        ):
            await exchange.say(answer({"rows": []}, connection="close"))
            return
        self.asked.append(body)
        self._in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self._in_flight)
        if self.gate is not None:
            await self.gate.wait()
        told = self._told(body)
        self._in_flight -= 1
        await exchange.say(told)


def label_of(body: Any) -> str:
    text = str(body.get("filters", ""))
    if "Fuzzy" in text:
        return text.partition("'Fuzzy', '")[2].partition("'")[0]
    return "semantic" if body["rank_by"][1] == "ANN" else "bm25"


def rows(found: Sequence[dict[str, object]] = ()) -> bytes:
    return answer({"rows": list(found)}, connection="close")


def worked_example(body: Any) -> bytes:
    return rows(scored("t-1") if label_of(body) == "hammar" else scored("t-2", "t-1", "t-5"))


async def query(edge: EdgeCaller, rank_by: object, **fields: object) -> EdgeAnswer:
    body = {"rank_by": rank_by, **fields}
    received = await edge("POST", "/v2/namespaces/tools/query", body)
    if received.status == HTTPStatus.OK:
        QueryResponse.model_validate(received.json)
    return received
