"""Lookups over a stream without grpc: each is answered where it is read.

Nothing stands between the socket and the store: no thread, no task, no queue, as long as the
store answers at once and the caller reads.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from layer.cache.v1 import cache_pb2
from layer_cache.rpc.lookups_in_hand import LookUp, LookUpNow, LookupsInHand, message_of
from layer_kit.addresses import UnixAddress, parse_address
from layer_kit.errors import LayerError, MalformedRequestError, PreconditionError
from layer_kit.lost_errors import report_lost
from layer_streams.server_stream import ServerStream

METHOD: Final = "/layer.cache.v1.CacheService/StreamLookups"
INCARNATION_FIELD: Final = "layer-cache-incarnation"


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectLookups:
    """Takes streams of lookups.

    Args:
        incarnation: Of this process. A caller that names another one is refused: it has announced
            its writes elsewhere, and must not read here.
        draining: Set when the process is about to stop; no further lookup is begun then.
    """

    look_up: LookUp
    look_up_now: LookUpNow
    incarnation: str
    draining: asyncio.Event

    def __call__(self, stream: ServerStream, metadata: Mapping[str, str]) -> DirectStream:
        named = metadata.get(INCARNATION_FIELD, self.incarnation)
        if named != self.incarnation:
            raise PreconditionError(
                "INCARNATION_DIFFERS", "This is not the cache that the session is with."
            )
        return DirectStream(stream, self.look_up, self.look_up_now, self.draining)


def address_beside(grpc_address: str) -> str:
    """Return where to listen when only the address of gRPC is given."""
    parsed = parse_address(grpc_address)
    return f"{grpc_address}.lookups" if isinstance(parsed, UnixAddress) else parsed.bound(0)


def told_address(bound: str) -> str:
    """Return how a gateway is told of an address, whose host it knows already."""
    parsed = parse_address(bound)
    return bound if isinstance(parsed, UnixAddress) else f":{parsed.port}"


class DirectStream:
    """One open stream, as its listener."""

    def __init__(
        self,
        stream: ServerStream,
        look_up: LookUp,
        look_up_now: LookUpNow,
        draining: asyncio.Event,
    ) -> None:
        self._stream = stream
        self._look_up_now = look_up_now
        self._in_hand = LookupsInHand(look_up, self._go_on)
        self._waiting: deque[cache_pb2.NumberedLookup] = deque()
        self._is_last_read = False
        self._drained = asyncio.get_running_loop().create_task(draining.wait())
        self._drained.add_done_callback(self._drain)

    def received(self, message: bytes) -> None:
        try:
            request = cache_pb2.StreamLookupsRequest.FromString(message)
        except DecodeError as error:
            raise MalformedRequestError(
                "MESSAGE_MALFORMED", "The message is no StreamLookupsRequest."
            ) from error
        lookups = request.lookups
        if not self._is_last_read and not (len(lookups) == 1 and self._has_answered(lookups[0])):
            self._waiting.extend(lookups)
            self._go_on()

    def _has_answered(self, numbered: cache_pb2.NumberedLookup) -> bool:
        """Answer a lookup here and now, unless something waits or is not as usual."""
        if self._waiting or self._in_hand.count or not self._stream.is_writable:
            return False
        try:
            found = self._look_up_now(numbered.lookup)
        except Exception:  # noqa: BLE001 -- the usual way meets it again, and answers with it
            return False
        if found is None:
            return False
        self._stream.send(message_of(numbered.lookup_number, found).SerializeToString())
        return True

    def writable(self) -> None:
        self._go_on()

    def finished(self) -> None:
        self._is_last_read = True
        self._go_on()

    def ended(self, error: LayerError | None) -> None:
        self._drained.cancel()
        self._waiting.clear()
        for lookup in self._in_hand.cancel():
            lookup.add_done_callback(report_lost)

    def _drain(self, drained: asyncio.Task[bool]) -> None:
        if not drained.cancelled():
            self._is_last_read = True
            self._waiting.clear()
            self._go_on()

    def _go_on(self) -> None:
        """Begin what there is room for and send what is answered, until neither goes on."""
        in_hand, stream = self._in_hand, self._stream
        if stream.has_ended:
            return
        while True:
            while self._waiting and in_hand.has_room:
                in_hand.begin(self._waiting.popleft())
            if not (in_hand.has_answers and stream.is_writable):
                break
            stream.send(in_hand.message().SerializeToString())
        if self._waiting:
            stream.hold()
        elif self._is_last_read and not in_hand.count:
            stream.end()
        else:
            stream.resume()
