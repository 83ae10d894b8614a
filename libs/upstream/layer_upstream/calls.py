"""Requests that are worked out once and begun without a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

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
        body_bytes = len(body[0]) if len(body) == 1 else sum(map(len, body))
        if body_bytes or self._is_length_told:
            head = b"%b\r\ncontent-length: %d\r\n\r\n" % (self._begin, body_bytes)
        else:
            head = self._begin + b"\r\n\r\n"
        request = OutgoingRequest(
            head,
            body,
            body_bytes,
            self._is_head,
            self._is_streaming_allowed,
            client.monotonic() + client.total_timeout_s,
        )
        client.inflight_count += 1
        connection = client.take_idle()
        if connection is None:
            client.begin_waiting(request, receiver, is_idempotent=self._is_idempotent)
        else:
            may_be_replayed = self._is_idempotent and connection.has_answered
            replayed = request if may_be_replayed else None
            connection.ask(request, Begun(client, connection, receiver, replayed))


class Begun(msgspec.Struct):
    """Waits for the answer to a request that was begun.

    Args:
        _replayed: What to send once more when the connection turns out to be gone; None for what
            may not be.
    """

    _client: UpstreamClient
    _connection: Connection
    _receiver: Receiver
    _replayed: OutgoingRequest | None

    def done(self) -> bool:
        return False  # the connection forgets whom it has told

    def cancelled(self) -> bool:
        return False

    def set_result(self, answer: UpstreamResponse, /) -> None:
        client = self._client
        client.inflight_count -= 1
        if not client.is_reachable:
            client.note(is_reachable=True)
        self._receiver.answered(answer)

    def set_exception(self, error: LayerError, /) -> None:
        request = self._replayed
        is_gone = isinstance(error, UpstreamError) and self._connection.was_unanswered
        if request is not None and is_gone:
            self._client.begin_replay(request, self._receiver)
        else:
            self._client.failed(error, self._receiver)
