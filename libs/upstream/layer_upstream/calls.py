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
        "_client",
        "_is_head",
        "_is_idempotent",
        "_is_length_told",
        "_is_streaming_allowed",
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
        self._client = client
        self._begin = begin
        self._is_length_told = is_length_told
        self._is_head = is_head
        self._is_streaming_allowed = is_streaming_allowed
        self._is_idempotent = is_idempotent

    def begin(self, body: Sequence[Piece], receiver: Receiver) -> None:
        """Send the request with ``body``, in pieces of which none is empty.

        There is no task, which makes it cost half of what :meth:`UpstreamClient.request` costs;
        nobody can give it up.

        Args:
            receiver: Told how it ended.
        """
        client = self._client
        body_bytes = sum(map(len, body))
        if body_bytes or self._is_length_told:
            head = b"%b\r\ncontent-length: %d\r\n\r\n" % (self._begin, body_bytes)
        else:
            head = self._begin + b"\r\n\r\n"
        connection = client.take_idle()
        request = Begun(
            head,
            body,
            body_bytes,
            self._is_head,
            self._is_streaming_allowed,
            client.monotonic() + client.total_timeout_s,
            client,
            connection,
            receiver,
            self._is_idempotent and connection is not None and connection.has_answered,
        )
        client.inflight_count += 1
        if connection is None:
            client.begin_waiting(request, receiver, is_idempotent=self._is_idempotent)
        else:
            connection.ask(request, request)


class Begun(OutgoingRequest, frozen=True, eq=False):
    """A request that was begun, and waits for its answer.

    Args:
        _may_be_replayed: Whether it is sent once more when the connection turns out to be gone.
    """

    _client: UpstreamClient
    _connection: Connection | None
    _receiver: Receiver
    _may_be_replayed: bool

    def done(self) -> bool:
        return False  # the connection forgets whom it has told

    def cancelled(self) -> bool:
        return False

    def set_result(self, answer: UpstreamResponse, /) -> None:
        self._client.answered(answer, self._receiver)

    def set_exception(self, error: LayerError, /) -> None:
        connection = self._connection
        is_gone = isinstance(error, UpstreamError) and connection and connection.was_unanswered
        if is_gone and self._may_be_replayed:
            self._client.begin_replay(self, self._receiver)
        else:
            self._client.failed(error, self._receiver)
