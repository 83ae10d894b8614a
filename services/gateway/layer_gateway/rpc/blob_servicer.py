"""Blobs over gRPC: parse, call, render."""

# ruff: noqa: N802 -- the proto names the methods

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc.aio

from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer_gateway.application.admission import Admission
from layer_gateway.application.blobs import Blobs, blob_reference
from layer_gateway.domain.access import Scope
from layer_gateway.rpc.callers import admitted
from layer_kit.names import parse_namespace

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobServicer(gateway_pb2_grpc.BlobServiceServicer):
    """Serves ``layer.gateway.v1.BlobService`` from the use case of the HTTP edge."""

    admission: Admission
    blobs: Blobs

    async def PutBlob(
        self, request: gateway_pb2.PutBlobRequest, context: Context
    ) -> gateway_pb2.PutBlobResponse:
        await admitted(self.admission, Scope.WRITE, context, request.namespace)
        namespace = parse_namespace(request.namespace)
        kept = await self.blobs.put(namespace, request.body, is_warm=request.is_warm)
        return gateway_pb2.PutBlobResponse(
            reference=blob_reference(namespace, kept.sha256),
            sha256=kept.sha256,
            size_bytes=kept.size_bytes,
        )

    async def GetBlob(
        self, request: gateway_pb2.GetBlobRequest, context: Context
    ) -> gateway_pb2.GetBlobResponse:
        await admitted(self.admission, Scope.READ, context, request.namespace)
        read = self.blobs.describe if request.without_body else self.blobs.get
        found = await read(parse_namespace(request.namespace), request.sha256)
        return gateway_pb2.GetBlobResponse(
            body=found.body, content_type=found.content_type, size_bytes=found.size_bytes
        )
