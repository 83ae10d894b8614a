"""A connection as the serving side sees it: who may begin a stream, and which one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Final

from layer_kit.errors import InvalidRequestError, LayerError, UnsupportedError
from layer_kit.rpc.calls import CallMetrics, CallRecord
from layer_streams import frames
from layer_streams.connection import Connection
from layer_streams.faults import ConnectionFaultError, Fault
from layer_streams.headers import CONTENT_TYPE, Headers, timeout_s
from layer_streams.limits import SERVER_KEEPALIVE_S, STREAMS_MAX
from layer_streams.server_stream import Accept, ServerStream
from layer_streams.stream import Listener

IDENTITY: Final = "identity"
UNKNOWN_METHOD: Final = "unknown"
"""Stands for methods that are not served: a client's words make no metrics."""


class ServerConnection(Connection[ServerStream]):
    """A connection that a client made.

    Args:
        made: Told that it stands; answers whether it may.
        lost: Told that it is gone.
    """

    def __init__(
        self,
        *,
        methods: Mapping[str, Accept],
        domain: str,
        calls: CallMetrics,
        made: Callable[[ServerConnection], bool],
        lost: Callable[[ServerConnection], None],
    ) -> None:
        super().__init__(preface=frames.PREFACE, keepalive_s=SERVER_KEEPALIVE_S)
        self._methods = methods
        self._domain = domain
        self._calls = calls
        self._made = made
        self._lost = lost
        self._last_stream_id = 0
        self._is_draining = False

    @property
    def last_stream_id(self) -> int:
        return self._last_stream_id

    @property
    def begun_stream_id(self) -> int:
        return self._last_stream_id

    def drain(self) -> None:
        """Take no further streams; end when there are none."""
        self._is_draining = True
        self.write(frames.goaway(self._last_stream_id, Fault.NO_ERROR))
        self._leave_if_drained()

    def made(self) -> None:
        if self._made(self):
            self.introduce({frames.MAX_CONCURRENT_STREAMS: STREAMS_MAX})
        else:
            self.leave(Fault.ENHANCE_YOUR_CALM, "There are too many connections.")

    def lost(self) -> None:
        self._lost(self)

    def forget(self, stream_id: int) -> None:
        super().forget(stream_id)
        self._leave_if_drained()

    def peer_leaves(self, last_stream_id: int) -> None:
        self._is_draining = True
        self._leave_if_drained()

    def take_fields(self, stream_id: int, fields: Headers, *, is_last: bool) -> None:
        if (stream := self.streams.get(stream_id)) is not None:
            if not is_last:
                raise ConnectionFaultError(Fault.PROTOCOL_ERROR, "headers after headers")
            stream.peer_finished()
            return
        if stream_id <= self._last_stream_id:
            return  # of a stream that has ended meanwhile
        if stream_id % 2 == 0:
            raise ConnectionFaultError(Fault.PROTOCOL_ERROR, "a stream that a client cannot begin")
        self._last_stream_id = stream_id
        if self._is_draining or len(self.streams) >= STREAMS_MAX:
            self.reply(frames.reset(stream_id, Fault.REFUSED_STREAM))
        else:
            self._begin(stream_id, fields, is_last=is_last)

    def _begin(self, stream_id: int, fields: Headers, *, is_last: bool) -> None:
        method = fields.get(":path", "")
        accept = self._methods.get(method)
        if accept is None:
            method = UNKNOWN_METHOD
            accept = _refusing(UnsupportedError("METHOD_UNKNOWN", "No such stream is served here."))
        elif (error := _unfit(fields)) is not None:
            accept = _refusing(error)
        stream = self.streams[stream_id] = ServerStream(
            self,
            stream_id,
            record=CallRecord(self._calls, method),
            domain=self._domain,
            context=Context(),
        )
        stream.begin(accept, fields, timeout_s(fields.get("grpc-timeout", "")))
        if is_last and not stream.has_ended:
            stream.peer_finished()

    def _leave_if_drained(self) -> None:
        if self._is_draining and not self.streams:
            self.leave()


def _unfit(fields: Headers) -> LayerError | None:
    """Return why a call cannot be taken whatever its method, None when it can."""
    if fields.get(":method") != "POST" or not fields.get("content-type", "").startswith(
        CONTENT_TYPE
    ):
        return InvalidRequestError("NO_GRPC", "The request is none of gRPC's.")
    if fields.get("grpc-encoding", IDENTITY) != IDENTITY:
        return UnsupportedError("COMPRESSION_UNSUPPORTED", "Streams take no compressed messages.")
    return None


def _refusing(error: LayerError) -> Accept:
    def refuse(_stream: ServerStream, _metadata: Mapping[str, str]) -> Listener:
        raise error

    return refuse
