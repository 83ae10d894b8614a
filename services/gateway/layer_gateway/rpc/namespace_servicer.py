"""Namespaces over gRPC: parse, call, render."""

# ruff: noqa: N802 -- the proto names the methods

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc.aio

from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer_gateway.application.admission import Admission
from layer_gateway.application.hinting import WarmCaches
from layer_gateway.application.initialising import InitNamespace
from layer_gateway.application.listings import NamespacePage
from layer_gateway.application.migrating import MigrateNamespace
from layer_gateway.application.namespaces import Namespaces
from layer_gateway.application.refusals import accepted, refusal
from layer_gateway.application.warm_jobs import PAGE_SIZE_DEFAULT, WarmJobs
from layer_gateway.application.writing import WriteRows
from layer_gateway.domain.access import Scope
from layer_gateway.rpc.callers import admitted
from layer_gateway.rpc.counting import DESCRIBE, LIST, WRITE, CallMetrics, counted
from layer_gateway.rpc.hinting import hint_of, warm_response
from layer_gateway.rpc.namespaces import (
    described,
    layer_message,
    list_query,
    list_response,
    migration_response,
)
from layer_gateway.rpc.warming import job_message, jobs_response
from layer_gateway.rpc.writing import copy_body, copy_response
from layer_kit.names import parse_namespace

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceMethods(gateway_pb2_grpc.GatewayServiceServicer):
    """The methods of ``GatewayService`` that look after whole namespaces."""

    admission: Admission
    write_rows: WriteRows
    namespaces: Namespaces
    init_namespace: InitNamespace
    migrate_namespace: MigrateNamespace
    warm_jobs: WarmJobs
    warm_caches: WarmCaches
    metrics: CallMetrics

    @counted(LIST)
    async def ListNamespaces(
        self, request: gateway_pb2.ListNamespacesRequest, context: Context
    ) -> gateway_pb2.ListNamespacesResponse:
        caller = await admitted(self.admission, Scope.READ, context, None)
        page = await self.namespaces.page(list_query(request), caller)
        if not isinstance(page, NamespacePage):
            raise refusal(page)
        return list_response(page)

    @counted(DESCRIBE)
    async def GetNamespace(
        self, request: gateway_pb2.GetNamespaceRequest, context: Context
    ) -> gateway_pb2.GetNamespaceResponse:
        caller = await admitted(self.admission, Scope.READ, context, request.namespace)
        namespace = parse_namespace(request.namespace)
        found = await self.namespaces.describe(namespace, caller)
        if not isinstance(found, dict):
            raise refusal(found, namespace)
        warmth = self.namespaces.states.of(namespace)
        message = described(namespace, found, warmth, self.namespaces.labels.of(namespace))
        return gateway_pb2.GetNamespaceResponse(namespace=message)

    async def InitNamespace(
        self, request: gateway_pb2.InitNamespaceRequest, context: Context
    ) -> gateway_pb2.InitNamespaceResponse:
        caller = await admitted(self.admission, Scope.WRITE, context, request.namespace)
        layer = await self.init_namespace(
            parse_namespace(request.namespace),
            schema_version=request.schema_version or 1,
            shard_count=request.shard_count or None,
            caller=caller,
        )
        return gateway_pb2.InitNamespaceResponse(layer=layer_message(layer))

    async def MigrateShards(
        self, request: gateway_pb2.MigrateShardsRequest, context: Context
    ) -> gateway_pb2.MigrateShardsResponse:
        caller = await admitted(self.admission, Scope.WRITE, context, request.namespace)
        manifest = await self.migrate_namespace(
            parse_namespace(request.namespace), request.shard_count or None, caller
        )
        return migration_response(manifest)

    @counted(WRITE)
    async def CopyNamespace(
        self, request: gateway_pb2.CopyNamespaceRequest, context: Context
    ) -> gateway_pb2.CopyNamespaceResponse:
        caller = await admitted(self.admission, Scope.WRITE, context, request.namespace)
        namespace = parse_namespace(request.namespace)
        answer = await self.write_rows(namespace, copy_body(request), caller)
        return copy_response(accepted(answer, parse_namespace(request.source_namespace)))

    async def DeleteNamespace(
        self, request: gateway_pb2.DeleteNamespaceRequest, context: Context
    ) -> gateway_pb2.DeleteNamespaceResponse:
        caller = await admitted(self.admission, Scope.WRITE, context, request.namespace)
        await self.namespaces.delete(parse_namespace(request.namespace), caller)
        return gateway_pb2.DeleteNamespaceResponse()

    async def StartWarmJob(
        self, request: gateway_pb2.StartWarmJobRequest, context: Context
    ) -> gateway_pb2.StartWarmJobResponse:
        caller = await admitted(self.admission, Scope.WRITE, context, request.namespace)
        job = await self.warm_jobs.start(
            parse_namespace(request.namespace),
            caller,
            page_size=request.page_size or PAGE_SIZE_DEFAULT,
        )
        return gateway_pb2.StartWarmJobResponse(job=job_message(job))

    async def GetWarmJob(
        self, request: gateway_pb2.GetWarmJobRequest, context: Context
    ) -> gateway_pb2.GetWarmJobResponse:
        await admitted(self.admission, Scope.READ, context, request.namespace)
        job = await self.warm_jobs.get(parse_namespace(request.namespace), request.job_id)
        return gateway_pb2.GetWarmJobResponse(job=job_message(job))

    async def ListWarmJobs(
        self, request: gateway_pb2.ListWarmJobsRequest, context: Context
    ) -> gateway_pb2.ListWarmJobsResponse:
        await admitted(self.admission, Scope.READ, context, request.namespace)
        return jobs_response(request, await self.warm_jobs.list(parse_namespace(request.namespace)))

    async def WarmCaches(
        self, request: gateway_pb2.WarmCachesRequest, context: Context
    ) -> gateway_pb2.WarmCachesResponse:
        caller = await admitted(self.admission, Scope.READ, context, request.namespace)
        namespace = parse_namespace(request.namespace)
        return warm_response(await self.warm_caches(namespace, hint_of(request), caller))
