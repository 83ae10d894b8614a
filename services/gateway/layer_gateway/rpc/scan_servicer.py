"""Scans over gRPC: parse, call, render."""

# ruff: noqa: N802 -- the proto names the methods

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc.aio

from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer_gateway.application.admission import Admission
from layer_gateway.application.scanning.cached_values import CountCachedValues
from layer_gateway.application.scanning.counting import CountRows
from layer_gateway.application.scanning.requests import ScanRequest
from layer_gateway.application.scanning.scan_jobs import ScanJobs
from layer_gateway.domain.access import Scope
from layer_gateway.rpc.callers import admitted
from layer_gateway.rpc.scans import (
    cached_values_response,
    cached_values_scan,
    count_response,
    job_message,
    jobs_response,
    results_place,
    results_response,
    typed_scan,
)
from layer_kit.names import parse_namespace
from layer_wire.scans import ScanMode

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanServicer(gateway_pb2_grpc.ScanServiceServicer):
    """Serves ``layer.gateway.v1.ScanService`` from the use cases of the HTTP edge."""

    admission: Admission
    count_rows: CountRows
    scan_jobs: ScanJobs
    count_cached_values: CountCachedValues

    async def CountRows(
        self, request: gateway_pb2.CountRowsRequest, context: Context
    ) -> gateway_pb2.CountRowsResponse:
        caller = await admitted(self.admission, Scope.READ, context, request.namespace)
        asked = ScanRequest(
            namespace=parse_namespace(request.namespace),
            scan=typed_scan(request.selection, ScanMode.COUNT),
            caller=caller,
        )
        return count_response(await self.count_rows(asked))

    async def StartScanJob(
        self, request: gateway_pb2.StartScanJobRequest, context: Context
    ) -> gateway_pb2.StartScanJobResponse:
        caller = await admitted(self.admission, Scope.READ, context, request.namespace)
        mode = ScanMode.VALUES if request.value_attribute else ScanMode.IDS
        asked = ScanRequest(
            namespace=parse_namespace(request.namespace),
            scan=typed_scan(request.selection, mode, request.value_attribute),
            caller=caller,
        )
        return gateway_pb2.StartScanJobResponse(job=job_message(await self.scan_jobs.start(asked)))

    async def GetScanJob(
        self, request: gateway_pb2.GetScanJobRequest, context: Context
    ) -> gateway_pb2.GetScanJobResponse:
        caller = await admitted(self.admission, Scope.READ, context, request.namespace)
        namespace = parse_namespace(request.namespace)
        job = await self.scan_jobs.get(namespace, request.job_id, caller)
        return gateway_pb2.GetScanJobResponse(job=job_message(job))

    async def ListScanJobs(
        self, request: gateway_pb2.ListScanJobsRequest, context: Context
    ) -> gateway_pb2.ListScanJobsResponse:
        caller = await admitted(self.admission, Scope.READ, context, request.namespace)
        jobs = await self.scan_jobs.list(parse_namespace(request.namespace), caller)
        return jobs_response(request, jobs)

    async def ReadScanResults(
        self, request: gateway_pb2.ReadScanResultsRequest, context: Context
    ) -> gateway_pb2.ReadScanResultsResponse:
        await admitted(self.admission, Scope.READ, context, request.namespace)
        offset, limit = results_place(request)
        page = await self.scan_jobs.results(
            parse_namespace(request.namespace), request.job_id, offset=offset, limit=limit
        )
        return results_response(page)

    async def CountCachedValues(
        self, request: gateway_pb2.CountCachedValuesRequest, context: Context
    ) -> gateway_pb2.CountCachedValuesResponse:
        caller = await admitted(self.admission, Scope.READ, context, request.namespace)
        asked = ScanRequest(
            namespace=parse_namespace(request.namespace),
            scan=cached_values_scan(request),
            caller=caller,
        )
        return cached_values_response(await self.count_cached_values(asked))

    async def DeleteScanJob(
        self, request: gateway_pb2.DeleteScanJobRequest, context: Context
    ) -> gateway_pb2.DeleteScanJobResponse:
        await admitted(self.admission, Scope.WRITE, context, request.namespace)
        await self.scan_jobs.delete(parse_namespace(request.namespace), request.job_id)
        return gateway_pb2.DeleteScanJobResponse()
