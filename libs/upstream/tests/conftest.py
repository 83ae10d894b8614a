"""A server that says exactly what a test tells it to, over real sockets."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from layer_kit.errors import LayerError
from layer_upstream import UpstreamClient, UpstreamLimits, UpstreamResponse
from layer_upstream.client import IDEMPOTENT_METHODS

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass
class Dialogue:
    """The server's side of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    index: int

    async def request(self) -> tuple[bytes, bytes]:
        """Read one request; return its head and its body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        _, found, rest = head.lower().partition(b"content-length: ")
        length = int(rest.split(b"\r\n", 1)[0]) if found else 0
        return head, await self.reader.readexactly(length)

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer_all(self, answer: bytes = OK) -> None:
        """Answer every request of this connection alike."""
        while True:
            await self.request()
            await self.say(answer)

    async def wait_for_close(self) -> None:
        """Read until the client closes its side."""
        while await self.reader.read(65536):
            pass


Script = Callable[[Dialogue], Awaitable[None]]


@dataclass
class ScriptedServer:
    script: Script
    dialogues: list[Dialogue] = field(default_factory=list)
    origin: str = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dialogue = Dialogue(reader, writer, len(self.dialogues))
        self.dialogues.append(dialogue)
        with suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            await self.script(dialogue)
        writer.close()


Serve = Callable[..., Awaitable[ScriptedServer]]
Connect = Callable[..., UpstreamClient]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Start a server that runs a script for each connection."""
    async with AsyncExitStack() as stack:

        async def start(
            script: Script, *, tls: ssl.SSLContext | None = None, unix: bool = False
        ) -> ScriptedServer:
            server = ScriptedServer(script)
            tasks: set[asyncio.Task[None]] = set()

            async def handle(r: asyncio.StreamReader, w: asyncio.StreamWriter) -> None:
                task = asyncio.current_task()
                assert task is not None
                tasks.add(task)
                with suppress(asyncio.CancelledError):
                    await server.handle(r, w)
                tasks.discard(task)

            async def stop() -> None:
                listener.close()
                for task in tuple(tasks):
                    task.cancel()
                for dialogue in server.dialogues:
                    dialogue.writer.transport.abort()
                await asyncio.gather(*tasks)

            if unix:
                path = tmp_path / "upstream.sock"
                listener = await asyncio.start_unix_server(handle, str(path))
                server.origin = f"unix:{path}"
            else:
                listener = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
                port = listener.sockets[0].getsockname()[1]
                server.origin = f"http{'s' if tls else ''}://127.0.0.1:{port}"
            stack.push_async_callback(stop)
            return server

        yield start


class Awaited:
    """A receiver that somebody waits for."""

    def __init__(self) -> None:
        self.end: asyncio.Future[UpstreamResponse] = asyncio.get_running_loop().create_future()

    def answered(self, answer: UpstreamResponse, /) -> None:
        self.end.set_result(answer)  # and raises if it was told twice

    def failed(self, error: LayerError, /) -> None:
        self.end.set_exception(error)


class BeginningClient(UpstreamClient):
    """A client whose requests are begun, and told of, without a task; none is given up."""

    async def request(
        self,
        method: bytes,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | Sequence[bytes | memoryview] = b"",
        *,
        stream: bool = False,
        idempotent: bool | None = None,
        timeout_s: float | None = None,
    ) -> UpstreamResponse:
        assert timeout_s is None
        if idempotent is None:
            idempotent = method in IDEMPOTENT_METHODS
        pieces = ((body,) if body else ()) if isinstance(body, bytes) else body
        receiver = Awaited()
        call = self.call(method, target, headers, stream=stream, idempotent=idempotent)
        call.begin(pieces, receiver)
        return await receiver.end


CLIENTS = {"awaited": UpstreamClient, "begun": BeginningClient}


@pytest.fixture(params=CLIENTS)
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    """Open clients, of either kind, that are closed after the test."""
    client_class = CLIENTS[request.param]
    clients: list[UpstreamClient] = []

    def open_client(server: ScriptedServer, **options: object) -> UpstreamClient:
        rest = {
            key: options.pop(key)
            for key in ("ssl_context", "monotonic", "registry")
            if key in options
        }
        prefix = options.pop("prefix", "")
        limits = UpstreamLimits(**options)  # type: ignore[arg-type]
        client = client_class(f"{server.origin}{prefix}", limits, **rest)  # type: ignore[arg-type]
        clients.append(client)
        return client

    yield open_client
    for client in clients:
        await client.aclose()


class Clock:
    """A monotonic clock that only moves when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def tls_contexts(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's context for 127.0.0.1 and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "layer test")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    certificate_path, key_path = folder / "certificate.pem", folder / "key.pem"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate_path, key_path)
    return server, ssl.create_default_context(cafile=str(certificate_path))
