"""The gRPC service of functions: parse, call, render."""

# ruff: noqa: N802 -- the proto names the methods

from __future__ import annotations

from dataclasses import dataclass

from layer.runtime.v1 import runtime_pb2, runtime_pb2_grpc
from layer_runtime.application.candidates import Candidates
from layer_runtime.application.claiming import ClaimItems
from layer_runtime.application.comparing import CompareCandidate
from layer_runtime.application.completing import CompleteItems
from layer_runtime.application.enqueuing import EnqueueWritten
from layer_runtime.application.function_registry import FunctionRegistry
from layer_runtime.application.holding import HoldItems
from layer_runtime.application.looking_up import LookUpItems
from layer_runtime.application.promoting import PromoteCandidate
from layer_runtime.application.sweeping import SweepNamespaces
from layer_runtime.rpc.function_candidates import candidate_message, comparison_message
from layer_runtime.rpc.function_items import (
    claimed_message,
    disposition_messages,
    found_message,
    parse_failures,
    parse_keys,
    parse_references,
    parse_results,
    parse_written,
    reference_message,
)
from layer_runtime.rpc.function_pages import (
    item_token,
    page_size,
    parse_item_token,
    token_invalid,
)
from layer_runtime.rpc.function_specs import (
    function_message,
    parse_filter_bytes,
    parse_spec,
    parse_worker,
    stamp,
    status_message,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionServicer(runtime_pb2_grpc.FunctionServiceServicer):
    """Serves ``layer.runtime.v1.FunctionService``."""

    registry: FunctionRegistry
    claim_items: ClaimItems
    hold_items: HoldItems
    complete_items: CompleteItems
    look_up_items: LookUpItems
    enqueue_written: EnqueueWritten
    sweep: SweepNamespaces
    candidates: Candidates
    compare_candidate: CompareCandidate
    promote_candidate: PromoteCandidate

    async def CreateFunction(
        self, request: runtime_pb2.CreateFunctionRequest, context: object
    ) -> runtime_pb2.CreateFunctionResponse:
        spec = parse_spec(request.spec)
        if request.spec.HasField("candidate"):
            function = await self.candidates.register(
                request.function_id,
                spec,
                of=request.spec.candidate.function_id,
                outputs=request.spec.candidate.outputs,
                is_paused=request.is_paused,
            )
        else:
            function = await self.registry.create(
                request.function_id, spec, is_paused=request.is_paused
            )
        return runtime_pb2.CreateFunctionResponse(function=function_message(function))

    async def GetFunction(
        self, request: runtime_pb2.GetFunctionRequest, context: object
    ) -> runtime_pb2.GetFunctionResponse:
        status = await self.registry.status(request.function_id)
        return runtime_pb2.GetFunctionResponse(
            function=function_message(status.function), status=status_message(status)
        )

    async def ListFunctions(
        self, request: runtime_pb2.ListFunctionsRequest, context: object
    ) -> runtime_pb2.ListFunctionsResponse:
        size = page_size(request.page_size)
        if "\0" in request.page_token:
            raise token_invalid()
        found = await self.registry.page(request.page_token, size + 1)
        return runtime_pb2.ListFunctionsResponse(
            functions=[function_message(function) for function in found[:size]],
            next_page_token=found[size - 1].id if len(found) > size else "",
        )

    async def UpdateFunction(
        self, request: runtime_pb2.UpdateFunctionRequest, context: object
    ) -> runtime_pb2.UpdateFunctionResponse:
        spec = parse_spec(request.spec)
        if request.spec.HasField("candidate"):
            role = request.spec.candidate
            function = await self.candidates.put(
                request.function_id, spec, of=role.function_id, outputs=role.outputs
            )
        else:
            function = await self.registry.update(request.function_id, spec)
        return runtime_pb2.UpdateFunctionResponse(function=function_message(function))

    async def DeleteFunction(
        self, request: runtime_pb2.DeleteFunctionRequest, context: object
    ) -> runtime_pb2.DeleteFunctionResponse:
        await self.registry.delete(request.function_id)
        return runtime_pb2.DeleteFunctionResponse()

    async def GetFunctionStatus(
        self, request: runtime_pb2.GetFunctionStatusRequest, context: object
    ) -> runtime_pb2.GetFunctionStatusResponse:
        status = await self.registry.status(request.function_id)
        return runtime_pb2.GetFunctionStatusResponse(status=status_message(status))

    async def PauseFunction(
        self, request: runtime_pb2.PauseFunctionRequest, context: object
    ) -> runtime_pb2.PauseFunctionResponse:
        function = await self.registry.pause(request.function_id, request.reason)
        return runtime_pb2.PauseFunctionResponse(function=function_message(function))

    async def ResumeFunction(
        self, request: runtime_pb2.ResumeFunctionRequest, context: object
    ) -> runtime_pb2.ResumeFunctionResponse:
        function = await self.registry.resume(request.function_id)
        return runtime_pb2.ResumeFunctionResponse(function=function_message(function))

    async def ResetFailedItems(
        self, request: runtime_pb2.ResetFailedItemsRequest, context: object
    ) -> runtime_pb2.ResetFailedItemsResponse:
        count = await self.registry.reset_failed(request.function_id)
        return runtime_pb2.ResetFailedItemsResponse(updated_count=count)

    async def ListFailedItems(
        self, request: runtime_pb2.ListFailedItemsRequest, context: object
    ) -> runtime_pb2.ListFailedItemsResponse:
        size = page_size(request.page_size)
        after = parse_item_token(request.page_token)
        found = await self.registry.failed(request.function_id, after=after, limit=size + 1)
        response = runtime_pb2.ListFailedItemsResponse()
        for failed in found[:size]:
            response.items.add(
                item=reference_message(failed.key),
                message=failed.message,
                attempt_count=failed.attempts,
                fail_time=stamp(failed.failed_at_ms),
            )
        if len(found) > size:
            response.next_page_token = item_token(found[size - 1].key)
        return response

    async def DiscoverItems(
        self, request: runtime_pb2.DiscoverItemsRequest, context: object
    ) -> runtime_pb2.DiscoverItemsResponse:
        sweep = await self.sweep.discover(
            request.function_id,
            namespaces=request.namespaces,
            page_size=request.scan_page_size,
            page_count_max=request.scan_page_count_max,
            cursor=request.cursor,
        )
        return runtime_pb2.DiscoverItemsResponse(
            enqueued_count=sweep.enqueued_count,
            namespaces=sweep.namespaces,
            scanned_page_count=sweep.page_count,
            next_cursor=sweep.cursor,
        )

    async def EnqueueItems(
        self, request: runtime_pb2.EnqueueItemsRequest, context: object
    ) -> runtime_pb2.EnqueueItemsResponse:
        count = await self.enqueue_written(parse_written(request.writes))
        return runtime_pb2.EnqueueItemsResponse(enqueued_count=count)

    async def ClaimItems(
        self, request: runtime_pb2.ClaimItemsRequest, context: object
    ) -> runtime_pb2.ClaimItemsResponse:
        claims = await self.claim_items(
            request.function_id, request.worker_id, limit=request.limit, lease_s=request.lease_s
        )
        return runtime_pb2.ClaimItemsResponse(items=map(claimed_message, claims))

    async def HeartbeatItems(
        self, request: runtime_pb2.HeartbeatItemsRequest, context: object
    ) -> runtime_pb2.HeartbeatItemsResponse:
        count = await self.hold_items.heartbeat(
            request.function_id, request.worker_id, parse_references(request.items)
        )
        return runtime_pb2.HeartbeatItemsResponse(updated_count=count)

    async def CompleteItems(
        self, request: runtime_pb2.CompleteItemsRequest, context: object
    ) -> runtime_pb2.CompleteItemsResponse:
        found = await self.complete_items(
            request.function_id, request.worker_id, parse_results(request.items)
        )
        response = runtime_pb2.CompleteItemsResponse(updated_count=found.accepted_count)
        if request.with_dispositions:
            response.items.extend(disposition_messages(found.dispositions))
        return response

    async def LookupItems(
        self, request: runtime_pb2.LookupItemsRequest, context: object
    ) -> runtime_pb2.LookupItemsResponse:
        found = await self.look_up_items(request.function_id, parse_keys(request.items))
        return runtime_pb2.LookupItemsResponse(items=map(found_message, found))

    async def FailItems(
        self, request: runtime_pb2.FailItemsRequest, context: object
    ) -> runtime_pb2.FailItemsResponse:
        count = await self.hold_items.fail(
            request.function_id, request.worker_id, parse_failures(request.items)
        )
        return runtime_pb2.FailItemsResponse(updated_count=count)

    async def CreateCandidate(
        self, request: runtime_pb2.CreateCandidateRequest, context: object
    ) -> runtime_pb2.CreateCandidateResponse:
        has_filter = request.HasField("filter")
        status = await self.candidates.create(
            request.function_id,
            version=request.version,
            outputs=request.outputs,
            inputs=request.inputs,
            own_filter=parse_filter_bytes(request.filter) if has_filter else b"",
            worker=parse_worker(request.worker) if request.HasField("worker") else None,
            namespaces=request.target_namespaces,
        )
        message = candidate_message(request.function_id, status)
        return runtime_pb2.CreateCandidateResponse(candidate=message)

    async def GetCandidate(
        self, request: runtime_pb2.GetCandidateRequest, context: object
    ) -> runtime_pb2.GetCandidateResponse:
        status = await self.candidates.get(request.function_id)
        message = candidate_message(request.function_id, status)
        return runtime_pb2.GetCandidateResponse(candidate=message)

    async def DeleteCandidate(
        self, request: runtime_pb2.DeleteCandidateRequest, context: object
    ) -> runtime_pb2.DeleteCandidateResponse:
        await self.candidates.discard(request.function_id)
        return runtime_pb2.DeleteCandidateResponse()

    async def CompareCandidate(
        self, request: runtime_pb2.CompareCandidateRequest, context: object
    ) -> runtime_pb2.CompareCandidateResponse:
        found = await self.compare_candidate(
            request.function_id,
            namespace=request.namespace,
            row_count_max=request.row_count_max,
            sample_count_max=request.disagreement_count_max,
        )
        return comparison_message(found)

    async def PromoteCandidate(
        self, request: runtime_pb2.PromoteCandidateRequest, context: object
    ) -> runtime_pb2.PromoteCandidateResponse:
        count, version = await self.promote_candidate(
            request.function_id,
            is_partial_allowed=request.is_partial_allowed,
            namespaces=request.namespaces,
        )
        return runtime_pb2.PromoteCandidateResponse(promoted_row_count=count, version=version)
