"""Lookups over a call of grpc that stays open."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Any

import grpc.aio

from layer.cache.v1 import cache_pb2
from layer_gateway.adapters.open_lookups import OpenLookups, Tell
from layer_kit.eager import begin
from layer_kit.errors import LayerError, UnavailableError
from layer_kit.lost_errors import report_lost
from layer_kit.rpc.errors import from_rpc_error


class CalledLookups:
    """One call, from its beginning to its end."""

    def __init__(self, call: Any, timeout_s: float) -> None:
        self._call = call
        self._lookups = OpenLookups(timeout_s, self._wake)
        self._writing: asyncio.Task[None] | None = None
        self._is_writing = False
        # What follows belongs to no request, and so to no trace.
        self._reading = asyncio.get_running_loop().create_task(self._read(), context=Context())
        self._reading.add_done_callback(report_lost)

    @property
    def has_ended(self) -> bool:
        return self._lookups.has_ended

    def look_up(self, request: cache_pb2.LookupRowsRequest, tell: Tell) -> None:
        self._lookups.look_up(request, tell)

    async def close(self) -> None:
        self._call.cancel()
        await asyncio.wait({self._reading})

    def _wake(self) -> None:
        if self._is_writing:
            return
        self._is_writing = True
        self._writing = begin(self._write(), context=Context())
        if self._writing is not None:
            self._writing.add_done_callback(report_lost)

    async def _write(self) -> None:
        """Send what waits, and what comes meanwhile."""
        try:
            while (message := self._lookups.message()) is not None:
                await self._call.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the call has ended; who reads is told why
        finally:
            self._is_writing = False

    async def _read(self) -> None:
        """Hand out answers; at the end of the call fail whoever waits for one."""
        ended: LayerError = UnavailableError("STREAM_ENDED", "The stream of lookups ended.")
        try:
            while (message := await self._call.read()) is not grpc.aio.EOF:
                self._lookups.answered(message)
        except grpc.aio.AioRpcError as error:
            ended = from_rpc_error(error)
        finally:
            self._lookups.end(ended)
