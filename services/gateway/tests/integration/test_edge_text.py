"""Bodies with bytes that are no text: wherever they stand, they are the caller's fault."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from layer_testing.edge_calls import EdgeCaller
from layer_testing.scripted_store import ScriptedStore

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = {"content-type": "application/json"}
WRITE, QUERY, FETCH = "/v2/namespaces/n", "/v2/namespaces/n/query", "/v2/namespaces/n/documents"
MANY = "/v2/query"
ROW = {"id": "a", "vector": [1.0]}


@pytest.fixture(autouse=True)
def _namespace(store: ScriptedStore) -> None:
    store.namespace("n", rows=({"id": "a", "k": 1},))


@pytest.mark.parametrize("broken", [b"\xff", b"\xed\xa0\x80", b"\\ud800"])
@pytest.mark.parametrize(
    ("target", "body"),
    [
        (WRITE, {"upsert_rows": [ROW], "schema": {"k": "string", "s": {"type": "string"}}}),
        (WRITE, {"upsert_columns": {"id": ["a", "b"], "k": ["c", "d"]}}),
        (WRITE, {"patch_rows": [{"id": "a", "k": "c"}], "patch_condition": ["k", "Eq", "c"]}),
        (WRITE, {"patch_by_filter": {"filters": ["k", "Eq", "c"], "patch": {"k": "d"}}}),
        (WRITE, {"deletes": ["a", "b"], "delete_condition": ["k", "Eq", "c"]}),
        (QUERY, {"rank_by": ["v", "ANN", [1]], "top_k": 1, "filters": ["k", "Eq", "c"]}),
        (QUERY, {"rank_by": ["k", "HybridText", "some words"], "filters": ["k", "Eq", "c"]}),
        (QUERY, {"queries": [{"vector": [1]}, {"nearest_to_id": ["a"], "filters": ["k"]}]}),
        (MANY, {"rank_by": ["v", "ANN", [1]], "top_k": 1, "namespaces": ["n"]}),
        (MANY, {"vector": [1], "namespaces": ["n"], "filters": ["k", "Eq", "c"]}),
        (FETCH, {"ids": ["a"], "include_attributes": ["k"]}),
    ],
)
async def test_text_that_is_none_is_no_fault_of_ours_wherever_it_stands(
    edge: EdgeCaller, target: str, body: dict[str, Any], broken: bytes
) -> None:
    text = json.dumps(body).encode()
    for found in re.finditer(rb'"[^"]+"', text):
        junk = text[: found.start() + 1] + broken + text[found.start() + 2 :]
        answer = await edge("POST", target, junk, JSON)
        assert answer.status < 500, (junk, answer.body)


async def test_a_filter_of_many_namespaces_that_is_no_json_is_refused(edge: EdgeCaller) -> None:
    body = b'{"vector":[1],"namespaces":["n"],"filters":["k","Eq",1e999]}'
    answer = await edge("POST", MANY, body, JSON)
    assert (answer.status, answer.json["reason"]) == (422, "JSON_SHAPE")
    assert "filters" in answer.json["message"]
