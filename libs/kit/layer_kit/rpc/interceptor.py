"""The one server interceptor: trace, request id, deadline, errors, metrics, access log.

They are one class because each call must pass them in this order, and because every interceptor
wraps the handler once more: five wrappers cost more than the work of most of our calls.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
import grpc.aio
import structlog
from opentelemetry import context as otel_context
from opentelemetry import trace
from prometheus_client import CollectorRegistry, Histogram

from layer_kit.errors import LayerError
from layer_kit.rpc.context import REQUEST_ID_HEADER, accept_request_id, incoming_trace, request_id
from layer_kit.rpc.errors import DETAILS_KEY, INTERNAL_MESSAGE, status_code, to_status
from layer_kit.rpc.parsing import each_readable, readable, reading
from layer_kit.telemetry.metrics import SECONDS_BUCKETS
from layer_kit.telemetry.traces import is_exporting

log = structlog.get_logger(__name__)
tracer = trace.get_tracer(__name__)

DEADLINE_S_DEFAULT: Final = 60.0
"""Given to a unary call whose caller set none; no call may run without an end."""

SERVER_FAULTS: Final = frozenset(
    {
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNKNOWN,
    }
)
"""Codes that mark a server's span as failed, by OpenTelemetry's conventions."""

QUIET_SERVICES: Final = ("/grpc.health.", "/grpc.reflection.")


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method of a server; see the module's text for what it adds."""

    def __init__(self, *, domain: str, registry: CollectorRegistry) -> None:
        self._domain = domain
        self._level: int = log.bind().get_effective_level()
        self._seconds = Histogram(
            "layer_rpc_server_seconds",
            "Time to serve a call, by method and status code.",
            ["method", "code"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._children: dict[tuple[str, grpc.StatusCode], Histogram] = {}
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

    def observe(self, method: str, code: grpc.StatusCode, seconds: float) -> None:
        """Count one finished call."""
        child = self._children.get((method, code))
        if child is None:
            child = self._seconds.labels(method=method, code=code.name)
            self._children[method, code] = child
        child.observe(seconds)

    def logs(self, level: int) -> bool:
        """Tell whether events of ``level`` are logged."""
        return level >= self._level

    @property
    def domain(self) -> str:
        return self._domain


class _Call:
    """One call in flight: context on entry, outcome on exit."""

    def __init__(
        self, owner: CallInterceptor, method: str, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        self._owner = owner
        self._method = method
        self._context = context
        self._started = time.perf_counter()
        self._span: trace.Span = trace.INVALID_SPAN

    async def __aenter__(self) -> None:
        metadata = self._context.invocation_metadata() or ()
        carrier = {key: value for key, value in metadata if isinstance(value, str)}
        identifier = accept_request_id(carrier.get(REQUEST_ID_HEADER))
        request_id.set(identifier)
        structlog.contextvars.bind_contextvars(request_id=identifier)
        parent = incoming_trace(carrier.get)
        if parent is None and not is_exporting():
            return
        if parent is not None:
            otel_context.attach(parent)
        self._span = tracer.start_span(self._method.lstrip("/"), kind=trace.SpanKind.SERVER)
        otel_context.attach(trace.set_span_in_context(self._span))
        trace_id = self._span.get_span_context().trace_id
        if trace_id:
            structlog.contextvars.bind_contextvars(trace_id=trace.format_trace_id(trace_id))

    async def __aexit__(self, kind: object, error: BaseException | None, _: object) -> None:
        code, reason = grpc.StatusCode.OK, None
        try:
            match error:
                case None:
                    pass
                case LayerError():
                    code, reason = status_code(error), error.reason
                    status = to_status(error, domain=self._owner.domain)
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
            if self._span is not trace.INVALID_SPAN:
                self._end_span(code)
            seconds = time.perf_counter() - self._started
            self._owner.observe(self._method, code, seconds)
            level = logging.DEBUG if code is grpc.StatusCode.OK else logging.INFO
            if self._owner.logs(level):
                log.log(
                    level,
                    "rpc_finished",
                    method=self._method,
                    code=code.name,
                    reason=reason,
                    total_ms=round(seconds * 1000, 3),
                )

    def _end_span(self, code: grpc.StatusCode) -> None:
        self._span.set_attribute("rpc.grpc.status_code", code.value[0])
        if code in SERVER_FAULTS:
            self._span.set_status(trace.StatusCode.ERROR)
        self._span.end()
