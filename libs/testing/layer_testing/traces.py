"""A collector of traces in the running test, as services export to it by OTLP over gRPC."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

SPAN_WAIT_S_MAX: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One span as it arrived; ids are hexadecimal, ``parent_id`` is empty for a root."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]


class Collector:
    """What has arrived. Made by :func:`collecting_traces`."""

    def __init__(self) -> None:
        self.endpoint = ""
        self._spans: list[Span] = []
        self._arrivals: queue.SimpleQueue[list[Span]] = queue.SimpleQueue()

    def wait_for(self, matches: Callable[[Span], bool]) -> Span:
        """Return the first span that matches, waiting for it if need be.

        Raises:
            TimeoutError: After ``SPAN_WAIT_S_MAX`` seconds; the message names what did arrive.
        """
        deadline_s = time.monotonic() + SPAN_WAIT_S_MAX
        while True:
            if (found := next(filter(matches, self._spans), None)) is not None:
                return found
            try:
                self._spans += self._arrivals.get(timeout=max(0, deadline_s - time.monotonic()))
            except queue.Empty:
                names = sorted({f"{span.service}: {span.name}" for span in self._spans})
                raise TimeoutError(f"no such span among {names}") from None

    def receive(
        self, request: trace_service_pb2.ExportTraceServiceRequest, _context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        """Keep the spans of one export."""
        self._arrivals.put(
            [
                Span(
                    service=_values(group.resource.attributes)["service.name"],
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    attributes=_values(span.attributes),
                )
                for group in request.resource_spans
                for scope in group.scope_spans
                for span in scope.spans
            ]
        )
        return trace_service_pb2.ExportTraceServiceResponse()


@contextmanager
def collecting_traces() -> Iterator[Collector]:
    """Run a collector; its ``endpoint`` is what ``OTEL_EXPORTER_OTLP_ENDPOINT`` takes."""
    collector = Collector()
    servicer: Any = trace_service_pb2_grpc.TraceServiceServicer()
    servicer.Export = collector.receive
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    register: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
    register(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    collector.endpoint = f"http://127.0.0.1:{port}"
    try:
        yield collector
    finally:
        server.stop(grace=None).wait()


def _values(attributes: Any) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value")
        for each in attributes
    }
