"""Traces over OTLP, switched on by the standard environment variables alone.

Without ``OTEL_EXPORTER_OTLP_ENDPOINT`` no SDK is loaded: the API's no-op tracer still carries an
incoming W3C context along, so the trace id stays in logs and reaches the next service.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context

tracer = trace.get_tracer(__name__)

FLUSH_S_MAX: Final = 3.0
"""How long the end of a process waits for its last spans; a collector that is away gets none."""

_is_exporting = False  # asking the API for its provider would read the environment each time

ENDPOINT_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def configure_traces(*, service: str) -> Callable[[], None]:
    """Start exporting spans if the environment asks for it; return the flush for shutdown."""
    if not any(os.environ.get(name) for name in ENDPOINT_VARIABLES):
        return lambda: None
    # Imported here: the exporter costs a tenth of a second that most local starts need not pay.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    global _is_exporting  # noqa: PLW0603 -- the provider it tells of is a global, too
    exporter = OTLPSpanExporter()
    provider = TracerProvider(
        resource=Resource.create({"service.name": f"layer-{service}"}), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    _is_exporting = True

    def flush() -> None:
        # The SDK waits for ten seconds and more, which would outlast an orchestrator's patience.
        flushing = threading.Thread(target=provider.shutdown, daemon=True)
        flushing.start()
        flushing.join(FLUSH_S_MAX)
        exporter.shutdown(timeout_millis=0)  # breaks off what still waits for the collector
        flushing.join(FLUSH_S_MAX)

    return flush


def is_exporting() -> bool:
    """Tell whether spans of this process go anywhere."""
    return _is_exporting


def is_recorded() -> bool:
    """Tell whether what is done now belongs to a trace that someone keeps."""
    # The context is empty for most requests, and quicker to look at than a span.
    return bool(otel_context.get_current()) and (
        trace.get_current_span().get_span_context().trace_flags.sampled
    )


@contextmanager
def server_span(name: str, parent: Context | None) -> Iterator[trace.Span]:
    """Serve a request within a span of its own, under the ``parent`` that it arrived with.

    Without an exporter the parent alone is carried along. Nothing of either outlives the block,
    since one task serves all requests of a kept-alive connection.
    """
    if parent is None and not is_exporting():
        yield trace.INVALID_SPAN
        return
    token = otel_context.attach(parent if parent is not None else Context())
    span = tracer.start_span(name, kind=trace.SpanKind.SERVER)
    within = otel_context.attach(trace.set_span_in_context(span))
    try:
        yield span
    finally:
        span.end()
        otel_context.detach(within)
        otel_context.detach(token)
