"""What the edge refuses by itself: how it tells, and that nothing of it reaches the store."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layer_testing.edge_calls import EdgeAnswer, EdgeCaller, parse_answer
from layer_testing.processes import ServiceProcess
from layer_testing.scripted_store import ScriptedStore, StoreRequest

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY_BYTES_MAX = 1024 * 1024
JSON = {"content-type": "application/json"}
CHUNKED = JSON | {"transfer-encoding": "chunked"}
GZIP = JSON | {"content-encoding": "gzip"}
WRITE, QUERY, FETCH = "/v2/namespaces/n", "/v2/namespaces/n/query", "/v2/namespaces/n/documents"
ROW = {"id": "a", "vector": [1.0]}


def asked_for_callers(store: ScriptedStore) -> list[StoreRequest]:
    """Return what the store was asked, without the looks at indexes that nobody waits for."""
    return [one for one in store.requests if not one.path.endswith("/metadata")]


@pytest.fixture(autouse=True)
def _namespace(store: ScriptedStore) -> None:
    store.namespace("n", rows=({"id": "a", "k": 1},))


def assert_refused(answer: EdgeAnswer, status: int, reason: str) -> str:
    """Check all that every error of the edge has; return its message."""
    assert (answer.status, answer.json["reason"]) == (status, reason), answer.body
    assert answer.json.keys() >= {"error", "message", "reason"}
    assert answer["content-type"] == "application/json"
    assert answer["x-should-retry"] == "false"
    assert answer["x-request-id"]
    message: str = answer.json["message"]
    return message


def assert_nothing_written(store: ScriptedStore) -> None:
    assert store.asked(f"POST {WRITE}") == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"upsert_rows":[}', b"\xff\xfe", b'{"ids":["a"]', b'{"ids":["\\ud800"]}']
)
@pytest.mark.parametrize("target", [WRITE, QUERY, FETCH])
async def test_what_is_not_json_is_a_400(
    edge: EdgeCaller, store: ScriptedStore, target: str, body: bytes
) -> None:
    assert_refused(await edge("POST", target, body, JSON), 400, "JSON_MALFORMED")
    assert asked_for_callers(store) == []


@pytest.mark.parametrize(
    "body", [b"{}{}", b'{"upsert_rows":[{"id":"a","\xff":1}]}', b'{"a\xff":1}']
)
async def test_bytes_that_are_no_text_or_too_many_make_no_write(
    edge: EdgeCaller, store: ScriptedStore, body: bytes
) -> None:
    assert_refused(await edge("POST", WRITE, body, JSON), 400, "JSON_MALFORMED")
    assert asked_for_callers(store) == []


async def test_json_nested_too_deeply_is_a_400(edge: EdgeCaller, store: ScriptedStore) -> None:
    body = b'{"upsert_rows":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert_refused(await edge("POST", WRITE, body, JSON), 400, "JSON_TOO_DEEP")
    assert asked_for_callers(store) == []


@pytest.mark.parametrize(
    ("target", "body", "field"),
    [
        (WRITE, {"upsert_rows": 5}, "upsert_rows"),
        (WRITE, {"upsert_rows": [5]}, "upsert_rows"),
        (WRITE, {"patch_rows": {"id": 1}}, "patch_rows"),
        (WRITE, {"upsert_columns": []}, "upsert_columns"),
        (WRITE, {"upsert_columns": {"id": ["a"], "k": 1}}, "upsert_columns.k"),
        (WRITE, {"patch_by_filter": 5}, "patch_by_filter"),
        (WRITE, {"patch_by_filter": {"filters": [], "patch": 5}}, "patch_by_filter.patch"),
        (QUERY, {"vector": [1], "top_k": "ten"}, "top_k"),
        (QUERY, {"vector": [1], "as_of": "now"}, "as_of"),
        (QUERY, {"vector": [1], "between": [1]}, "between"),
        (QUERY, {"vector": [1], "include_attributes": "k"}, "include_attributes"),
        (QUERY, {"nearest_to_id": "a"}, "nearest_to_id"),
        (FETCH, {"ids": "a"}, "ids"),
        (FETCH, {"ids": [1.5]}, "ids"),
        (FETCH, {}, "ids"),
        (FETCH, {"ids": ["a"], "include_attributes": "k"}, "include_attributes"),
    ],
)
async def test_a_value_of_the_wrong_type_is_a_422_that_names_it(
    edge: EdgeCaller, store: ScriptedStore, target: str, body: object, field: str
) -> None:
    message = assert_refused(await edge("POST", target, body), 422, "JSON_SHAPE")
    assert field in message
    assert_nothing_written(store)


@pytest.mark.parametrize(
    ("body", "reason", "named"),
    [
        ({}, "WRITE_EMPTY", "native Turbopuffer write operation"),
        ({"upserts": [ROW]}, "WRITE_OLD_DIALECT", "upserts"),
        ({"patches": [ROW]}, "WRITE_OLD_DIALECT", "patches"),
        ({"upsert_rows": [{"k": 1}]}, "ID_MISSING", "upsert_rows[0].id"),
        ({"upsert_rows": [ROW, {"id": None}]}, "ID_INVALID", "upsert_rows[1].id"),
        ({"upsert_rows": [{"id": -1}]}, "ID_INVALID", "upsert_rows[0].id"),
        ({"upsert_rows": [{"id": 2**64}]}, "ID_INVALID", "upsert_rows[0].id"),
        ({"upsert_rows": [{"id": "y" * 65}]}, "ID_INVALID", "upsert_rows[0].id"),
        ({"upsert_columns": {"k": [1]}}, "ID_MISSING", "upsert_columns.id"),
        ({"upsert_columns": {"id": []}}, "ID_MISSING", "upsert_columns.id"),
        ({"upsert_columns": {"id": ["a", "b"], "k": [1]}}, "COLUMNS_DIFFER", "upsert_columns.k"),
        ({"deletes": ["a", None]}, "ID_INVALID", "deletes"),
        ({"deletes": "a"}, "ID_INVALID", "deletes"),
        ({"upsert_rows": [{"id": "a", "vector": []}]}, "VECTOR_INVALID", "upsert_rows[0].vector"),
        ({"upsert_rows": [{"id": "a", "vector": "AAA="}]}, "VECTOR_INVALID", "vector"),
        ({"upsert_rows": [{"id": "a", "vectors": [[], 1]}]}, "VECTOR_INVALID", "vectors"),
        (
            {"upsert_columns": {"id": ["a", "b"], "vector": [[1], ["x"]]}},
            "VECTOR_INVALID",
            "upsert_columns[1].vector",
        ),
        ({"patch_rows": [{"id": "a", "vector": [1]}]}, "VECTOR_PATCHED", "patch_rows[0].vector"),
        ({"patch_by_filter": {"patch": {"vectors": 1}}}, "VECTOR_PATCHED", "vectors"),
        ({"upsert_rows": [{"id": "a", "blobs": []}]}, "BLOBS_IN_ROW", "blobs"),
        ({"upsert_rows": [{"id": "a", "_hevlayer_udf_x_v": 1}]}, "ATTRIBUTE_RESERVED", "_udf_x_v"),
        ({"patch_columns": {"id": ["a"], "_hevlayer_x": [1]}}, "ATTRIBUTE_RESERVED", "_hevlayer_x"),
    ],
)
async def test_a_write_that_breaks_a_rule_is_a_422_that_names_the_place(
    edge: EdgeCaller, store: ScriptedStore, body: object, reason: str, named: str
) -> None:
    message = assert_refused(await edge("POST", WRITE, body), 422, reason)
    assert named in message
    assert_nothing_written(store)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "QUERY_SOURCE"),
        ({"vector": [1], "nearest_to_id": ["a"]}, "QUERY_SOURCE"),
        ({"vector": [1], "rank_by": ["id", "asc"], "top_k": 1}, "QUERY_SOURCE"),
        ({"vector": []}, "VECTOR_EMPTY"),
        ({"nearest_to_id": []}, "NEAREST_IDS_RANGE"),
        ({"nearest_to_id": ["a"] * 1001}, "NEAREST_IDS_RANGE"),
        ({"vector": [1], "top_k": 0}, "TOP_K_RANGE"),
        ({"vector": [1], "as_of": 1, "between": [1, 2]}, "TIME_TWICE"),
        ({"vector": [1], "between": [2, 2]}, "BETWEEN_ORDER"),
        ({"vector": [1], "cursor": "!"}, "CURSOR_INVALID"),
        ({"vector": [1], "cursor": "e30"}, "CURSOR_INVALID"),
        ({"rank_by": ["id", "asc"], "top_k": 1, "cursor": "eyJkaXN0IjowLCJpZCI6MX0"}, None),
    ],
)
async def test_a_query_that_breaks_a_rule_is_a_422(
    edge: EdgeCaller, store: ScriptedStore, body: object, reason: str | None
) -> None:
    assert_refused(await edge("POST", QUERY, body), 422, reason or "CURSOR_UNUSABLE")
    assert store.asked(f"POST {QUERY}") == []


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/xml", "json", ""])
@pytest.mark.parametrize("target", [WRITE, QUERY, FETCH])
async def test_a_body_that_is_not_called_json_is_a_415(
    edge: EdgeCaller, store: ScriptedStore, target: str, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    answer = await edge("POST", target, b'{"upsert_rows":[]}', headers)
    assert "application/json" in assert_refused(answer, 415, "CONTENT_TYPE_NOT_JSON")
    assert asked_for_callers(store) == []


async def test_the_content_type_may_have_parameters_and_capitals(edge: EdgeCaller) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert (await edge("POST", FETCH, b'{"ids":["a"]}', headers)).status == 200


async def test_an_unknown_content_encoding_is_a_415_that_names_it(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    answer = await edge("POST", WRITE, b"x", JSON | {"content-encoding": "br"})
    assert "'br'" in assert_refused(answer, 415, "CONTENT_ENCODING_UNKNOWN")
    assert asked_for_callers(store) == []


WHOLE = gzip.compress(b'{"upsert_rows":[{"id":"a"}]}')


@pytest.mark.parametrize(
    "body",
    [b"{}", WHOLE[:-3], WHOLE + b"more", b"\x1f\x8b" + b"\0" * 20],
    ids=["no gzip", "cut short", "more behind it", "no such method"],  # the bytes hold the time
)
async def test_broken_gzip_is_a_400(edge: EdgeCaller, store: ScriptedStore, body: bytes) -> None:
    assert_refused(await edge("POST", WRITE, body, GZIP), 400, "GZIP_MALFORMED")
    assert asked_for_callers(store) == []


async def test_gzip_is_inflated_all_its_members(edge: EdgeCaller, store: ScriptedStore) -> None:
    body = gzip.compress(b'{"upsert_rows":[{"id"') + gzip.compress(b':"a"}]}')
    assert (await edge("POST", WRITE, body, GZIP)).status == 200
    (written,) = store.asked(f"POST {WRITE}")
    assert written.json["upsert_rows"][0]["id"] == "a"
    assert written.header(b"content-encoding") is None


async def test_a_gzip_bomb_is_a_413(edge: EdgeCaller, store: ScriptedStore) -> None:
    bomb = gzip.compress(b" " * (64 * BODY_BYTES_MAX))
    assert len(bomb) < BODY_BYTES_MAX
    assert_refused(await edge("POST", WRITE, bomb, GZIP), 413, "BODY_TOO_LARGE")
    many = gzip.compress(b" " * (BODY_BYTES_MAX // 2)) * 3
    assert_refused(await edge("POST", WRITE, many, GZIP), 413, "BODY_TOO_LARGE")
    assert asked_for_callers(store) == []


@pytest.mark.parametrize("target", [WRITE, QUERY, FETCH, "/v1/unknown"])
async def test_a_body_over_the_limit_is_a_413(
    edge: EdgeCaller, store: ScriptedStore, target: str
) -> None:
    too_large = b" " * (BODY_BYTES_MAX + 1)
    assert_refused(await edge("POST", target, too_large, JSON), 413, "BODY_TOO_LARGE")
    head = edge.request("POST", target, b"", JSON | {"transfer-encoding": "chunked"})
    chunk = b"%x\r\n%b\r\n" % (BODY_BYTES_MAX // 4, b" " * (BODY_BYTES_MAX // 4))
    answer = await edge.send(head + chunk * 5 + b"0\r\n\r\n", method="POST")
    assert_refused(answer, 413, "BODY_TOO_LARGE")
    assert asked_for_callers(store) == []


async def test_a_body_that_is_just_within_the_limit_is_taken(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    body = b'{"upsert_rows":[{"id":"a"}]}'.ljust(BODY_BYTES_MAX)
    assert (await edge("POST", WRITE, body, JSON)).status == 200
    head = edge.request("POST", WRITE, b"", JSON | {"transfer-encoding": "chunked"})
    answer = await edge.send(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), method="POST")
    assert answer.status == 200
    assert len(store.asked(f"POST {WRITE}")) == 2


@pytest.mark.parametrize(
    "name", ["a%2Fb", "caf%C3%A9", "a%00", "%FF", "x" * 129, "a%20b", "%2525", "..", "%2E"]
)
async def test_a_bad_namespace_is_a_422(edge: EdgeCaller, store: ScriptedStore, name: str) -> None:
    row = {"upsert_rows": [ROW]}
    for method, target, body in (
        ("POST", f"/v2/namespaces/{name}", row),
        ("DELETE", f"/v2/namespaces/{name}", b""),
        ("GET", f"/v2/namespaces/{name}/metadata", b""),
        ("POST", f"/v2/namespaces/{name}/query", {"vector": [1]}),
        ("GET", f"/v2/namespaces/{name}/documents/a", b""),
        ("POST", f"/v2/namespaces/{name}/documents", {"ids": ["a"]}),
    ):
        assert_refused(await edge(method, target, body), 422, "NAMESPACE_INVALID")
    assert asked_for_callers(store) == []


async def test_percent_encoded_names_are_the_names_they_spell(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    assert (await edge("POST", "/v2/namespaces/%6E", {"upsert_rows": [ROW]})).status == 200
    assert len(store.asked(f"POST {WRITE}")) == 1
    store.namespace("n", rows=({"id": "ü/1?", "k": 1},))
    answer = await edge("GET", f"{FETCH}/%C3%BC%2F1%3F")
    assert answer.json == {"id": "ü/1?", "attributes": {"k": 1}}
    assert store.asked(f"POST {QUERY}")[-1].json["filters"] == ["id", "Eq", "ü/1?"]


@pytest.mark.parametrize(
    "request_",
    [
        b"GARBAGE\r\n\r\n",
        b"GET /v1/\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nbroken header\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_not_http_is_a_400(
    edge: EdgeCaller, store: ScriptedStore, request_: bytes
) -> None:
    answer = await edge.send(request_)
    assert_refused(answer, 400, "HTTP_MALFORMED")
    assert asked_for_callers(store) == []


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\nx-long: " + b"y" * 100_000,
        b"GET /v1/" + b"y" * 100_000 + b" HTTP/1.1\r\nhost: x",
        b"GET /v1/x HTTP/1.1\r\nhost: x\r\n" + b"\r\n".join(b"x-%d: y" % at for at in range(200)),
        b"GET /v1/x HTTP/1.1\r\nhost: x\r\n"
        + b"\r\n".join(b"x-%d: %s" % (at, b"y" * 1000) for at in range(70)),
        b"GET /health HTTP/1.1\r\nhost: x\r\nx-a: " + b"y" * 33_000 + b"\r\nx-b: " + b"y" * 33_000,
    ],
    ids=["one-header", "target", "many", "together", "public"],
)
async def test_a_head_beyond_its_bound_is_a_431(
    edge: EdgeCaller, store: ScriptedStore, head: bytes
) -> None:
    answer = await edge.send(head + b"\r\nconnection: close\r\n\r\n")
    assert_refused(answer, 431, "HEAD_TOO_LARGE")
    assert asked_for_callers(store) == []


async def test_a_caller_that_leaves_in_the_middle_of_its_body_writes_nothing(
    edge: EdgeCaller, store: ScriptedStore, gateway: ServiceProcess
) -> None:
    _, writer = await edge.connect()
    writer.write(edge.request("POST", WRITE, b"", JSON | {"content-length": "100"}) + b'{"ups')
    await writer.drain()
    writer.close()
    assert (await edge("GET", "/health")).status == 200
    assert asked_for_callers(store) == []
    assert "crashed" not in gateway.stderr


async def test_an_answer_carries_the_request_id_of_the_caller(edge: EdgeCaller) -> None:
    answer = await edge("POST", QUERY, {}, {"x-request-id": "mine-1"})
    assert answer["x-request-id"] == "mine-1"
    answer = await edge("POST", QUERY, {}, {"x-request-id": "not one"})
    assert answer["x-request-id"].startswith("req_")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def bodies(*fields: str) -> st.SearchStrategy[dict[str, Any]]:
    """Draw objects of known and unknown fields with any values, some of them nearly right."""
    row = st.fixed_dictionaries(
        {"id": json_values}, optional={"vector": json_values, "k": json_values, "$x": json_values}
    )
    columns = st.dictionaries(
        st.sampled_from(["id", "vector", "k"]), st.lists(json_values, max_size=3) | json_values
    )
    value = json_values | st.lists(row, max_size=3) | columns
    return st.dictionaries(st.sampled_from(fields) | st.text(max_size=4), value, max_size=4)


WRITES = bodies(
    "upsert_rows", "patch_rows", "upsert_columns", "patch_columns", "deletes", "schema",
    "delete_by_filter", "patch_by_filter", "upsert_condition", "return_affected_ids",
)  # fmt: skip
QUERIES = bodies(
    "vector", "nearest_to_id", "rank_by", "top_k", "filters", "as_of", "between", "cursor",
    "include_attributes",
)  # fmt: skip
FETCHES = bodies("ids", "include_attributes")


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    asked=st.tuples(st.just(WRITE), WRITES | json_values)
    | st.tuples(st.just(QUERY), QUERIES | json_values)
    | st.tuples(st.just(FETCH), FETCHES | json_values)
)
async def test_no_json_is_answered_with_a_5xx(
    edge: EdgeCaller, store: ScriptedStore, asked: tuple[str, object]
) -> None:
    target, body = asked
    store.requests.clear()
    # As json.dumps writes it, so with NaN and lone surrogates, which are no JSON.
    answer = await edge("POST", target, json.dumps(body).encode(), JSON)
    assert answer.status < 500, answer.body
    if answer.status >= 400:
        assert answer.json.keys() >= {"error", "message", "reason"}
        assert_nothing_written(store)


@pytest.mark.parametrize("target", [WRITE, "/v1/elsewhere"])
async def test_a_body_that_goes_on_as_no_http_is_refused(edge: EdgeCaller, target: str) -> None:
    reader, writer = await edge.connect()
    writer.write(edge.request("POST", target, b"", CHUNKED) + b"1\r\n{\r\n")
    await edge("GET", "/health")  # by then it has begun to read that, mostly
    writer.write(b"no length\r\n")
    answer = parse_answer(await asyncio.wait_for(reader.read(-1), 10))  # below all patience
    assert_refused(answer, 400, "HTTP_MALFORMED")
    writer.close()
