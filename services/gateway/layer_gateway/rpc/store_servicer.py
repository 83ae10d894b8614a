"""Vector stores over gRPC: parse, call, render."""

# ruff: noqa: N802 -- the proto names the methods

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc.aio

from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer_gateway.application.admission import Admission
from layer_gateway.application.stores import DescribeStores
from layer_gateway.domain.access import Scope
from layer_gateway.rpc.callers import admitted
from layer_gateway.rpc.stores import capabilities_response, store_message, stores_response
from layer_kit.errors import InvalidRequestError
from layer_kit.names import parse_namespace

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorStoreServicer(gateway_pb2_grpc.VectorStoreServiceServicer):
    """Serves ``layer.gateway.v1.VectorStoreService`` from the use case of the HTTP edge."""

    admission: Admission
    describe_stores: DescribeStores

    async def ListVectorStores(
        self, request: gateway_pb2.ListVectorStoresRequest, context: Context
    ) -> gateway_pb2.ListVectorStoresResponse:
        await admitted(self.admission, Scope.READ, context, None)
        return stores_response(request, self.describe_stores.all())

    async def GetVectorStore(
        self, request: gateway_pb2.GetVectorStoreRequest, context: Context
    ) -> gateway_pb2.GetVectorStoreResponse:
        await admitted(self.admission, Scope.READ, context, None)
        found = self.describe_stores.named(request.name)
        return gateway_pb2.GetVectorStoreResponse(vector_store=store_message(found))

    async def GetCapabilities(
        self, request: gateway_pb2.GetCapabilitiesRequest, context: Context
    ) -> gateway_pb2.GetCapabilitiesResponse:
        await admitted(self.admission, Scope.READ, context, None)
        match request.WhichOneof("subject"):
            case "vector_store":
                found = self.describe_stores.capabilities_of(request.vector_store)
            case "namespace":
                namespace = parse_namespace(request.namespace)
                found = self.describe_stores.capabilities_for(namespace)
            case _:
                raise InvalidRequestError(
                    "SUBJECT_MISSING", "One of vector_store and namespace is to be set."
                )
        return capabilities_response(found)
