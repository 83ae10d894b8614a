"""What only a network can do wrong."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from layer_kit.configuration import ConfigurationError
from layer_kit.errors import DeadlineError, PreconditionError, UpstreamError
from layer_objects import S3Settings, open_object_store
from layer_testing.s3 import S3Server

QUICK = S3Settings(
    region="us-east-1",
    access_key_id="test",
    secret_access_key="test",
    connect_timeout_s=0.3,
    read_timeout_s=0.3,
    attempts_max=2,
)

Answer = Callable[[int, bytes], bytes]
"""From the count of requests before it, and its head, to what goes back; nothing to hang up."""


@pytest.fixture
async def scripted() -> AsyncIterator[Callable[[Answer], Awaitable[str]]]:
    """Start an HTTP server that answers each request as told; return its URL."""
    servers: list[asyncio.Server] = []
    seen_count = 0

    async def start(answer: Answer) -> str:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal seen_count
            head = await reader.readuntil(b"\r\n\r\n")
            _, found, rest = head.lower().partition(b"content-length: ")
            if found:
                await reader.readexactly(int(rest.split(b"\r\n", 1)[0]))
            writer.write(answer(seen_count, head))
            seen_count += 1
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    yield start
    for server in servers:
        server.close()


def answer(status: bytes, body: bytes = b"", headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %d\r\n%s\r\n%s" % (
        status,
        len(body),
        headers,
        body,
    )


def error(status: bytes, code: bytes) -> bytes:
    return answer(status, b"<Error><Code>%s</Code><Message>m</Message></Error>" % code)


async def test_a_server_that_is_down_is_an_upstream_error_in_time() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        store = open_object_store("s3://bucket", s3=replace(QUICK, endpoint=endpoint))
        started_s = time.monotonic()
        for call in (
            store.put("k", b""),
            store.get("k"),
            store.get_range("k", 0, 1),
            store.head("k"),
            store.list(),
            store.delete("k"),
        ):
            with pytest.raises(UpstreamError) as caught:
                await call
            assert caught.value.reason == "OBJECT_STORE_FAILED"
        assert time.monotonic() - started_s < 30
        await store.aclose()


async def test_a_server_that_is_silent_is_an_upstream_error_or_a_timeout() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        settings = replace(QUICK, endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}")
        store = open_object_store("s3://bucket", s3=settings)
        with pytest.raises(UpstreamError):
            await store.head("k")
        await store.aclose()
        hurried = open_object_store("s3://bucket", s3=replace(settings, operation_timeout_s=0.05))
        with pytest.raises(DeadlineError) as caught:
            await hurried.head("k")
        assert caught.value.reason == "OBJECT_STORE_TIMEOUT"
        await hurried.aclose()


async def test_a_bucket_that_is_missing_is_an_error_not_an_absent_object(
    s3_settings: S3Settings,
) -> None:
    store = open_object_store("s3://no-such-bucket-here", s3=s3_settings)
    for call in (store.get("k"), store.put("k", b""), store.list()):
        with pytest.raises(UpstreamError, match="NoSuchBucket"):
            await call
    await store.aclose()


async def test_a_put_whose_success_was_lost_is_not_taken_for_another_writer(
    scripted: Callable[[Answer], Awaitable[str]],
) -> None:
    tokens: list[bytes] = []

    def lose_the_first(seen_count: int, head: bytes) -> bytes:
        lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
        if seen_count == 0:
            tokens.append({k.lower(): v for k, v in lines.items()}[b"x-amz-meta-layer-write"])
            return error(b"500 Internal Server Error", b"InternalError")
        if head.startswith(b"PUT"):
            return error(b"412 Precondition Failed", b"PreconditionFailed")
        return answer(
            b"200 OK",
            headers=b'ETag: "ours"\r\nLast-Modified: Sun, 22 Nov 2026 10:00:00 GMT\r\n'
            b"x-amz-meta-layer-write: " + tokens[0] + b"\r\n",
        )

    endpoint = await scripted(lose_the_first)
    store = open_object_store("s3://bucket", s3=replace(QUICK, endpoint=endpoint))
    put = await store.put("k", b"body", if_absent=True)
    assert put.etag == '"ours"'
    await store.aclose()


async def test_a_repeated_put_that_finds_another_writer_is_refused(
    scripted: Callable[[Answer], Awaitable[str]],
) -> None:
    def another_won(seen_count: int, head: bytes) -> bytes:
        if seen_count == 0:
            return error(b"500 Internal Server Error", b"InternalError")
        if head.startswith(b"PUT"):
            return error(b"412 Precondition Failed", b"PreconditionFailed")
        return answer(b"200 OK", headers=b'ETag: "x"\r\nx-amz-meta-layer-write: other\r\n')

    endpoint = await scripted(another_won)
    store = open_object_store("s3://bucket", s3=replace(QUICK, endpoint=endpoint))
    with pytest.raises(PreconditionError):
        await store.put("k", b"body", if_absent=True)
    await store.aclose()


@pytest.mark.parametrize("conflicts_count", [2, 100])
async def test_conflicts_are_tried_again_a_few_times(
    scripted: Callable[[Answer], Awaitable[str]], conflicts_count: int
) -> None:
    def conflict(seen_count: int, _: bytes) -> bytes:
        if seen_count < conflicts_count:
            return error(b"409 Conflict", b"ConditionalRequestConflict")
        return answer(b"200 OK", headers=b'ETag: "x"\r\n')

    endpoint = await scripted(conflict)
    store = open_object_store("s3://bucket", s3=replace(QUICK, endpoint=endpoint))
    if conflicts_count == 2:
        assert (await store.put("k", b"", if_absent=True)).etag == '"x"'
    else:
        with pytest.raises(UpstreamError, match="ConditionalRequestConflict"):
            await store.put("k", b"", if_absent=True)
    await store.aclose()


async def test_a_body_that_is_cut_is_an_upstream_error(
    scripted: Callable[[Answer], Awaitable[str]],
) -> None:
    headers = b'ETag: "x"\r\nLast-Modified: Sun, 22 Nov 2026 10:00:00 GMT\r\n'
    endpoint = await scripted(lambda _count, _head: answer(b"200 OK", b"x" * 100, headers)[:-50])
    store = open_object_store("s3://bucket", s3=replace(QUICK, endpoint=endpoint))
    for call in (store.get("k"), store.get_range("k", 0, 100)):
        with pytest.raises(UpstreamError):
            await call
    await store.aclose()


async def test_operations_are_timed_by_their_outcome(s3: S3Server, s3_settings: S3Settings) -> None:
    registry = CollectorRegistry()
    store = open_object_store(f"s3://{s3.new_bucket()}", s3=s3_settings, registry=registry)
    await store.put("k", b"", if_absent=True)
    with pytest.raises(PreconditionError):
        await store.put("k", b"", if_absent=True)
    for status in ("ok", "refused"):
        labels = {"operation": "put", "status": status}
        assert registry.get_sample_value("layer_s3_op_duration_seconds_count", labels) == 1
    await store.aclose()


def test_an_endpoint_that_is_no_url_is_told_as_a_bad_setting() -> None:
    with pytest.raises(ConfigurationError, match="Invalid endpoint"):
        open_object_store("s3://bucket", s3=S3Settings(endpoint="nowhere", region="us-east-1"))


def test_settings_never_show_the_secret_key() -> None:
    assert "hunter2" not in repr(S3Settings(access_key_id="me", secret_access_key="hunter2"))
