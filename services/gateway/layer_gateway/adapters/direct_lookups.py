"""Lookups over a stream without grpc, where the cache offers one.

It spares both processes the threads of grpc, which take four times as much as all the rest of a
lookup. Nothing depends on it: until it is open, and whenever it is not, lookups go over grpc
(docs/decisions/0036-lookups-without-grpc.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Final, NamedTuple

import structlog
from google.protobuf.message import DecodeError
from prometheus_client import Gauge

from layer.cache.v1 import cache_pb2
from layer_gateway.adapters.open_lookups import OpenLookups
from layer_kit.addresses import UNIX_PREFIX, TcpAddress, UnixAddress, parse_address
from layer_kit.configuration import ConfigurationError
from layer_kit.errors import LayerError, UnavailableError
from layer_kit.lost_errors import report_lost
from layer_streams.client import ClientStream, open_stream

log = structlog.get_logger(__name__)

METHOD: Final = "/layer.cache.v1.CacheService/StreamLookups"
INCARNATION_FIELD: Final = "layer-cache-incarnation"
OPEN_S_MAX: Final = 5.0
PAUSE_S_MIN: Final = 0.5
PAUSE_S_MAX: Final = 60.0
"""Between attempts; one that lasted for so long begins anew."""


class LookupOffer(NamedTuple):
    """What the cache told when the session was opened."""

    address: str
    incarnation: str


NO_OFFER: Final = LookupOffer("", "")


class DirectWay:
    """The way to the lookups of one cache.

    A stream is opened by a lookup that finds none, and serves the later ones. It belongs to one
    incarnation of the cache: the one that the session is with, which hears of our writes.

    Args:
        replica: The address of its gRPC, whose host the offer takes for granted.
        offer: Returns what the cache offers now.
        is_open: Tells whether there is a stream.
    """

    def __init__(
        self, replica: str, offer: Callable[[], LookupOffer], *, timeout_s: float, is_open: Gauge
    ) -> None:
        self._replica = replica
        self._offer = offer
        self._timeout_s = timeout_s
        self._is_open = is_open
        self._offered = NO_OFFER
        self._stream: _DirectStream | None = None
        self._begun_s = 0.0
        self._again_from_s = 0.0
        self._pause_s = PAUSE_S_MIN

    def lookups(self) -> OpenLookups | None:
        """Return where to ask, None when it is not here."""
        offer = self._offer()
        if offer is not self._offered:
            self._take_up(offer)
        stream = self._stream
        if stream is None:
            if offer.address and asyncio.get_running_loop().time() >= self._again_from_s:
                self._begin()
            return None
        return stream.lookups if stream.is_accepted and not stream.lookups.is_doubtful else None

    def close(self) -> None:
        """End the stream; what waits for it fails."""
        self._offer = lambda: NO_OFFER
        self._take_up(NO_OFFER)

    def _take_up(self, offer: LookupOffer) -> None:
        before, self._offered = self._offered, offer
        if offer == before:
            return
        if self._stream is not None:
            self._stream.close()
        self._again_from_s, self._pause_s = 0.0, PAUSE_S_MIN

    def _begin(self) -> None:
        target = reach(self._replica, self._offered.address)
        if target is None:
            self._again_from_s = float("inf")
            return
        self._begun_s = asyncio.get_running_loop().time()
        self._stream = _DirectStream(
            target,
            self._offered.incarnation,
            timeout_s=self._timeout_s,
            accepted=lambda: self._is_open.set(1),
            ended=self._ended,
        )

    def _ended(self, stream: _DirectStream, error: LayerError | None) -> None:
        if stream is not self._stream:
            return
        self._stream = None
        self._is_open.set(0)
        now_s = asyncio.get_running_loop().time()
        if now_s - self._begun_s >= PAUSE_S_MAX:
            self._pause_s = PAUSE_S_MIN
        self._again_from_s = now_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, PAUSE_S_MAX)
        log.info(
            "direct_lookups_ended",
            reason=error.reason if error else None,
            message=error.message if error else None,
        )


class _DirectStream:
    """One stream, from the beginning of its connection to its end."""

    def __init__(
        self,
        target: TcpAddress | UnixAddress,
        incarnation: str,
        *,
        timeout_s: float,
        accepted: Callable[[], None],
        ended: Callable[[_DirectStream, LayerError | None], None],
    ) -> None:
        self.is_accepted = False
        self.lookups = OpenLookups(timeout_s, self._wake, self._send)
        self._accepted = accepted
        self._ended = ended
        self._stream: ClientStream | None = None
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(OPEN_S_MAX, self.close)
        # It belongs to no request, and so to no trace.
        self._opening = loop.create_task(self._open(target, incarnation), context=Context())
        self._opening.add_done_callback(report_lost)

    def close(self) -> None:
        """End the stream, or the attempt to open it."""
        self._opening.cancel()
        if self._stream is not None:
            self._stream.cancel()
        else:
            self.ended(UnavailableError("STREAM_CLOSED", "The stream was not opened in time."))

    async def _open(self, target: TcpAddress | UnixAddress, incarnation: str) -> None:
        metadata = {INCARNATION_FIELD: incarnation}
        try:
            self._stream = await open_stream(
                target, METHOD, self, metadata=metadata, timeout_s=OPEN_S_MAX
            )
        except LayerError as error:
            self.ended(error)
        else:
            self._wake()  # it may have been accepted before it was known here

    def _send(self, message: cache_pb2.StreamLookupsRequest) -> bool:
        stream = self._stream
        if stream is None or not stream.is_writable:
            return False
        stream.send(message.SerializeToString())
        return True

    def _wake(self) -> None:
        stream = self._stream
        if stream is None:
            return
        while self.lookups.has_waiting and stream.is_writable:
            if (message := self.lookups.message()) is not None:
                stream.send(message.SerializeToString())

    # What follows is heard of the stream.

    def accepted(self) -> None:
        self._timer.cancel()
        self.is_accepted = True
        self._accepted()

    def received(self, message: bytes) -> None:
        try:
            answers = cache_pb2.StreamLookupsResponse.FromString(message)
        except DecodeError:
            self.close()
            return
        self.lookups.answered(answers)

    def writable(self) -> None:
        self._wake()

    def finished(self) -> None:
        pass

    def ended(self, error: LayerError | None) -> None:
        if self.lookups.has_ended:
            return
        self._timer.cancel()
        self._ended(self, error)
        self.lookups.end(error or UnavailableError("STREAM_ENDED", "The stream of lookups ended."))


def reach(replica: str, told: str) -> TcpAddress | UnixAddress | None:
    """Return where a cache is that tells ``told``, by where its gRPC is; None for nowhere."""
    host = ""
    try:
        if not told.startswith(UNIX_PREFIX) and not replica.startswith(UNIX_PREFIX):
            known = parse_address(replica.rpartition("/")[2].removeprefix("dns:"))
            host = known.host if isinstance(known, TcpAddress) else ""
        found = parse_address(told)
    except ConfigurationError:
        return None
    if isinstance(found, UnixAddress):
        return found
    return TcpAddress(host=host or "localhost", port=found.port)
