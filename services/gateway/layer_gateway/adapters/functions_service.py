"""The runtime service as the place of functions, in the contract's words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from layer.runtime.v1 import runtime_pb2, runtime_pb2_grpc
from layer_gateway.adapters.function_candidates import (
    candidate_json,
    candidate_message,
    comparison_json,
)
from layer_gateway.adapters.function_items import (
    claimed_json,
    completed_messages,
    disposition_json,
    failure_messages,
    found_json,
    reference,
    reference_json,
)
from layer_gateway.adapters.function_specs import (
    function_json,
    rfc3339,
    spec_message,
    status_json,
)
from layer_gateway.adapters.no_functions import off
from layer_kit.errors import ConflictError, PreconditionError, UnsupportedError
from layer_kit.rpc.client import invoke
from layer_wire import functions as wire

Json = dict[str, object]
Response = TypeVar("Response")

LIST_PAGE_SIZE: Final = 1000
ALL_PAGES: Final = 100_000
CLAIM_LIMIT_MAX: Final = 1000
SLOW_CALL_S_MAX: Final = 300.0
"""Of calls that read namespaces: sweeps, comparisons, promotions."""


class FunctionsService:
    """Asks the service, and renders what it answers as the routes of functions do."""

    def __init__(self, stub: runtime_pb2_grpc.FunctionServiceStub, *, timeout_s: float) -> None:
        self._stub = stub
        self._timeout_s = timeout_s

    async def create(self, body: wire.CreateUdf) -> Json:
        request = runtime_pb2.CreateFunctionRequest(
            function_id=body.id, spec=spec_message(body.spec), is_paused=bool(body.paused)
        )
        return function_json((await self._call(self._stub.CreateFunction, request)).function)

    async def put(self, function_id: str, spec: wire.UdfSpec) -> Json:
        request = runtime_pb2.UpdateFunctionRequest(
            function_id=function_id, spec=spec_message(spec)
        )
        return function_json((await self._call(self._stub.UpdateFunction, request)).function)

    async def list(self) -> Json:
        request = runtime_pb2.ListFunctionsRequest(page_size=LIST_PAGE_SIZE)
        found: list[Json] = []
        while True:
            page = await self._call(self._stub.ListFunctions, request)
            found += [function_json(function) for function in page.functions]
            if not page.next_page_token:
                return {"udfs": found}
            request.page_token = page.next_page_token

    async def get(self, function_id: str) -> Json:
        request = runtime_pb2.GetFunctionRequest(function_id=function_id)
        found = await self._call(self._stub.GetFunction, request)
        return {
            "udf": function_json(found.function),
            "status": status_json(function_id, found.status),
        }

    async def status(self, function_id: str) -> Json:
        request = runtime_pb2.GetFunctionStatusRequest(function_id=function_id)
        found = await self._call(self._stub.GetFunctionStatus, request)
        return status_json(function_id, found.status)

    async def delete(self, function_id: str) -> None:
        request = runtime_pb2.DeleteFunctionRequest(function_id=function_id)
        await self._call(self._stub.DeleteFunction, request)

    async def pause(self, function_id: str, reason: str) -> Json:
        request = runtime_pb2.PauseFunctionRequest(function_id=function_id, reason=reason)
        return function_json((await self._call(self._stub.PauseFunction, request)).function)

    async def resume(self, function_id: str) -> Json:
        request = runtime_pb2.ResumeFunctionRequest(function_id=function_id)
        return function_json((await self._call(self._stub.ResumeFunction, request)).function)

    async def reset_failed(self, function_id: str) -> Json:
        request = runtime_pb2.ResetFailedItemsRequest(function_id=function_id)
        found = await self._call(self._stub.ResetFailedItems, request)
        return _updated(function_id, found.updated_count)

    async def failed_items(self, function_id: str, *, limit: int, page_token: str) -> Json:
        request = runtime_pb2.ListFailedItemsRequest(
            function_id=function_id, page_size=limit, page_token=page_token
        )
        found = await self._call(self._stub.ListFailedItems, request)
        return {
            "udf_id": function_id,
            "items": [
                {
                    **reference_json(failed.item),
                    "message": failed.message,
                    "attempts": failed.attempt_count,
                    "failed_at": rfc3339(failed.fail_time),
                }
                for failed in found.items
            ],
            "next_cursor": found.next_page_token or None,
        }

    async def discover(self, function_id: str, body: wire.Discover) -> Json:
        is_in_parts = body.max_pages is not None or body.cursor is not None
        request = runtime_pb2.DiscoverItemsRequest(
            function_id=function_id,
            namespaces=body.namespaces or (),
            scan_page_size=body.page_size or wire.PAGE_SIZE_DEFAULT,
            scan_page_count_max=(body.max_pages or 0) if is_in_parts else ALL_PAGES,
            cursor=body.cursor or "",
        )
        found = await self._call(self._stub.DiscoverItems, request, timeout_s=SLOW_CALL_S_MAX)
        return {
            "udf_id": function_id,
            "enqueued": found.enqueued_count,
            "namespaces": list(found.namespaces),
            "pages_scanned": found.scanned_page_count,
            "next_cursor": found.next_cursor or None,
            "complete": not found.next_cursor,
        }

    async def claim(self, function_id: str, body: wire.Claim) -> Json:
        request = runtime_pb2.ClaimItemsRequest(
            function_id=function_id,
            worker_id=body.worker_id,
            limit=min(body.limit or wire.CLAIM_LIMIT_DEFAULT, CLAIM_LIMIT_MAX),
            lease_s=body.lease_seconds or 0,
        )
        found = await self._call(self._stub.ClaimItems, request)
        return {
            "udf_id": function_id,
            "worker_id": body.worker_id,
            "items": claimed_json(found.items),
        }

    async def heartbeat(self, function_id: str, body: wire.Heartbeat) -> Json:
        if not body.items:
            return _updated(function_id, 0)
        request = runtime_pb2.HeartbeatItemsRequest(
            function_id=function_id,
            worker_id=body.worker_id,
            items=[reference(item) for item in body.items],
        )
        found = await self._call(self._stub.HeartbeatItems, request)
        return _updated(function_id, found.updated_count)

    async def complete(self, function_id: str, body: wire.Complete) -> Json:
        request = runtime_pb2.CompleteItemsRequest(
            function_id=function_id,
            worker_id=body.worker_id,
            items=completed_messages(body.items),
            with_dispositions=bool(body.report_dispositions),
        )
        found = runtime_pb2.CompleteItemsResponse()
        if body.items:
            found = await self._call(self._stub.CompleteItems, request)
        answer = _updated(function_id, found.updated_count)
        if body.report_dispositions:
            answer["items"] = disposition_json(found.items)
        return answer

    async def look_up(self, function_id: str, body: wire.Lookup) -> Json:
        request = runtime_pb2.LookupItemsRequest(
            function_id=function_id, items=[reference(item) for item in body.items]
        )
        found = runtime_pb2.LookupItemsResponse()
        if body.items:
            found = await self._call(self._stub.LookupItems, request)
        return {"udf_id": function_id, "items": found_json(found.items)}

    async def fail(self, function_id: str, body: wire.Fail) -> Json:
        if not body.items:
            return _updated(function_id, 0)
        request = runtime_pb2.FailItemsRequest(
            function_id=function_id,
            worker_id=body.worker_id,
            items=failure_messages(body.items),
        )
        found = await self._call(self._stub.FailItems, request)
        return _updated(function_id, found.updated_count)

    async def create_candidate(self, function_id: str, body: wire.CreateCandidate) -> Json:
        request = candidate_message(function_id, body)
        return candidate_json((await self._call(self._stub.CreateCandidate, request)).candidate)

    async def candidate(self, function_id: str) -> Json:
        request = runtime_pb2.GetCandidateRequest(function_id=function_id)
        return candidate_json((await self._call(self._stub.GetCandidate, request)).candidate)

    async def delete_candidate(self, function_id: str) -> None:
        request = runtime_pb2.DeleteCandidateRequest(function_id=function_id)
        await self._call(self._stub.DeleteCandidate, request, timeout_s=SLOW_CALL_S_MAX)

    async def compare_candidate(self, function_id: str, wanted: wire.Compare) -> Json:
        request = runtime_pb2.CompareCandidateRequest(
            function_id=function_id,
            namespace=wanted.namespace,
            row_count_max=wanted.max_rows,
            disagreement_count_max=wanted.sample or -1,
        )
        found = await self._call(self._stub.CompareCandidate, request, timeout_s=SLOW_CALL_S_MAX)
        return comparison_json(function_id, found)

    async def promote_candidate(self, function_id: str, body: wire.PromoteCandidate) -> Json:
        request = runtime_pb2.PromoteCandidateRequest(
            function_id=function_id,
            is_partial_allowed=bool(body.allow_partial),
            namespaces=body.namespaces or (),
        )
        try:
            found = await self._call(
                self._stub.PromoteCandidate, request, timeout_s=SLOW_CALL_S_MAX
            )
        except PreconditionError as error:  # which HTTP answers as a conflict
            raise ConflictError(error.reason, error.message) from error
        return {
            "udf_id": function_id,
            "promoted_rows": found.promoted_row_count,
            "version": found.version,
        }

    async def _call(
        self,
        method: Callable[..., Awaitable[Response]],
        request: object,
        *,
        timeout_s: float | None = None,
    ) -> Response:
        try:
            return await invoke(method, request, timeout_s=timeout_s or self._timeout_s)
        except UnsupportedError as error:  # the service runs without a database
            raise off() from error


def _updated(function_id: str, count: int) -> Json:
    return {"udf_id": function_id, "updated": count}
