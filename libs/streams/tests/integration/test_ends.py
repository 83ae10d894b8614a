"""How connections end: silent peers, full ones, servers that stop, addresses that lead nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from layer_kit.addresses import parse_address
from layer_kit.configuration import ConfigurationError
from layer_kit.errors import DeadlineError, LayerError, UnavailableError
from layer_kit.rpc.calls import CallMetrics
from layer_streams import connection, frames, link, server
from layer_streams.client import ClientConnection, ClientStream, open_stream
from layer_streams.server import stream_server
from layer_streams.server_stream import ServerStream
from layer_testing.stream_listeners import KeepingListener

METHOD = "/a.B/C"
TIMEOUT_S = 10.0


class Listener(KeepingListener):
    """Keeps what it hears; as a service it answers nothing."""

    stream: ClientStream | ServerStream

    def __init__(self) -> None:
        super().__init__()
        self.is_begun = asyncio.Event()
        self._has_ended = asyncio.Event()

    def take(self, stream: ServerStream, _: Mapping[str, str]) -> Listener:
        self.stream = stream
        self.is_begun.set()
        return self

    def accepted(self) -> None:
        self.is_begun.set()

    def ended(self, error: LayerError | None) -> None:
        super().ended(error)
        self._has_ended.set()

    async def end(self) -> LayerError | None:
        await asyncio.wait_for(self._has_ended.wait(), TIMEOUT_S)
        (outcome,) = self.outcomes
        return outcome


def serve(path: Path, service: Listener, grace_s: float = 0.0) -> AbstractAsyncContextManager[str]:
    return stream_server(
        address=f"unix:{path}/s",
        methods={METHOD: service.take},
        domain="test",
        calls=CallMetrics(CollectorRegistry()),
        shutdown_grace_s=grace_s,
    )


async def dial(address: str, caller: Listener, **metadata: str) -> ClientStream:
    return await open_stream(
        parse_address(address), METHOD, caller, metadata=metadata, timeout_s=TIMEOUT_S
    )


@pytest.fixture
async def silent(tmp_path: Path) -> Any:
    """A server that tells its settings when asked to, and says nothing else."""

    def begin(says: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(says)
            while await reader.read(65536):
                pass
            writer.close()

        return talk

    servers = []

    async def start(says: bytes) -> str:
        servers.append(await asyncio.start_unix_server(begin(says), f"{tmp_path}/silent"))
        return f"unix:{tmp_path}/silent"

    yield start
    for one in servers:
        one.close()
        await one.wait_closed()


async def test_a_server_that_never_tells_its_settings_is_left(
    silent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "TICK_S", 0.01)
    monkeypatch.setattr(link, "HANDSHAKE_S_MAX", 0.05)
    caller = Listener()
    await dial(await silent(b""), caller)
    assert isinstance(error := await caller.end(), UnavailableError)
    assert "no settings" in error.message


async def test_a_server_that_gives_no_sign_of_life_is_left(
    silent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "TICK_S", 0.01)
    monkeypatch.setattr("layer_streams.client.CLIENT_KEEPALIVE_S", 0.03)
    monkeypatch.setattr(link, "KEEPALIVE_ANSWER_S_MAX", 0.05)
    caller = Listener()
    await dial(await silent(frames.settings({})), caller)
    assert isinstance(error := await caller.end(), UnavailableError)
    assert "sign of life" in error.message


async def test_a_server_that_answers_pings_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "TICK_S", 0.01)
    monkeypatch.setattr("layer_streams.client.CLIENT_KEEPALIVE_S", 0.01)
    pongs = 0
    take_ping = connection.Connection._take_ping

    def counting(self: Any, received: frames.Frame) -> None:
        nonlocal pongs
        pongs += bool(received.flags & frames.ACK)
        take_ping(self, received)

    monkeypatch.setattr(connection.Connection, "_take_ping", counting)
    caller = Listener()
    async with serve(tmp_path, Listener()) as address:
        stream = await dial(address, caller)
        async with asyncio.timeout(TIMEOUT_S):
            while pongs < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # nothing tells of a ping
        assert caller.outcomes == []
        stream.cancel()


async def test_a_server_that_makes_no_room_is_left(
    silent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "TICK_S", 0.01)
    monkeypatch.setattr(connection, "SEND_S_MAX", 0.05)
    caller = Listener()
    stream = await dial(await silent(frames.settings({})), caller)
    stream.send(bytes(200_000))
    assert not stream.is_writable
    with pytest.raises(RuntimeError):
        stream.send(b"")
    assert isinstance(error := await caller.end(), UnavailableError)
    assert "no room" in error.message


async def test_a_stream_that_ends_by_itself_is_waited_for_when_the_server_stops(
    tmp_path: Path,
) -> None:
    service, caller = Listener(), Listener()
    async with serve(tmp_path, service, grace_s=TIMEOUT_S) as address:
        await dial(address, caller)
        await asyncio.wait_for(caller.is_begun.wait(), TIMEOUT_S)
        asyncio.get_running_loop().call_later(0.05, service.stream.end)  # type: ignore[union-attr]
    assert await caller.end() is None


async def test_a_stream_that_does_not_end_is_ended_when_the_grace_is_over(tmp_path: Path) -> None:
    service, caller = Listener(), Listener()
    async with serve(tmp_path, service, grace_s=0.05) as address:
        await dial(address, caller)
        await asyncio.wait_for(caller.is_begun.wait(), TIMEOUT_S)
    assert isinstance(await caller.end(), UnavailableError)
    assert isinstance(await service.end(), UnavailableError)


async def test_a_call_ends_at_its_deadline(tmp_path: Path) -> None:
    caller = Listener()
    async with serve(tmp_path, Listener()) as address:
        await dial(address, caller, **{"grpc-timeout": "30m"})
        assert isinstance(await caller.end(), DeadlineError)


async def test_connections_beyond_the_bound_are_turned_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CONNECTIONS_MAX", 1)
    first, second = Listener(), Listener()
    async with serve(tmp_path, Listener()) as address:
        await dial(address, first)
        await asyncio.wait_for(first.is_begun.wait(), TIMEOUT_S)
        await dial(address, second)
        assert isinstance(await second.end(), UnavailableError)
        assert first.outcomes == []


async def test_an_address_without_a_server_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as caught:
        await dial(f"unix:{tmp_path}/nobody", Listener())
    assert caught.value.reason == "STREAM_UNREACHABLE"


async def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    async with serve(tmp_path, Listener()):
        with pytest.raises(ConfigurationError, match="Address already in use"):
            async with serve(tmp_path, Listener()):
                pass


async def test_a_client_that_leaves_keeps_nothing_open(tmp_path: Path) -> None:
    caller, service = Listener(), Listener()
    async with serve(tmp_path, service) as address:
        stream = await dial(address, caller)
        await asyncio.wait_for(caller.is_begun.wait(), TIMEOUT_S)
        stream.cancel()
        assert await caller.end() is None
        assert await service.end() is not None
        assert isinstance(stream._way, ClientConnection)
        assert not stream._way.streams
