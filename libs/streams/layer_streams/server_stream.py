"""A call as the serving side sees it, from its headers to its trailers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context
from typing import Final, TypeAlias

import grpc
import structlog

from layer_kit.errors import DeadlineError, InternalError, LayerError
from layer_kit.rpc.calls import CallRecord
from layer_kit.rpc.errors import INTERNAL_MESSAGE, status_code
from layer_streams import frames
from layer_streams.connection import Connection
from layer_streams.faults import Fault
from layer_streams.headers import CONTENT_TYPE, trailers
from layer_streams.stream import Listener, MessageStream

log = structlog.get_logger(__name__)

ANSWERED: Final = ((":status", "200"), ("content-type", CONTENT_TYPE))


class ServerStream(MessageStream):
    """A stream that a client began.

    Whatever a listener raises ends the call, as it does with a server of grpc.

    Args:
        domain: Of the errors it ends with.
    """

    def __init__(
        self,
        connection: Connection[ServerStream],
        stream_id: int,
        *,
        record: CallRecord,
        domain: str,
        context: Context,
    ) -> None:
        window_bytes = connection.stream_window_bytes
        super().__init__(connection, stream_id, window_bytes=window_bytes, context=context)
        self.listener = _Nobody()
        self._connection = connection
        self._record = record
        self._domain = domain
        self._is_answered = False
        self._is_ending = False
        self.is_shut = True
        self._outcome: LayerError | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def begin(self, accept: Accept, metadata: Mapping[str, str], timeout_s: float | None) -> None:
        """Let the call be taken, or refused."""
        if timeout_s is not None:
            self._deadline = asyncio.get_running_loop().call_later(timeout_s, self._expire)

        def take() -> None:
            self._record.begin(metadata.get)
            self.listener = accept(self, metadata)

        self.tell(take)
        if not (self.has_ended or self._is_ending):
            self._is_answered, self.is_shut = True, False
            self._write_headers(frames.END_HEADERS, ANSWERED)
            self.go_on()

    def end(self, error: LayerError | None = None) -> None:
        """End the call once all that was sent is on its way; no further message may be sent."""
        if not self._is_ending:
            self._begin_end(error)

    def refuse(self, error: LayerError) -> None:
        self.drop_unsent()
        self._begin_end(error)

    def _begin_end(self, error: LayerError | None) -> None:
        self._is_ending = self.is_shut = True
        self._outcome = error
        self._end_if_sent()

    def go_on(self) -> None:
        super().go_on()
        if self._is_ending:
            self._end_if_sent()

    def close(self, error: LayerError | None) -> None:
        """End the stream without a word to the client, who is gone."""
        self._close(error, grpc.StatusCode.CANCELLED, None)

    def tell(self, what: Callable[..., None], *arguments: object) -> None:
        try:
            super().tell(what, *arguments)
        except LayerError as error:
            self.refuse(error)
        except Exception:
            log.exception("rpc_crashed")
            self.refuse(InternalError("INTERNAL", INTERNAL_MESSAGE))

    def _expire(self) -> None:
        self.refuse(DeadlineError("DEADLINE_EXCEEDED", "The deadline of the call passed."))

    def _end_if_sent(self) -> None:
        if self.stuck_since_s is not None or self.has_ended:
            return
        error = self._outcome
        fields = trailers(error, domain=self._domain)
        if not self._is_answered:
            fields = [*ANSWERED, *fields]
        self._write_headers(frames.END_HEADERS | frames.END_STREAM, fields)
        if not self.has_peer_finished:  # what it may still send is of no use
            self._connection.write(frames.reset(self.id, Fault.NO_ERROR))
        if error is None:
            self._close(None, grpc.StatusCode.OK, None)
        else:
            self._close(error, status_code(error), error.reason)

    def _close(self, error: LayerError | None, code: grpc.StatusCode, reason: str | None) -> None:
        if self.has_ended:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        super().close(error)
        super().tell(self._record.end, code, reason)

    def _write_headers(self, flags: int, fields: Iterable[tuple[str, str]]) -> None:
        block = self._connection.headers.write(fields)
        self._connection.write(frames.frame(frames.HEADERS, flags, self.id, block))


class _Nobody:
    """Listens before a call is taken, and when it is refused."""

    def received(self, message: bytes) -> None:
        pass

    def writable(self) -> None:
        pass

    def finished(self) -> None:
        pass

    def ended(self, error: LayerError | None) -> None:
        pass


Accept: TypeAlias = Callable[[ServerStream, Mapping[str, str]], Listener]
"""Takes a call by returning who listens, or raises the error that it is refused with."""
