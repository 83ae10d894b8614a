"""What the typed API refuses, and how it tells."""

from __future__ import annotations

from pathlib import Path

import grpc.aio
import pytest

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
from layer_testing.gateway_calls import (
    Caller,
    compare,
    embedded_store,
    gateway_over,
    integer,
    integer_id,
    row,
    string_id,
    text,
    vector,
    write_numbered,
)
from layer_testing.grpc_calls import errors_of_all

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICE = gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"]


async def test_no_method_answers_without_a_key(channel: grpc.aio.Channel) -> None:
    errors = await errors_of_all(channel, [SERVICE])
    assert len(errors) == len(SERVICE.methods)
    for error in errors.values():
        assert isinstance(error, UnauthenticatedError)
        assert error.reason == "BEARER_MISSING"


async def test_another_key_is_refused(channel: grpc.aio.Channel) -> None:
    stranger = Caller(channel, key="another")
    with pytest.raises(LayerError) as refusal:
        await stranger.list()
    assert (refusal.value.code, refusal.value.reason) == (KeyRefusedError.code, "KEY_INVALID")


async def test_a_missing_namespace_is_not_found_by_any_read(
    caller: Caller, channel: grpc.aio.Channel
) -> None:
    order = gateway_pb2.AttributeRanking(keys=[gateway_pb2.SortKey(attribute="id")])
    calls = (
        caller.query("nowhere", attributes=order),
        caller.lookup("nowhere", [string_id("a")]),
        caller.stream("nowhere"),
        caller.stream("nowhere", attribute_names=["a"], with_vectors=True),
        caller.get("nowhere"),
        caller.call(
            gateway_pb2_grpc.GatewayServiceStub(channel).CopyNamespace,
            gateway_pb2.CopyNamespaceRequest(namespace="copied", source_namespace="nowhere"),
        ),
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
        (caller.lookup("refused", [string_id("")]), "ID_INVALID"),
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


async def test_a_store_that_is_away_is_unavailable() -> None:
    async with (
        gateway_over("http://127.0.0.1:1") as process,
        grpc.aio.insecure_channel(process.addresses["grpc"]) as channel,
    ):
        caller = Caller(channel)
        for call in (caller.list(), caller.get("any"), caller.stream("any")):
            with pytest.raises(UnavailableError) as away:
                await call
            assert away.value.reason == "UPSTREAM_UNREACHABLE"


async def test_a_pause_that_the_store_asks_for_is_told(tmp_path: Path) -> None:
    async with (
        embedded_store(
            tmp_path,
            LAYER_VECTORSTORE_INDEX_LAG_MS="60000",
            LAYER_VECTORSTORE_UNINDEXED_BYTES_MAX="1",
        ) as store_url,
        gateway_over(store_url) as process,
        grpc.aio.insecure_channel(process.addresses["grpc"]) as channel,
    ):
        rows = [row(integer_id(1), n=integer(1))]
        await Caller(channel).write("busy", upserts=rows)
        with pytest.raises(QuotaExceededError) as pause:
            await Caller(channel).write("busy", upserts=rows)
        assert (pause.value.reason, bool(pause.value.retry_after_s)) == ("UPSTREAM_BUSY", True)
