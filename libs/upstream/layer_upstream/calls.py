"""Requests that are worked out once and begun without a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from layer_kit.errors import LayerError, UpstreamError
from layer_upstream.connection import Connection
from layer_upstream.request import OutgoingRequest, Piece
from layer_upstream.response import UpstreamResponse

if TYPE_CHECKING:
    from layer_upstream.client import UpstreamClient


class Receiver(Protocol):
    """Who is told how a request ended, in the turn in which that is known. Raises nothing."""

    def answered(self, answer: UpstreamResponse, /) -> None:
        """Take the answer, whatever its status."""
        ...

    def failed(self, error: LayerError, /) -> None:
        """Take what :meth:`UpstreamClient.request` would have raised."""
        ...


class Call:
    """A request but for its body, worked out once for as often as it is sent."""

    __slots__ = (
        "_begin",
        "_begin_told",
        "_is_head",
        "_is_length_told",
        "_is_streaming_allowed",
        "client",
        "is_idempotent",
    )

    def __init__(
        self,
        client: UpstreamClient,
        begin: bytes,
        *,
        is_length_told: bool,
        is_head: bool,
        is_streaming_allowed: bool,
        is_idempotent: bool,
    ) -> None:
        self.client = client
        self._begin = begin
        self._begin_told = begin + b"\r\ncontent-length: "
        self._is_length_told = is_length_told
        self._is_head = is_head
        self._is_streaming_allowed = is_streaming_allowed
        self.is_idempotent = is_idempotent

    def begin(self, body: Sequence[Piece], receiver: Receiver) -> None:
        """Send the request with ``body``, in pieces of which none is empty.

        There is no task, which makes it cost half of what :meth:`UpstreamClient.request` costs;
        nobody can give it up.

        Args:
            receiver: Told how it ended.
        """
        client = self.client
        connection = client.take_idle()
        body_bytes = 0
        for piece in body:
            body_bytes += len(piece)
        if body_bytes or self._is_length_told:
            head = b"%b%d\r\n\r\n" % (self._begin_told, body_bytes)
        else:
            head = self._begin + b"\r\n\r\n"
        if connection is not None:  # what follows is done while the upstream is at work
            connection.write(head, body, body_bytes)
        request = Begun(
            head,
            body,
            body_bytes,
            self._is_head,
            self._is_streaming_allowed,
            client.monotonic() + client.total_timeout_s,
            self,
            connection,
            receiver,
        )
        client.inflight_count += 1
        if connection is None:
            client.begin_waiting(request, receiver, is_idempotent=self.is_idempotent)
        else:
            connection.expect(request, request)


class Begun(OutgoingRequest, frozen=True, eq=False):
    """A request that was begun, and waits for its answer."""

    _call: Call
    _connection: Connection | None
    _receiver: Receiver

    def done(self) -> bool:
        return False  # the connection forgets whom it has told

    def cancelled(self) -> bool:
        return False

    def set_result(self, answer: UpstreamResponse, /) -> None:
        self._receiver.answered(answer)
        self._call.client.answered()  # for which nobody waits

    def set_exception(self, error: LayerError, /) -> None:
        client, connection = self._call.client, self._connection
        was_gone = (
            isinstance(error, UpstreamError)
            and connection is not None
            and connection.has_answered  # kept from an earlier request, and closed since
            and connection.was_unanswered
        )
        if was_gone and self._call.is_idempotent:
            client.begin_replay(self, self._receiver)
        else:
            client.failed(error, self._receiver)
