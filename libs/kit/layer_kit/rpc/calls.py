"""What is kept of every call that is served: its trace, its request id, its end, its time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

import grpc
import structlog
from opentelemetry import context as otel_context
from opentelemetry import trace
from prometheus_client import CollectorRegistry, Histogram

from layer_kit.rpc.context import REQUEST_ID_HEADER, accept_request_id, incoming_trace, request_id
from layer_kit.telemetry.metrics import SECONDS_BUCKETS
from layer_kit.telemetry.traces import is_exporting

log = structlog.get_logger(__name__)
tracer = trace.get_tracer(__name__)

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


class CallMetrics:
    """Counts the calls of one process, whichever of its servers they came to."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._level: int = log.bind().get_effective_level()
        self._seconds = Histogram(
            "layer_rpc_server_seconds",
            "Time to serve a call, by method and status code.",
            ["method", "code"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._children: dict[tuple[str, grpc.StatusCode], Histogram] = {}

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


class CallRecord:
    """One call in flight, from its metadata to its outcome."""

    def __init__(self, metrics: CallMetrics, method: str) -> None:
        self._metrics = metrics
        self._method = method
        self._started = time.perf_counter()
        self._span: trace.Span = trace.INVALID_SPAN

    def begin(self, field: Callable[[str], str | None]) -> None:
        """Bind what came with the call to the current context.

        Args:
            field: Returns a value of its metadata by its name.
        """
        identifier = accept_request_id(field(REQUEST_ID_HEADER))
        request_id.set(identifier)
        structlog.contextvars.bind_contextvars(request_id=identifier)
        parent = incoming_trace(field)
        if parent is None and not is_exporting():
            return
        if parent is not None:
            otel_context.attach(parent)
        self._span = tracer.start_span(self._method.lstrip("/"), kind=trace.SpanKind.SERVER)
        otel_context.attach(trace.set_span_in_context(self._span))
        trace_id = self._span.get_span_context().trace_id
        if trace_id:
            structlog.contextvars.bind_contextvars(trace_id=trace.format_trace_id(trace_id))

    def end(self, code: grpc.StatusCode, reason: str | None) -> None:
        """Tell how the call ended."""
        if self._span is not trace.INVALID_SPAN:
            self._end_span(code)
        seconds = time.perf_counter() - self._started
        self._metrics.observe(self._method, code, seconds)
        level = logging.DEBUG if code is grpc.StatusCode.OK else logging.INFO
        if self._metrics.logs(level):
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
