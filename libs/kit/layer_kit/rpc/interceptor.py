"""The one server interceptor: trace, request id, deadline, errors, metrics, access log.

They are one class because each call must pass them in this order, and because every interceptor
wraps the handler once more: five wrappers cost more than the work of most of our calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
import grpc.aio
import structlog

from layer_kit.errors import LayerError
from layer_kit.rpc.calls import CallMetrics, CallRecord
from layer_kit.rpc.errors import DETAILS_KEY, INTERNAL_MESSAGE, status_code, to_status
from layer_kit.rpc.parsing import each_readable, readable, reading

log = structlog.get_logger(__name__)

DEADLINE_S_DEFAULT: Final = 60.0
"""Given to a unary call whose caller set none; no call may run without an end."""

QUIET_SERVICES: Final = ("/grpc.health.", "/grpc.reflection.")


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method of a server; see the module's text for what it adds."""

    def __init__(self, *, domain: str, calls: CallMetrics) -> None:
        self.domain = domain
        self.calls = calls
        self._handlers: dict[str, Any] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        method = handler_call_details.method
        if (known := self._handlers.get(method)) is not None:
            return known
        handler = await continuation(handler_call_details)
        if handler is None or method.startswith(QUIET_SERVICES):
            return handler
        wrap, make = (
            (self._streaming, grpc.unary_stream_rpc_method_handler)
            if handler.response_streaming and not handler.request_streaming
            else (self._streaming, grpc.stream_stream_rpc_method_handler)
            if handler.response_streaming
            else (self._single, grpc.stream_unary_rpc_method_handler)
            if handler.request_streaming
            else (self._single, grpc.unary_unary_rpc_method_handler)
        )
        inner = (
            handler.stream_stream
            or handler.unary_stream
            or handler.stream_unary
            or handler.unary_unary
        )
        wrapped = make(
            wrap(inner, method, each_readable if handler.request_streaming else readable),
            request_deserializer=reading(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )
        self._handlers[method] = wrapped  # only methods that exist come here
        return wrapped

    def _single(
        self, inner: Callable[..., Awaitable[Any]], method: str, checked: Callable[[Any], Any]
    ) -> Callable[..., Any]:
        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            async with _Call(self, method, context):
                seconds = context.time_remaining()
                async with asyncio.timeout(DEADLINE_S_DEFAULT if seconds is None else seconds):
                    return await inner(checked(request), context)

        return call

    def _streaming(
        self, inner: Callable[..., AsyncIterator[Any]], method: str, checked: Callable[[Any], Any]
    ) -> Callable[..., Any]:
        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            async with _Call(self, method, context):
                async for response in inner(checked(request), context):
                    yield response

        return call


class _Call:
    """One call in flight: context on entry, outcome on exit."""

    def __init__(
        self, owner: CallInterceptor, method: str, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        self._domain = owner.domain
        self._method = method
        self._context = context
        self._record = CallRecord(owner.calls, method)

    async def __aenter__(self) -> None:
        metadata = self._context.invocation_metadata() or ()
        carrier = {key: value for key, value in metadata if isinstance(value, str)}
        self._record.begin(carrier.get)

    async def __aexit__(self, kind: object, error: BaseException | None, _: object) -> None:
        code, reason = grpc.StatusCode.OK, None
        try:
            match error:
                case None:
                    pass
                case LayerError():
                    code, reason = status_code(error), error.reason
                    status = to_status(error, domain=self._domain)
                    details = ((DETAILS_KEY, status.SerializeToString()),)
                    await self._context.abort(code, status.message, details)
                case TimeoutError():
                    code = grpc.StatusCode.DEADLINE_EXCEEDED
                    await self._context.abort(code, "The deadline of the call passed.")
                case asyncio.CancelledError() | GeneratorExit():  # the caller is gone
                    code = grpc.StatusCode.CANCELLED
                case grpc.aio.AbortError():
                    code = grpc.StatusCode.UNKNOWN
                case _:
                    code, reason = grpc.StatusCode.INTERNAL, "INTERNAL"
                    log.error("rpc_crashed", method=self._method, exc_info=error)
                    await self._context.abort(code, INTERNAL_MESSAGE)
        finally:
            self._record.end(code, reason)
