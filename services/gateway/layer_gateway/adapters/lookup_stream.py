"""Lookups in one cache, over a stream that stays open.

Beginning and ending a call costs both sides more than a lookup does, so that one over a stream
takes half of the CPU, and one over a stream without grpc a fifth. Whoever asks while a message is
on its way goes with the next one.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from layer.cache.v1 import cache_pb2, cache_pb2_grpc
from layer_gateway.adapters.called_lookups import CalledLookups
from layer_gateway.adapters.direct_lookups import DirectWay
from layer_gateway.adapters.open_lookups import Tell
from layer_kit.errors import UnavailableError, UnsupportedError
from layer_kit.rpc.client import invoke
from layer_kit.telemetry.traces import is_recorded

STREAMED_IDS_MAX: Final = 512
"""A lookup of more goes by itself, so that its answer holds up no other."""

NOT_OFFERED_S: Final = 60.0
"""A cache that is too old for streams is asked without one for so long."""


class LookupStream:
    """Asks one cache for rows.

    A stream is opened by the first lookup, and by the first after one has ended. When it ends,
    the lookups that wait for their answers fail as calls on a broken connection do.

    Args:
        timeout_s: The deadline of every lookup.
        direct: A way that costs less, where there is one.
    """

    def __init__(
        self,
        stub: cache_pb2_grpc.CacheServiceStub,
        *,
        timeout_s: float,
        direct: DirectWay | None = None,
    ) -> None:
        self._stub = stub
        self._timeout_s = timeout_s
        self._direct = direct
        self._called: CalledLookups | None = None
        self._calls: set[asyncio.Task[cache_pb2.LookupRowsResponse]] = set()
        self._offered_from_s = 0.0

    def __call__(self, request: cache_pb2.LookupRowsRequest, tell: Tell) -> None:
        """Look rows up, and ``tell`` of them, at once or later.

        An error is what the cache raised, or ``UnavailableError`` when it cannot be reached.
        """
        # A call of its own has a span of its own in its trace.
        if len(request.ids) > STREAMED_IDS_MAX or is_recorded():
            self._call(request, tell)
        elif self._direct is not None and (direct := self._direct.lookups()) is not None:
            direct.look_up(request, tell)
        elif asyncio.get_running_loop().time() < self._offered_from_s:
            self._call(request, tell)
        else:
            stream = self._called
            if stream is None or stream.has_ended:
                stream = self._called = CalledLookups(self._stub.StreamLookups(), self._timeout_s)
            stream.look_up(request, partial(self._streamed, request, tell))

    async def close(self) -> None:
        """End the streams."""
        if self._direct is not None:
            self._direct.close()
        if self._called is not None:
            await self._called.close()

    def _streamed(
        self,
        request: cache_pb2.LookupRowsRequest,
        tell: Tell,
        outcome: cache_pb2.LookupRowsResponse | BaseException,
    ) -> None:
        if isinstance(outcome, UnsupportedError):
            self._offered_from_s = asyncio.get_running_loop().time() + NOT_OFFERED_S
            self._call(request, tell)
        else:
            tell(outcome)

    def _call(self, request: cache_pb2.LookupRowsRequest, tell: Tell) -> None:
        """Ask by a call of its own."""

        def ended(call: asyncio.Task[cache_pb2.LookupRowsResponse]) -> None:
            self._calls.discard(call)
            if call.cancelled():
                tell(UnavailableError("LOOKUP_CANCELLED", "The lookup was cancelled."))
            else:
                tell(call.exception() or call.result())

        call = asyncio.get_running_loop().create_task(
            invoke(self._stub.LookupRows, request, timeout_s=self._timeout_s)
        )
        self._calls.add(call)
        call.add_done_callback(ended)
