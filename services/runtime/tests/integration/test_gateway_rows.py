"""Rows by way of a gateway whose namespaces have labels, as indexes are configured with."""

from __future__ import annotations

import time
from typing import Any, Final

import grpc.aio
import pytest

from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer_runtime.adapters.gateway_rows import GatewayRows
from layer_runtime.domain.selectors import IndexSelector, LabelOperator, Requirement

pytestmark = pytest.mark.asyncio

LABELS: Final = {
    "both": {"team": "search", "tier": "gold"},
    "one": {"team": "search"},
    "other": {"team": "ads", "tier": "gold"},
    "none": {},
    "more": {"team": "search", "tier": "gold", "zone": "eu"},
}


async def list_namespaces(request: gateway_pb2.ListNamespacesRequest, _: Any) -> Any:
    """Answer a page of one namespace."""
    at = int(request.page_token or 0)
    name = list(LABELS)[at]
    return gateway_pb2.ListNamespacesResponse(
        namespaces=[gateway_pb2.Namespace(name=name, labels=LABELS[name])],
        next_page_token=str(at + 1) if at + 1 < len(LABELS) else "",
    )


async def test_an_index_selector_finds_the_namespaces_that_have_all_of_its_labels() -> None:
    handler = grpc.unary_unary_rpc_method_handler(
        list_namespaces,
        request_deserializer=gateway_pb2.ListNamespacesRequest.FromString,
        response_serializer=gateway_pb2.ListNamespacesResponse.SerializeToString,
    )
    service = gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"].full_name
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service, {"ListNamespaces": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = gateway_pb2_grpc.GatewayServiceStub(channel)
            rows = GatewayRows(stub=stub, key="k", monotonic=time.monotonic)
            gold = IndexSelector(labels={"team": "search", "tier": "gold"})
            assert await rows.labelled(gold) == ["both", "more"]
            no_zone = Requirement(key="zone", operator=LabelOperator.DOES_NOT_EXIST)
            elsewhere = IndexSelector(labels=gold.labels, requirements=(no_zone,))
            assert await rows.labelled(elsewhere) == ["both"]
            assert await rows.labelled(IndexSelector(labels={"team": "nobody"})) == []
    finally:
        await server.stop(None)
