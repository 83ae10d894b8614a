"""Server, interceptor and client together, over a real connection."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import grpc
import grpc.aio
import pytest
import structlog
from google.protobuf.wrappers_pb2 import StringValue

from layer_kit.errors import (
    DeadlineError,
    InternalError,
    LayerError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
)
from layer_kit.rpc import interceptor
from layer_kit.rpc.client import RETRY_ATTEMPTS_MAX, invoke, open_channel
from layer_kit.rpc.context import request_id
from layer_kit.rpc.errors import (
    INTERNAL_MESSAGE,
)
from layer_kit.rpc.refusal import refuse_all
from layer_testing.echo import NAME, SECRET, SERVICE, Echo, EchoStub, register
from layer_testing.echo_server import DEADLINE_S, EchoServer, call, calls_ended, serve, texts
from layer_testing.grpc_calls import errors_of_all, is_serving, reflected_services
from layer_testing.hostile_requests import UNREADABLE, outcome

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


ALL = pytest.mark.parametrize("method", ["Say", "Count", "Join", "Chat"])


@ALL
async def test_methods_of_every_kind_answer(echo: EchoStub, method: str) -> None:
    expected = ["started", "hello"] if method == "Count" else ["hello"]
    assert await call(echo, method, "hello") == expected


@ALL
async def test_an_expected_error_arrives_whole(
    echo: EchoStub, server: EchoServer, method: str
) -> None:
    with pytest.raises(NotFoundError) as caught:
        await call(echo, method, "refuse")
    error = caught.value
    assert (error.reason, error.message) == ("WORD_UNKNOWN", "There is no word 'refuse'.")
    assert (error.metadata, error.retry_after_s) == ({"word": "refuse"}, 1.5)
    assert await calls_ended(server, method, "NOT_FOUND") == 1


@ALL
async def test_a_crash_tells_the_client_nothing_and_the_log_everything(
    echo: EchoStub, server: EchoServer, method: str
) -> None:
    with structlog.testing.capture_logs() as logs, pytest.raises(InternalError) as caught:
        await call(echo, method, "crash")
    assert caught.value.message == INTERNAL_MESSAGE
    assert caught.value.metadata == {}
    crashes = [entry for entry in logs if entry["event"] == "rpc_crashed"]
    assert [str(entry["exc_info"]) for entry in crashes] == [SECRET]
    assert await calls_ended(server, method, "INTERNAL") == 1


@ALL
@pytest.mark.parametrize("request_", UNREADABLE)
async def test_what_is_no_message_is_refused_by_name_and_counted(
    channel: grpc.aio.Channel, server: EchoServer, method: str, request_: bytes
) -> None:
    with structlog.testing.capture_logs() as logs:
        code, details = await outcome(channel, SERVICE.methods_by_name[method], request_)
        assert await calls_ended(server, method, "INVALID_ARGUMENT") == 1
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "not a message of this call's type" in (details or "")
    assert [entry["reason"] for entry in logs] == ["MESSAGE_MALFORMED"]


async def test_a_caller_that_leaves_a_stream_is_no_crash(
    echo: EchoStub, server: EchoServer
) -> None:
    with structlog.testing.capture_logs() as logs:
        stream = echo.count(StringValue(value="flood"), timeout=DEADLINE_S)
        assert (await anext(aiter(stream))).value == "started"
        stream.cancel()
        async with asyncio.timeout(DEADLINE_S):
            while not server.call_count("Count", "CANCELLED"):
                await call(echo, "Say", "anything")
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == []


@ALL
async def test_request_id_and_trace_travel_with_the_call(echo: EchoStub, method: str) -> None:
    request, metadata = (
        StringValue(value="context"),
        (
            ("x-request-id", "req-7"),
            ("traceparent", TRACE),
        ),
    )
    match method:
        case "Say":
            answer = (await echo.say(request, timeout=DEADLINE_S, metadata=metadata)).value
        case "Count":
            stream = echo.count(request, timeout=DEADLINE_S, metadata=metadata)
            answer = [each.value async for each in stream][-1]
        case "Join":
            answer = (
                await echo.join(texts("context"), timeout=DEADLINE_S, metadata=metadata)
            ).value
        case _:
            chat = echo.chat(texts("context"), timeout=DEADLINE_S, metadata=metadata)
            answer = [each.value async for each in chat][-1]
    assert answer == f"req-7 {TRACE}"


async def test_a_call_without_a_request_id_gets_one_of_its_own(echo: EchoStub) -> None:
    first, second = [(await call(echo, "Say", "context"))[0] for _ in range(2)]
    assert first.startswith("req_")
    assert first != second


async def test_a_malformed_request_id_is_replaced(echo: EchoStub) -> None:
    answer = await echo.say(
        StringValue(value="context"), timeout=DEADLINE_S, metadata=(("x-request-id", "two words"),)
    )
    assert answer.value.startswith("req_")


async def test_invoke_carries_the_request_id_of_the_caller(echo: EchoStub) -> None:
    token = request_id.set("req-of-caller")
    try:
        answer = await invoke(echo.say, StringValue(value="context"), timeout_s=DEADLINE_S)
    finally:
        request_id.reset(token)
    assert answer.value.startswith("req-of-caller ")


async def test_a_call_without_a_deadline_is_given_one(
    echo: EchoStub, server: EchoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interceptor, "DEADLINE_S_DEFAULT", 0.05)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await echo.say(StringValue(value="wait"))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert caught.value.details() == "The deadline of the call passed."
    assert await calls_ended(server, "Say", "DEADLINE_EXCEEDED") == 1


async def test_invoke_raises_when_its_deadline_passes(echo: EchoStub) -> None:
    with pytest.raises(DeadlineError):
        await invoke(echo.say, StringValue(value="wait"), timeout_s=0.05)


async def test_invoke_raises_what_the_server_raised(echo: EchoStub) -> None:
    with pytest.raises(NotFoundError, match="There is no word"):
        await invoke(echo.say, StringValue(value="refuse"), timeout_s=DEADLINE_S)


async def test_unavailable_is_retried(echo: EchoStub, server: EchoServer) -> None:
    answer = await invoke(echo.say, StringValue(value="recover"), timeout_s=DEADLINE_S)
    assert answer.value == "recover"
    assert await calls_ended(server, "Say", "UNAVAILABLE") == 1


async def test_other_errors_are_not_retried(echo: EchoStub, server: EchoServer) -> None:
    with pytest.raises(LayerError):
        await invoke(echo.say, StringValue(value="refuse"), timeout_s=DEADLINE_S)
    assert await calls_ended(server, "Say", "NOT_FOUND") == 1
    assert RETRY_ATTEMPTS_MAX > 1


async def test_nothing_is_retried_on_a_channel_without_retries(server: EchoServer) -> None:
    async with open_channel(server.address, retries=False) as channel:
        with pytest.raises(UnavailableError) as caught:
            await invoke(EchoStub(channel).say, StringValue(value="recover"), timeout_s=DEADLINE_S)
    assert caught.value.reason == "NOT_YET"
    assert await calls_ended(server, "Say", "UNAVAILABLE") == 1


async def test_a_server_that_is_away_is_unavailable() -> None:
    async with serve() as server:
        address = server.address
    async with open_channel(address, retries=False) as channel:
        with pytest.raises(UnavailableError):
            await invoke(EchoStub(channel).say, StringValue(value="hello"), timeout_s=DEADLINE_S)


async def test_calls_are_spread_over_all_addresses_of_a_name() -> None:
    async with (
        serve() as one,
        serve() as two,
        open_channel(f"ipv4:{one.address},{two.address}") as channel,
    ):
        async with asyncio.timeout(DEADLINE_S):
            while not (one.call_count("Say", "OK") and two.call_count("Say", "OK")):
                await invoke(EchoStub(channel).say, StringValue(value="hi"), timeout_s=DEADLINE_S)


async def test_health_and_reflection_are_served(channel: grpc.aio.Channel) -> None:
    assert await is_serving(channel)
    assert await is_serving(channel, NAME)
    assert NAME in await reflected_services(channel)


async def test_health_follows_the_components(channel: grpc.aio.Channel, server: EchoServer) -> None:
    server.health.unready("store", "disk full")
    assert not await is_serving(channel, NAME)
    server.health.ready("store")
    assert await is_serving(channel, NAME)


async def test_a_running_call_may_finish_within_the_grace() -> None:
    released = asyncio.Event()
    methods = register(Echo(released.wait))
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            serve(methods=methods, shutdown_grace_s=DEADLINE_S)
        )
        async with open_channel(server.address) as channel:
            running = EchoStub(channel).count(StringValue(value="drain"), timeout=DEADLINE_S)
            answers = aiter(running)
            assert (await anext(answers)).value == "started"

            stopping = asyncio.create_task(stack.aclose())
            while await accepts_calls(channel):
                pass
            released.set()

            assert (await anext(answers)).value == "drain"
            await stopping


async def accepts_calls(channel: grpc.aio.Channel) -> bool:
    try:
        return await is_serving(channel)
    except grpc.aio.AioRpcError:
        return False


async def test_methods_that_are_not_offered_are_refused_by_name() -> None:
    async with (
        serve(methods=refuse_all([SERVICE])) as server,
        open_channel(server.address) as channel,
    ):
        errors = await errors_of_all(channel, [SERVICE])
    assert set(errors) == {f"{NAME}/{method}" for method in ("Say", "Count", "Join", "Chat")}
    for name, error in errors.items():
        assert isinstance(error, UnsupportedError)
        assert (error.reason, error.metadata["method"]) == ("RPC_NOT_OFFERED", name)
