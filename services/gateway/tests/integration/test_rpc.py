"""The typed API of a real gateway over the real embedded store."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import grpc
import grpc.aio
import pytest
import pytest_asyncio

from layer.common.v1 import common_pb2
from layer.common.v1.common_pb2 import Value
from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer_kit.errors import (
    InvalidRequestError,
    KeyRefusedError,
    LayerError,
    NotFoundError,
    QuotaExceededError,
    UnauthenticatedError,
    UnavailableError,
)
from layer_kit.rpc.errors import from_rpc_error
from layer_testing.grpc_calls import errors_of_all, is_serving, reflected_services
from layer_testing.processes import running

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "a-key"
CALL_S_MAX = 10.0
Answer = TypeVar("Answer")
SERVICE = gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"]


class Caller:
    """Calls the gateway with a key."""

    def __init__(self, channel: grpc.aio.Channel, key: str = KEY) -> None:
        self._stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        self._metadata = (("authorization", f"Bearer {key}"),)

    async def write(self, namespace: str, **fields: Any) -> gateway_pb2.WriteRowsResponse:
        request = gateway_pb2.WriteRowsRequest(namespace=namespace, **fields)
        return await self.call(self._stub.WriteRows, request)

    async def query(self, namespace: str, **fields: Any) -> gateway_pb2.QueryRowsResponse:
        # Eventual reads are the default; these tests look at what they have just written.
        fields = {"consistency_level": common_pb2.CONSISTENCY_LEVEL_STRONG} | fields
        request = gateway_pb2.QueryRowsRequest(namespace=namespace, **fields)
        return await self.call(self._stub.QueryRows, request)

    async def lookup(
        self, namespace: str, ids: Sequence[common_pb2.DocumentId], **fields: Any
    ) -> gateway_pb2.LookupRowsResponse:
        request = gateway_pb2.LookupRowsRequest(namespace=namespace, ids=ids, **fields)
        return await self.call(self._stub.LookupRows, request)

    async def stream(self, namespace: str, **fields: Any) -> list[gateway_pb2.StreamRowsResponse]:
        request = gateway_pb2.StreamRowsRequest(namespace=namespace, **fields)
        answers = self._stub.StreamRows(request, metadata=self._metadata, timeout=CALL_S_MAX)
        try:
            return [message async for message in answers]
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def list(self, **fields: Any) -> gateway_pb2.ListNamespacesResponse:
        request = gateway_pb2.ListNamespacesRequest(**fields)
        return await self.call(self._stub.ListNamespaces, request)

    async def get(self, namespace: str) -> gateway_pb2.Namespace:
        request = gateway_pb2.GetNamespaceRequest(namespace=namespace)
        return (await self.call(self._stub.GetNamespace, request)).namespace

    async def delete(self, namespace: str) -> gateway_pb2.DeleteNamespaceResponse:
        request = gateway_pb2.DeleteNamespaceRequest(namespace=namespace)
        return await self.call(self._stub.DeleteNamespace, request)

    async def call(self, method: Callable[..., Awaitable[Answer]], request: object) -> Answer:
        """Call with the key; raise what the server raised."""
        try:
            return await method(request, metadata=self._metadata, timeout=CALL_S_MAX)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def store_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with running(
        "layer_vectorstore",
        LAYER_VECTORSTORE_HTTP_ADDRESS="127.0.0.1:0",
        LAYER_VECTORSTORE_DATA_DIRECTORY=str(tmp_path_factory.mktemp("vectorstore")),
        LAYER_VECTORSTORE_API_KEYS=KEY,
    ) as store:
        yield f"http://{store.addresses['http']}"


def gateway(store_url: str, **environment: str) -> Any:
    """Start a gateway of its own over ``store_url``."""
    settings = {
        "LAYER_GATEWAY_HTTP_ADDRESS": "127.0.0.1:0",
        "LAYER_GATEWAY_GRPC_ADDRESS": "127.0.0.1:0",
        "TPUF_URL": store_url,
        "TURBOPUFFER_API_KEY": KEY,
    }
    return running("layer_gateway", **(settings | environment))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def channel(store_url: str) -> AsyncIterator[grpc.aio.Channel]:
    async with (
        gateway(store_url) as process,
        grpc.aio.insecure_channel(process.addresses["grpc"]) as channel,
    ):
        yield channel


@pytest.fixture
def caller(channel: grpc.aio.Channel) -> Caller:
    return Caller(channel)


def string_id(text: str) -> common_pb2.DocumentId:
    return common_pb2.DocumentId(kind=common_pb2.DOCUMENT_ID_KIND_STRING, text=text)


def integer_id(value: int) -> common_pb2.DocumentId:
    return common_pb2.DocumentId(kind=common_pb2.DOCUMENT_ID_KIND_INTEGER, text=str(value))


def vector(*components: float) -> common_pb2.Vector:
    data = struct.pack(f"<{len(components)}f", *components)
    return common_pb2.Vector(dimension=len(components), data=data)


def row(id_: common_pb2.DocumentId, **attributes: Value) -> common_pb2.Row:
    return common_pb2.Row(id=id_, attributes=attributes)


def integer(value: int) -> Value:
    return Value(int_value=value)


def text(value: str) -> Value:
    return Value(string_value=value)


def compare(
    attribute: str, operator: common_pb2.ComparisonOperator.ValueType, value: Value
) -> common_pb2.Filter:
    comparison = common_pb2.Comparison(attribute=attribute, operator=operator, value=value)
    return common_pb2.Filter(comparison=comparison)


def texts_of(rows: Any) -> list[str]:
    return [found.row.id.text for found in rows]


def own(found: common_pb2.Row) -> common_pb2.Row:
    """Leave out what layer itself keeps in a row."""
    kept = common_pb2.Row()
    kept.CopyFrom(found)
    for name in list(kept.attributes):
        if name.startswith("_hevlayer_"):
            del kept.attributes[name]
    return kept


async def write_numbered(caller: Caller, namespace: str, count: int) -> None:
    """Write rows ``r0`` … with a vector, a number and a word."""
    answer = await caller.write(
        namespace,
        upserts=[
            row(
                string_id(f"r{at}"),
                vector=Value(vector_value=vector(float(at), 1.0)),
                n=integer(at),
                word=text("even" if at % 2 == 0 else "odd"),
            )
            for at in range(count)
        ],
        distance_metric=common_pb2.DISTANCE_METRIC_EUCLIDEAN_SQUARED,
        schema={
            "word": gateway_pb2.AttributeSchema(
                type="string",
                is_filterable=True,
                full_text_search=gateway_pb2.FullTextSearch(),
            )
        },
    )
    assert (answer.affected_count, answer.upserted_count) == (count, count)


async def test_it_is_healthy_and_reflection_lists_it(channel: grpc.aio.Channel) -> None:
    assert await is_serving(channel, SERVICE.full_name)
    assert SERVICE.full_name in await reflected_services(channel)


async def test_no_method_answers_without_a_key(channel: grpc.aio.Channel) -> None:
    errors = await errors_of_all(channel, [SERVICE])
    assert len(errors) == len(SERVICE.methods)
    for error in errors.values():
        assert isinstance(error, UnauthenticatedError)
        assert error.reason == "BEARER_MISSING"


async def test_another_key_is_refused_by_every_method(channel: grpc.aio.Channel) -> None:
    stranger = Caller(channel, key="another")
    with pytest.raises(LayerError) as refusal:
        await stranger.list()
    assert (refusal.value.code, refusal.value.reason) == (KeyRefusedError.code, "KEY_INVALID")


async def test_every_type_comes_back_as_it_was_written(caller: Caller) -> None:
    attributes = {
        "vector": Value(vector_value=vector(0.7, -1.0)),
        "s": text("\N{SNOWMAN} and more"),
        "i": integer(-(2**63)),
        "u": Value(large_int_value=str(2**64 - 1)),
        "f": Value(double_value=3.0),
        "b": Value(bool_value=True),
        "d": Value(date_time_value=common_pb2.DateTime(epoch_ms=1_704_164_645_678)),
        "g": Value(uuid_value=common_pb2.Uuid(text="0f0e0d0c-0000-0000-0000-000000000001")),
        "many": Value(
            list_value=common_pb2.ValueList(
                values=[
                    Value(date_time_value=common_pb2.DateTime(epoch_ms=at)) for at in (-1, 0, 1)
                ]
            )
        ),
        "words": Value(list_value=common_pb2.ValueList(values=[text("a"), text("b")])),
    }
    types = {"u": "uint", "f": "float", "d": "datetime", "g": "uuid", "many": "[]datetime"}
    uuid = common_pb2.DocumentId(
        kind=common_pb2.DOCUMENT_ID_KIND_UUID, text="0f0e0d0c-0000-0000-0000-000000000002"
    )
    written = row(uuid, **attributes)
    answer = await caller.write(
        "types",
        upserts=[written],
        schema={name: gateway_pb2.AttributeSchema(type=type_) for name, type_ in types.items()},
        distance_metric=common_pb2.DISTANCE_METRIC_COSINE_DISTANCE,
        with_affected_ids=True,
    )
    assert list(answer.upserted_ids) == [uuid]
    looked_up = await caller.lookup("types", [uuid], with_vectors=True)
    assert own(looked_up.rows[0].row) == written
    [message] = await caller.stream("types", with_vectors=True)
    assert own(message.rows[0]) == written
    found = await caller.query(
        "types",
        vector=gateway_pb2.VectorRanking(vector=vector(0.7, -1.0)),
        with_all_attributes=True,
    )
    without_vector = own(written)
    del without_vector.attributes["vector"]
    assert own(found.rows[0].row) == without_vector


async def test_an_attribute_that_is_new_is_read_by_its_type_at_once(caller: Caller) -> None:
    id_ = integer_id(2**64 - 1)
    await caller.write("growing", upserts=[row(id_, n=integer(1))])
    assert (await caller.lookup("growing", [id_])).rows[0].row.id == id_
    moment = Value(date_time_value=common_pb2.DateTime(epoch_ms=7))
    await caller.write(
        "growing",
        patches=[row(id_, at=moment)],
        schema={"at": gateway_pb2.AttributeSchema(type="datetime")},
    )
    [message] = await caller.stream("growing", attribute_names=["at"])
    assert message.rows == [row(id_, at=moment)]


async def test_conditions_see_the_row_being_written(caller: Caller) -> None:
    await caller.write("versions", upserts=[row(string_id("a"), version=integer(2))])
    newer = common_pb2.Filter(
        comparison=common_pb2.Comparison(
            attribute="version",
            operator=common_pb2.COMPARISON_OPERATOR_LESS,
            new_attribute="version",
        )
    )
    for version, upserted_count in ((1, 0), (3, 1)):
        answer = await caller.write(
            "versions",
            upserts=[row(string_id("a"), version=integer(version))],
            upsert_condition=newer,
        )
        assert (answer.upserted_count, list(answer.upserted_ids)) == (upserted_count, [])


async def test_patches_and_deletes_by_id_and_by_filter(caller: Caller) -> None:
    await write_numbered(caller, "changes", 6)
    odd = compare("word", common_pb2.COMPARISON_OPERATOR_EQUAL, text("odd"))
    low = compare("n", common_pb2.COMPARISON_OPERATOR_LESS, integer(2))
    answer = await caller.write(
        "changes",
        delete_by_filter=gateway_pb2.DeleteByFilter(filter=low),
        patch_by_filter=gateway_pb2.PatchByFilter(filter=odd, attributes={"n": integer(100)}),
        patches=[row(string_id("r2"), n=integer(200))],
        deletes=[string_id("r4")],
        with_affected_ids=True,
    )
    assert (answer.deleted_count, answer.patched_count, answer.has_remaining) == (3, 3, False)
    assert {id_.text for id_ in answer.deleted_ids} == {"r0", "r1", "r4"}
    assert {id_.text for id_ in answer.patched_ids} == {"r2", "r3", "r5"}
    rows = [found for message in await caller.stream("changes") for found in message.rows]
    assert [(one.id.text, one.attributes["n"].int_value) for one in rows] == [
        ("r2", 200),
        ("r3", 100),
        ("r5", 100),
    ]


async def test_each_ranking_orders_rows_its_own_way(caller: Caller) -> None:
    await write_numbered(caller, "rankings", 4)
    nearest = await caller.query(
        "rankings", vector=gateway_pb2.VectorRanking(vector=vector(3.0, 1.0)), top_k=2
    )
    assert [(one.row.id.text, one.distance) for one in nearest.rows] == [("r3", 0.0), ("r2", 1.0)]
    example = gateway_pb2.NearestRanking(ids=[string_id("r0"), string_id("r2")])
    assert texts_of((await caller.query("rankings", nearest=example, top_k=1)).rows) == ["r1"]
    exact = gateway_pb2.VectorRanking(vector=vector(0.0, 1.0), is_exhaustive=True)
    above = compare("n", common_pb2.COMPARISON_OPERATOR_GREATER, integer(1))
    found = await caller.query("rankings", vector=exact, filter=above, top_k=1)
    assert (texts_of(found.rows), bool(found.next_page_token)) == (["r2"], True)
    scored = await caller.query(
        "rankings", text=gateway_pb2.TextRanking(attribute="word", query="odd")
    )
    assert sorted(texts_of(scored.rows)) == ["r1", "r3"]
    assert all(one.score > 0 and not one.HasField("distance") for one in scored.rows)
    keys = [
        gateway_pb2.SortKey(attribute="word"),
        gateway_pb2.SortKey(attribute="n", direction=gateway_pb2.SORT_DIRECTION_DESCENDING),
    ]
    ordered = await caller.query(
        "rankings", attributes=gateway_pb2.AttributeRanking(keys=keys), attribute_names=["n"]
    )
    assert texts_of(ordered.rows) == ["r2", "r0", "r3", "r1"]
    assert set(ordered.rows[0].row.attributes) == {"n"}


async def test_pages_of_a_query_join_up(caller: Caller) -> None:
    await write_numbered(caller, "pages", 5)
    ranking = gateway_pb2.VectorRanking(vector=vector(0.0, 1.0))
    seen: list[str] = []
    token = ""
    for _ in range(3):
        page = await caller.query("pages", vector=ranking, top_k=2, page_token=token)
        seen += texts_of(page.rows)
        token = page.next_page_token
    assert (seen, token) == (["r0", "r1", "r2", "r3", "r4"], "")


async def test_rows_are_told_apart_by_when_they_were_written(caller: Caller) -> None:
    await write_numbered(caller, "times", 1)
    stamp = "_hevlayer_upserted_at"
    order = gateway_pb2.AttributeRanking(keys=[gateway_pb2.SortKey(attribute="id")])
    found = await caller.query("times", attributes=order, attribute_names=[stamp])
    written_ms = found.rows[0].row.attributes[stamp].int_value
    for as_of_ms, count in ((written_ms - 1, 0), (written_ms, 1)):
        found = await caller.query("times", attributes=order, as_of_ms=as_of_ms)
        assert len(found.rows) == count
        [message] = await caller.stream("times", as_of_ms=as_of_ms)
        assert len(message.rows) == count
    span = common_pb2.TimeRange(after_ms=written_ms - 1, through_ms=written_ms)
    assert len((await caller.query("times", attributes=order, between=span)).rows) == 1


async def test_a_lookup_keeps_order_repeats_and_kinds(caller: Caller) -> None:
    await caller.write("lookups", upserts=[row(string_id(f"{at}"), n=integer(at)) for at in (1, 2)])
    asked = [string_id("2"), string_id("9"), string_id("2"), integer_id(1), string_id("1")]
    found = await caller.lookup("lookups", asked, attribute_names=["n"])
    assert [(one.row.id.text, one.row.attributes["n"].int_value) for one in found.rows] == [
        ("2", 2),
        ("2", 2),
        ("1", 1),
    ]
    assert list(found.missing_ids) == [string_id("9"), integer_id(1)]
    outcomes = {one.cache_outcome for one in found.rows}
    assert outcomes == {gateway_pb2.CACHE_OUTCOME_MISS}
    present = await caller.lookup("lookups", asked[:1], ids_only=True, with_vectors=True)
    assert not present.rows[0].row.attributes


async def test_a_stream_pages_through_all_rows_and_resumes(caller: Caller) -> None:
    ids = [integer_id(number) for number in (2**64 - 1, 10, 9, 2**63, 0)]
    await caller.write("streams", upserts=[row(id_, n=integer(1)) for id_ in ids])
    messages = await caller.stream("streams", page_size=2, ids_only=True)
    assert [len(message.rows) for message in messages] == [2, 2, 1]
    numbers = [int(found.id.text) for message in messages for found in message.rows]
    assert numbers == [0, 9, 10, 2**63, 2**64 - 1]
    [rest] = await caller.stream("streams", after_id=integer_id(10))
    assert [found.id.text for found in rest.rows] == [str(2**63), str(2**64 - 1)]
    exactly = await caller.stream("streams", page_size=5)
    assert [len(message.rows) for message in exactly] == [5]


async def test_a_stream_leaves_out_the_marker_and_what_does_not_match(caller: Caller) -> None:
    marker = row(string_id("_hevlayer:namespace_meta"), n=integer(1))
    await caller.write("marked", upserts=[marker, row(string_id("a"), n=integer(1))])
    one = compare("n", common_pb2.COMPARISON_OPERATOR_EQUAL, integer(1))
    messages = await caller.stream("marked", filter=one, page_size=1)
    assert [found.id.text for message in messages for found in message.rows] == ["a"]
    two = compare("n", common_pb2.COMPARISON_OPERATOR_EQUAL, integer(2))
    assert [len(message.rows) for message in await caller.stream("marked", filter=two)] == [0]


async def test_a_namespace_is_listed_described_and_deleted(caller: Caller) -> None:
    for name in ("shelf-a", "shelf-b", "shelf-b-shadow"):
        await write_numbered(caller, name, 2)
    first = await caller.list(name_prefix="shelf-", page_size=2)
    assert [found.name for found in first.namespaces] == ["shelf-a", "shelf-b"]
    second = await caller.list(name_prefix="shelf-", page_size=2, page_token=first.next_page_token)
    assert [(one.name, one.is_shadow) for one in second.namespaces] == [("shelf-b-shadow", True)]
    assert (second.next_page_token, second.namespaces[0].row_count) == ("", 2)
    found = await caller.get("shelf-a")
    assert (found.name, found.row_count, found.is_shadow) == ("shelf-a", 2, False)
    assert found.schema["word"].full_text_search.tokenizer
    assert (found.schema["vector"].type, found.schema["vector"].is_vector_indexed) == (
        "[2]f32",
        True,
    )
    assert found.index.status == gateway_pb2.INDEX_STATUS_UP_TO_DATE
    assert (found.layer.is_stable, found.layer.HasField("stable_as_of_ms")) == (True, False)
    assert found.create_time.ToMilliseconds() > 0
    await caller.delete("shelf-a")
    await caller.delete("shelf-a")
    with pytest.raises(NotFoundError) as missing:
        await caller.get("shelf-a")
    assert missing.value.reason == "NAMESPACE_NOT_FOUND"


async def test_a_missing_namespace_is_not_found_by_any_read(caller: Caller) -> None:
    order = gateway_pb2.AttributeRanking(keys=[gateway_pb2.SortKey(attribute="id")])
    calls = (
        caller.query("nowhere", attributes=order),
        caller.lookup("nowhere", [string_id("a")]),
        caller.stream("nowhere"),
        caller.stream("nowhere", attribute_names=["a"], with_vectors=True),
        caller.get("nowhere"),
    )
    for call in calls:
        with pytest.raises(NotFoundError) as missing:
            await call
        assert missing.value.reason == "NAMESPACE_NOT_FOUND"
        assert missing.value.metadata == {"namespace": "nowhere"}


async def test_what_cannot_be_translated_never_reaches_the_store(caller: Caller) -> None:
    for call, reason in (
        (caller.write("no/slash", upserts=[row(string_id("a"))]), "NAMESPACE_INVALID"),
        (caller.write("refused"), "WRITE_EMPTY"),
        (caller.write("refused", upserts=[row(string_id("a"), x=Value())]), "VALUE_INVALID"),
        (caller.write("refused", patches=[row(string_id("a"), id=text("b"))]), "ROW_INVALID"),
        (
            caller.write("refused", upserts=[row(string_id("a"), _hevlayer_x=text("b"))]),
            "ATTRIBUTE_RESERVED",
        ),
        (
            caller.write(
                "refused",
                patches=[row(string_id("a"), vector=Value(vector_value=vector(1.0)))],
            ),
            "VECTOR_PATCHED",
        ),
        (caller.query("refused"), "QUERY_SOURCE"),
        (caller.lookup("types", []), "NO_IDS"),
        (caller.stream("refused", page_size=-1), "PAGE_SIZE_NEGATIVE"),
        (caller.list(page_size=-1), "PAGE_SIZE_NEGATIVE"),
    ):
        with pytest.raises(InvalidRequestError) as refusal:
            await call
        assert refusal.value.reason == reason
    assert not (await caller.list(name_prefix="refused")).namespaces


async def test_the_stores_own_refusal_comes_with_its_text(caller: Caller) -> None:
    await caller.write("texts", upserts=[row(string_id("a"), n=integer(1))])
    unknown = compare("nothing", common_pb2.COMPARISON_OPERATOR_EQUAL, integer(1))
    order = gateway_pb2.AttributeRanking(keys=[gateway_pb2.SortKey(attribute="id")])
    calls = (
        caller.query("texts", attributes=order, filter=unknown),
        caller.stream("texts", filter=unknown),
        caller.write("texts", delete_by_filter=gateway_pb2.DeleteByFilter(filter=unknown)),
    )
    for call in calls:
        with pytest.raises(InvalidRequestError, match="attribute not found") as refusal:
            await call
        assert refusal.value.reason == "UPSTREAM_REFUSED"


async def test_missing_examples_are_named(caller: Caller) -> None:
    await write_numbered(caller, "examples", 1)
    example = gateway_pb2.NearestRanking(ids=[string_id("r0"), string_id("gone")])
    with pytest.raises(NotFoundError, match="gone") as missing:
        await caller.query("examples", nearest=example)
    assert missing.value.reason == "EXAMPLES_NOT_FOUND"


async def test_http_and_grpc_see_the_same_rows(store_url: str) -> None:
    async with (
        gateway(store_url) as process,
        grpc.aio.insecure_channel(process.addresses["grpc"]) as channel,
        aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as session,
    ):
        base = f"http://{process.addresses['http']}/v2/namespaces/both"
        body = {"upsert_rows": [{"id": 7, "n": 1.5}]}
        async with session.post(base, json=body) as answer:
            assert answer.status == 200
        found = await Caller(channel).lookup("both", [integer_id(7)])
        assert own(found.rows[0].row) == row(integer_id(7), n=Value(double_value=1.5))
        await Caller(channel).write("both", patches=[row(integer_id(7), n=integer(2))])
        async with session.get(f"{base}/documents/7") as answer:
            assert (await answer.json())["attributes"]["n"] == 2


async def test_a_row_is_a_hit_once_the_cache_has_it(store_url: str) -> None:
    async with (
        running(
            "layer_cache", LAYER_CACHE_GRPC_ADDRESS="127.0.0.1:0", LAYER_CACHE_BACKEND="memory"
        ) as cache,
        gateway(store_url, LAYER_GATEWAY_CACHE_ADDRESS=cache.addresses["grpc"]) as process,
        grpc.aio.insecure_channel(process.addresses["grpc"]) as channel,
    ):
        caller = Caller(channel)
        await write_numbered(caller, "cached", 2)
        ids = [string_id("r1"), string_id("r0")]
        await caller.lookup("cached", ids, with_vectors=True)
        found = await caller.lookup("cached", ids, with_vectors=True)
        outcomes = {one.cache_outcome for one in found.rows}
        assert outcomes == {gateway_pb2.CACHE_OUTCOME_HIT}
        assert found.rows[0].row.attributes["vector"].vector_value == vector(1.0, 1.0)
        await cache.kill()
        found = await caller.lookup("cached", ids)
        outcomes = {one.cache_outcome for one in found.rows}
        assert outcomes == {gateway_pb2.CACHE_OUTCOME_ERROR}


async def test_a_store_that_is_away_is_unavailable() -> None:
    async with (
        gateway("http://127.0.0.1:1") as process,
        grpc.aio.insecure_channel(process.addresses["grpc"]) as channel,
    ):
        caller = Caller(channel)
        for call in (caller.list(), caller.get("any"), caller.stream("any")):
            with pytest.raises(UnavailableError) as away:
                await call
            assert away.value.reason == "UPSTREAM_UNREACHABLE"


async def test_a_pause_that_the_store_asks_for_is_told(tmp_path: Path) -> None:
    async with (
        running(
            "layer_vectorstore",
            LAYER_VECTORSTORE_HTTP_ADDRESS="127.0.0.1:0",
            LAYER_VECTORSTORE_DATA_DIRECTORY=str(tmp_path),
            LAYER_VECTORSTORE_INDEX_LAG_MS="60000",
            LAYER_VECTORSTORE_UNINDEXED_BYTES_MAX="1",
        ) as store,
        gateway(f"http://{store.addresses['http']}") as process,
        grpc.aio.insecure_channel(process.addresses["grpc"]) as channel,
    ):
        rows = [row(integer_id(1), n=integer(1))]
        await Caller(channel).write("busy", upserts=rows)
        with pytest.raises(QuotaExceededError) as pause:
            await Caller(channel).write("busy", upserts=rows)
        assert (pause.value.reason, bool(pause.value.retry_after_s)) == ("UPSTREAM_BUSY", True)
