"""One stream to the history service: a batch, its acknowledgement, the next batch."""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

import grpc
import grpc.aio
import structlog

from layer.history.v1 import history_pb2, history_pb2_grpc
from layer_kit.errors import UnavailableError
from layer_kit.rpc.errors import from_rpc_error

log = structlog.get_logger(__name__)

ACKNOWLEDGE_S_MAX: Final = 5.0


class HistoryStream:
    """Delivers batches, opening the stream when there is none."""

    def __init__(self, stub: history_pb2_grpc.HistoryServiceStub) -> None:
        self._stub = stub
        self._call: Any = None
        self._number = 0

    async def deliver(self, batch: bytes) -> int:
        """Send a serialised request and wait until the service has made it durable.

        Returns:
            How many of its events the service will never take.

        Raises:
            InvalidRequestError: The service will never take this batch.
            LayerError: It did not take it now; it may have kept it all the same.
        """
        request = history_pb2.AppendEventsRequest.FromString(batch)
        self._number += 1
        request.batch_number = self._number
        try:
            async with asyncio.timeout(ACKNOWLEDGE_S_MAX):
                answer = await self._exchange(request)
        except grpc.aio.AioRpcError as error:
            self.close()
            raise from_rpc_error(error) from error
        except (TimeoutError, asyncio.InvalidStateError) as error:
            self.close()
            raise UnavailableError("HISTORY_SILENT", "The history did not acknowledge.") from error
        if answer.refusals:
            first = answer.refusals[0]
            log.warning(
                "history_events_refused",
                count=len(answer.refusals),
                reason=first.reason,
                cause=first.message,
            )
        return len(answer.refusals)

    def close(self) -> None:
        """Give the stream up; the next batch opens another."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    async def _exchange(
        self, request: history_pb2.AppendEventsRequest
    ) -> history_pb2.AppendEventsResponse:
        if self._call is None:
            self._call = self._stub.AppendEvents()
        call = self._call
        try:
            await call.write(request)
        except asyncio.InvalidStateError:
            pass  # the stream has ended; its status tells why
        else:
            answer = await call.read()
            if answer is not grpc.aio.EOF and answer.batch_number == request.batch_number:
                return cast("history_pb2.AppendEventsResponse", answer)
        code = await call.code()
        if code is grpc.StatusCode.OK:  # the service drains, or answered for something else
            self.close()
            raise UnavailableError("HISTORY_DRAINING", "The history ended the stream.")
        raise grpc.aio.AioRpcError(
            code,
            await call.initial_metadata(),
            await call.trailing_metadata(),
            details=await call.details(),
        )
