"""The calling side: one stream, on a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import Context
from typing import Final, Protocol

from layer_kit.addresses import TcpAddress, UnixAddress, explain
from layer_kit.errors import UnavailableError
from layer_streams import frames
from layer_streams.connection import Connection
from layer_streams.faults import ConnectionFaultError, Fault
from layer_streams.headers import CONTENT_TYPE, Headers, foreign_answer, outcome
from layer_streams.limits import CLIENT_KEEPALIVE_S
from layer_streams.stream import Listener, MessageStream

STREAM_ID: Final = 1


class CallListener(Listener, Protocol):
    """Hears of what happens to a stream that it has begun."""

    def accepted(self) -> None:
        """Learn that the server has taken the call; a message may come before."""


class ClientStream(MessageStream):
    """A stream that was begun here."""

    listener: CallListener

    def finish(self) -> None:
        """Tell the server that no further message comes; its own may follow."""
        if not self.is_shut:
            self.is_shut = True
            self._finish_if_sent()

    def go_on(self) -> None:
        was_stuck = self.stuck_since_s is not None
        super().go_on()
        if self.is_shut and was_stuck:
            self._finish_if_sent()

    def _finish_if_sent(self) -> None:
        if self.stuck_since_s is None and not self.has_ended:
            self._way.write(frames.frame(frames.DATA, frames.END_STREAM, self.id))

    def cancel(self) -> None:
        """End the call and its connection."""
        self.reset(Fault.CANCEL, None)


async def open_stream(
    address: TcpAddress | UnixAddress,
    method: str,
    listener: CallListener,
    *,
    metadata: Mapping[str, str] | None = None,
    timeout_s: float,
) -> ClientStream:
    """Call ``method`` at ``address``; messages may be sent at once.

    Args:
        method: Such as ``/package.Service/Method``.
        timeout_s: For the connection to stand.

    Raises:
        UnavailableError: ``STREAM_UNREACHABLE``.
    """
    loop = asyncio.get_running_loop()
    fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method),
        (":authority", address.host if isinstance(address, TcpAddress) else "localhost"),
        ("te", "trailers"),
        ("content-type", CONTENT_TYPE),
        *(metadata or {}).items(),
    ]

    def connection() -> ClientConnection:
        return ClientConnection(fields, listener)

    try:
        async with asyncio.timeout(timeout_s):
            if isinstance(address, UnixAddress):
                _, made = await loop.create_unix_connection(connection, str(address.path))
            else:
                _, made = await loop.create_connection(connection, address.host, address.port)
    except TimeoutError as error:
        raise UnavailableError("STREAM_UNREACHABLE", "The connection took too long.") from error
    except OSError as error:
        raise UnavailableError("STREAM_UNREACHABLE", explain(error)) from error
    return made.stream


class ClientConnection(Connection[ClientStream]):
    """A connection for one call.

    Args:
        fields: The headers of the call.
    """

    def __init__(self, fields: list[tuple[str, str]], listener: CallListener) -> None:
        super().__init__(preface=b"", keepalive_s=CLIENT_KEEPALIVE_S)
        self._fields = fields
        self._listener = listener
        self._is_accepted = False
        # What is heard of it belongs to no request, and so to no trace.
        self.stream = ClientStream(
            self, STREAM_ID, window_bytes=self.stream_window_bytes, context=Context()
        )
        self.stream.listener = listener

    @property
    def last_stream_id(self) -> int:
        return 0  # nothing is pushed

    @property
    def begun_stream_id(self) -> int:
        return STREAM_ID

    def made(self) -> None:
        self.write(frames.PREFACE)
        self.introduce({frames.ENABLE_PUSH: 0})
        block = self.headers.write(self._fields)
        self.write(frames.frame(frames.HEADERS, frames.END_HEADERS, STREAM_ID, block))
        self.streams[STREAM_ID] = self.stream

    def take_fields(self, stream_id: int, fields: Headers, *, is_last: bool) -> None:
        if stream_id != STREAM_ID:
            raise ConnectionFaultError(
                Fault.PROTOCOL_ERROR, "headers of a stream that has not begun"
            )
        if self.stream.has_ended:
            return
        if not self._is_accepted and (error := foreign_answer(fields)) is not None:
            self.stream.reset(Fault.CANCEL, error)
        elif is_last:
            self.stream.close(outcome(fields))
        elif self._is_accepted:
            raise ConnectionFaultError(Fault.PROTOCOL_ERROR, "headers after headers")
        else:
            self._is_accepted = True
            self._listener.accepted()

    def peer_leaves(self, last_stream_id: int) -> None:
        if last_stream_id < STREAM_ID:
            self.stream.close(UnavailableError("STREAM_REFUSED", "The server takes no calls."))

    def forget(self, stream_id: int) -> None:
        super().forget(stream_id)
        self.leave()

    def lost(self) -> None:
        pass
