"""Lookups go without grpc where the cache offers it, and over grpc whenever that does not work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest
from prometheus_client import CollectorRegistry

from layer.cache.v1 import cache_pb2, cache_pb2_grpc
from layer_gateway.adapters.cache_metrics import CacheMetrics
from layer_gateway.adapters.direct_lookups import (
    INCARNATION_FIELD,
    METHOD,
    NO_OFFER,
    DirectWay,
    LookupOffer,
    reach,
)
from layer_gateway.adapters.lookup_stream import LookupStream
from layer_kit.addresses import TcpAddress, UnixAddress
from layer_kit.errors import DeadlineError, LayerError, PreconditionError, UnavailableError
from layer_kit.rpc.calls import CallMetrics
from layer_streams.server import stream_server
from layer_streams.server_stream import ServerStream

TIMEOUT_S = 10.0
INCARNATION = "abc"


class CalledCache(cache_pb2_grpc.CacheServiceServicer):
    """Over grpc, and tells so."""

    async def StreamLookups(  # noqa: N802 -- the proto names the methods
        self, requests: AsyncIterator[cache_pb2.StreamLookupsRequest], context: object
    ) -> AsyncIterator[cache_pb2.StreamLookupsResponse]:
        async for request in requests:
            yield answered(request, b"by grpc")


def answered(
    request: cache_pb2.StreamLookupsRequest, body: bytes
) -> cache_pb2.StreamLookupsResponse:
    message = cache_pb2.StreamLookupsResponse()
    for one in request.lookups:
        message.answers.add(lookup_number=one.lookup_number).found.bodies.append(body)
    return message


class DirectCache:
    """Without grpc: answers as a test wants."""

    def __init__(self, stream: ServerStream, metadata: Mapping[str, str], owner: Caches) -> None:
        if metadata[INCARNATION_FIELD] != INCARNATION:
            raise PreconditionError("INCARNATION_DIFFERS", "Another one.")
        self.stream = stream
        self._owner = owner

    def received(self, message: bytes) -> None:
        request = cache_pb2.StreamLookupsRequest.FromString(message)
        match list(request.lookups[0].lookup.ids):
            case [b"silent"]:
                self._owner.late = answered(request, b"late").SerializeToString()
            case [b"nonsense"]:
                self.stream.send(b"\xff\xff\xff")
            case [b"end"]:
                self.stream.end()
            case [b"fail"]:
                self.stream.end(UnavailableError("AWAY", "Away."))
            case _:
                self.stream.send(answered(request, b"direct").SerializeToString())

    def writable(self) -> None:
        pass

    def finished(self) -> None:
        pass

    def ended(self, error: LayerError | None) -> None:
        self._owner.ended.set()


class Caches:
    """One cache that is reached both ways, and the gateway's way to it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.offer = NO_OFFER
        self.direct: list[DirectCache] = []
        self.late = b""
        self.ended = asyncio.Event()
        self.look_up: LookupStream

    def accept(self, stream: ServerStream, metadata: Mapping[str, str]) -> DirectCache:
        self.direct.append(DirectCache(stream, metadata, self))
        return self.direct[-1]

    @property
    def is_direct(self) -> bool:
        return bool(self.registry.get_sample_value("layer_cache_lookups_direct", {"replica": "0"}))

    async def ask(self, *ids: bytes) -> bytes:
        told: asyncio.Future[cache_pb2.LookupRowsResponse | BaseException] = asyncio.Future()
        self.look_up(cache_pb2.LookupRowsRequest(namespace="books", ids=ids), told.set_result)
        outcome = await asyncio.wait_for(told, TIMEOUT_S)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome.bodies[0]

    async def ask_until(self, body: bytes) -> None:
        """Ask until the answer is ``body``; no lookup fails before."""
        async with asyncio.timeout(TIMEOUT_S):
            while await self.ask(b"u1") != body:
                pass


@asynccontextmanager
async def caches(path: Path, *, timeout_s: float = TIMEOUT_S) -> AsyncIterator[Caches]:
    registry = CollectorRegistry()
    found = Caches(registry)
    server = grpc.aio.server()
    servicer = CalledCache()  # type: ignore[abstract]  # the rest is UNIMPLEMENTED
    cache_pb2_grpc.add_CacheServiceServicer_to_server(servicer, server)
    server.add_insecure_port(f"unix:{path}/grpc")
    await server.start()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(
            stream_server(
                address=f"unix:{path}/direct",
                methods={METHOD: found.accept},
                domain="test",
                calls=CallMetrics(CollectorRegistry()),
                shutdown_grace_s=0,
            )
        )
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"unix:{path}/grpc"))
        way = DirectWay(
            f"unix:{path}/grpc",
            lambda: found.offer,
            timeout_s=timeout_s,
            is_open=CacheMetrics(registry).of(0).direct,
        )
        stub = cache_pb2_grpc.CacheServiceStub(channel)
        found.look_up = LookupStream(stub, timeout_s=timeout_s, direct=way)
        yield found
        await found.look_up.close()
    await server.stop(grace=None)


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[Caches]:
    async with caches(tmp_path) as found:
        found.offer = LookupOffer(f"unix:{tmp_path}/direct", INCARNATION)
        yield found


async def test_lookups_go_directly_once_there_is_a_stream(cache: Caches) -> None:
    assert await cache.ask(b"u1") == b"by grpc"  # nobody waits for the other way
    await cache.ask_until(b"direct")
    assert cache.is_direct
    found = await asyncio.gather(*(cache.ask(b"u%d" % number) for number in range(100)))
    assert set(found) == {b"direct"}
    assert len(cache.direct) == 1


async def test_a_cache_that_offers_nothing_is_asked_over_grpc(cache: Caches) -> None:
    cache.offer = NO_OFFER
    assert {await cache.ask(b"u1") for _ in range(20)} == {b"by grpc"}
    assert not cache.is_direct


@pytest.mark.parametrize(
    "offer",
    [
        LookupOffer("unix:/nowhere/at/all", INCARNATION),
        LookupOffer(":1", INCARNATION),
        LookupOffer("no address", INCARNATION),
        LookupOffer("", INCARNATION),
    ],
)
async def test_an_offer_that_leads_nowhere_costs_no_lookup(
    cache: Caches, offer: LookupOffer
) -> None:
    cache.offer = offer
    assert {await cache.ask(b"u1") for _ in range(50)} == {b"by grpc"}


async def test_another_cache_than_that_of_the_session_is_not_asked(cache: Caches) -> None:
    cache.offer = cache.offer._replace(incarnation="other")
    assert {await cache.ask(b"u1") for _ in range(50)} == {b"by grpc"}
    assert not cache.is_direct


async def test_a_stream_is_left_when_the_session_is_with_another_incarnation(
    cache: Caches,
) -> None:
    await cache.ask_until(b"direct")
    cache.offer = cache.offer._replace(incarnation="other")
    assert {await cache.ask(b"u1") for _ in range(50)} == {b"by grpc"}
    await asyncio.wait_for(cache.ended.wait(), TIMEOUT_S)
    assert not cache.is_direct


@pytest.mark.parametrize("fault", [b"nonsense", b"end", b"fail"])
async def test_a_stream_that_breaks_fails_what_was_asked_on_it_and_nothing_after(
    cache: Caches, fault: bytes
) -> None:
    await cache.ask_until(b"direct")
    silent = asyncio.create_task(cache.ask(b"silent"))
    with pytest.raises(UnavailableError):
        await cache.ask(fault)
    with pytest.raises(UnavailableError):
        await silent
    assert not cache.is_direct
    # The way is tried again only after a pause.
    assert {await cache.ask(b"u1") for _ in range(20)} == {b"by grpc"}
    await cache.ask_until(b"direct")
    assert len(cache.direct) == 2


async def test_after_a_lookup_without_an_answer_grpc_is_asked_until_something_is_heard(
    tmp_path: Path,
) -> None:
    async with caches(tmp_path, timeout_s=0.3) as cache:
        cache.offer = LookupOffer(f"unix:{tmp_path}/direct", INCARNATION)
        await cache.ask_until(b"direct")
        with pytest.raises(DeadlineError):
            await cache.ask(b"silent")
        assert {await cache.ask(b"u1") for _ in range(10)} == {b"by grpc"}
        cache.direct[0].stream.send(cache.late)
        await cache.ask_until(b"direct")
    assert len(cache.direct) == 1


async def test_what_speaks_another_protocol_costs_no_lookup(cache: Caches, tmp_path: Path) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
        writer.close()
        cache.ended.set()

    async with await asyncio.start_unix_server(talk, f"{tmp_path}/other"):
        cache.offer = LookupOffer(f"unix:{tmp_path}/other", INCARNATION)
        assert await cache.ask(b"u1") == b"by grpc"
        await asyncio.wait_for(cache.ended.wait(), TIMEOUT_S)
        assert {await cache.ask(b"u1") for _ in range(20)} == {b"by grpc"}


@pytest.mark.parametrize(
    ("replica", "told", "found"),
    [
        ("cache:7101", ":7111", TcpAddress(host="cache", port=7111)),
        ("dns:///cache-0.cache:7101", ":7111", TcpAddress(host="cache-0.cache", port=7111)),
        ("dns:cache:7101", ":7111", TcpAddress(host="cache", port=7111)),
        ("[::1]:7101", ":7111", TcpAddress(host="::1", port=7111)),
        ("unix:/run/cache", ":7111", TcpAddress(host="localhost", port=7111)),
        ("unix:/run/cache", "unix:/run/x", UnixAddress(path=Path("/run/x"))),
        ("cache:7101", "unix:/run/x", UnixAddress(path=Path("/run/x"))),
        ("cache:7101", "nonsense", None),
        ("nonsense", ":7111", None),
    ],
)
def test_the_host_is_that_of_grpc(
    replica: str, told: str, found: TcpAddress | UnixAddress | None
) -> None:
    assert reach(replica, told) == found
