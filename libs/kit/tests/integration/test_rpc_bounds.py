"""What no call may exceed: the size of a message, of an error, the number at once, the pings."""

from __future__ import annotations

import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from layer_kit.errors import NotFoundError, QuotaExceededError
from layer_kit.rpc import limits
from layer_kit.rpc.client import open_channel
from layer_kit.rpc.errors import MESSAGE_BYTES_MAX, METADATA_VALUE_BYTES_MAX
from layer_testing.echo import EchoStub
from layer_testing.echo_server import DEADLINE_S, EchoServer, call, serve


async def test_an_error_too_long_for_trailers_arrives_clipped(echo: EchoStub) -> None:
    with pytest.raises(NotFoundError) as caught:
        await call(echo, "Say", "refuse at length")
    error = caught.value
    assert error.reason == "WORD_UNKNOWN"
    assert error.message.startswith("There is no word 'é")
    assert error.message.endswith("…")
    assert len(error.message.encode()) <= MESSAGE_BYTES_MAX
    assert len(error.metadata["word"].encode()) <= METADATA_VALUE_BYTES_MAX


async def test_a_message_may_be_larger_than_the_transports_own_bound(echo: EchoStub) -> None:
    large = "x" * (8 * 1024 * 1024)
    assert await call(echo, "Say", large) == [large]


async def test_a_message_over_the_bound_is_refused_by_either_end(
    echo: EchoStub, server: EchoServer
) -> None:
    oversize = "x" * (limits.MESSAGE_BYTES_MAX + 1)
    with pytest.raises(QuotaExceededError):
        await call(echo, "Say", oversize)
    unbounded = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(server.address, options=unbounded) as channel:
        with pytest.raises(QuotaExceededError):
            await call(EchoStub(channel), "Say", oversize)
        assert await call(EchoStub(channel), "Say", "goes on") == ["goes on"]


async def test_more_calls_than_a_server_takes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layer_kit.rpc.server.CONCURRENT_CALLS_MAX", 1)
    async with serve() as server, open_channel(server.address) as channel:
        running = EchoStub(channel).count(StringValue(value="wait"), timeout=DEADLINE_S)
        assert (await anext(aiter(running))).value == "started"
        with pytest.raises(QuotaExceededError):
            await call(EchoStub(channel), "Say", "one too many")
        running.cancel()


def test_clients_ping_no_more_often_than_servers_allow() -> None:
    every_ms = int(dict(limits.CLIENT_OPTIONS)["grpc.keepalive_time_ms"])
    least_ms = int(dict(limits.SERVER_OPTIONS)["grpc.http2.min_recv_ping_interval_without_data_ms"])
    assert every_ms >= least_ms
