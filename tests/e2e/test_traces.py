"""One trace through several processes, as a collector sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import grpc
import httpx
import pytest
import turbopuffer

from layer.common.v1 import common_pb2
from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer_testing.system import LocalSystem, local_system
from layer_testing.traces import Collector, Span, collecting_traces

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
HTTP_TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER_SPAN_ID = "b7ad6b7169203331"
CALL_S_MAX = 10.0


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting_traces() as running:
        yield running


@pytest.fixture(scope="module")
def traced_system(
    collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalSystem]:
    home = tmp_path_factory.mktemp("traced")
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    with local_system(home, **settings) as system:
        yield system


async def test_a_call_links_the_caller_the_gateway_and_the_cache(
    traced_system: LocalSystem, collector: Collector
) -> None:
    with turbopuffer.Turbopuffer(api_key="any", base_url=traced_system.url) as store:
        store.namespace("books").write(
            upsert_rows=[{"id": "dune", "vector": [0.1, 0.9]}], distance_metric="cosine_distance"
        )
    dune = common_pb2.DocumentId(kind=common_pb2.DOCUMENT_ID_KIND_STRING, text="dune")
    async with grpc.aio.insecure_channel(traced_system.address("gateway", "grpc")) as channel:
        await gateway_pb2_grpc.GatewayServiceStub(channel).LookupRows(
            gateway_pb2.LookupRowsRequest(namespace="books", ids=[dune]),
            metadata=(
                ("authorization", "Bearer any"),
                ("traceparent", f"00-{TRACE_ID}-{CALLER_SPAN_ID}-01"),
            ),
            timeout=CALL_S_MAX,
        )

    at_gateway = collector.wait_for(ours("layer-gateway"))
    at_cache = collector.wait_for(ours("layer-cache"))

    assert at_gateway.name == "layer.gateway.v1.GatewayService/LookupRows"
    assert at_gateway.parent_id == CALLER_SPAN_ID
    assert at_gateway.attributes["rpc.grpc.status_code"] == 0
    assert at_cache.name == "layer.cache.v1.CacheService/LookupRows"
    assert at_cache.parent_id == at_gateway.span_id


def test_an_http_request_is_a_span_of_its_own_and_taints_none_that_follows(
    traced_system: LocalSystem, collector: Collector
) -> None:
    with turbopuffer.Turbopuffer(api_key="any", base_url=traced_system.url) as store:
        store.namespace("films").write(upsert_rows=[{"id": "alien"}])
    url = f"{traced_system.url}/v2/namespaces/films/documents/alien"
    with httpx.Client(headers={"authorization": "Bearer any"}) as client:
        client.get(url, headers={"traceparent": f"00-{HTTP_TRACE_ID}-{CALLER_SPAN_ID}-01"})
        client.post(f"{traced_system.url}/v2/namespaces/films/documents", json={"ids": ["alien"]})

    at_gateway = collector.wait_for(ours("layer-gateway", HTTP_TRACE_ID))
    at_cache = collector.wait_for(ours("layer-cache", HTTP_TRACE_ID))
    next_one = collector.wait_for(lambda span: span.name == "http.fetch_many")

    assert at_gateway.name == "http.fetch_one"
    assert at_gateway.parent_id == CALLER_SPAN_ID
    assert at_gateway.attributes["http.response.status_code"] == 200
    assert at_cache.parent_id == at_gateway.span_id
    assert next_one.trace_id != HTTP_TRACE_ID


def ours(service: str, trace_id: str = TRACE_ID) -> Callable[[Span], bool]:
    return lambda span: span.trace_id == trace_id and span.service == service
