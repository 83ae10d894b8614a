"""Calls about functions by gRPC, to the runtime itself, in the words that HTTP has for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc.aio

from layer.runtime.v1 import runtime_pb2, runtime_pb2_grpc
from layer_kit.rpc.errors import from_rpc_error
from layer_messages.values import plain_json
from layer_testing.function_calls import Json, RefusedError
from layer_testing.function_messages import (
    candidate_json,
    claimed_json,
    found_json,
    function_json,
    key_json,
    reference_message,
    result_message,
    spec_message,
    status_json,
    word,
)

CALL_S_MAX: Final = 30.0
ALL_PAGES: Final = 100_000


@dataclass(frozen=True, slots=True)
class GrpcFunctionCalls:
    """Calls of ``layer.runtime.v1.FunctionService``."""

    channel: grpc.aio.Channel

    async def create(self, function_id: str, spec: Mapping[str, Any], *, paused: bool) -> Json:
        request = runtime_pb2.CreateFunctionRequest(
            function_id=function_id, spec=spec_message(spec), is_paused=paused
        )
        return function_json((await self._call("CreateFunction", request)).function)

    async def put(self, function_id: str, spec: Mapping[str, Any]) -> Json:
        request = runtime_pb2.UpdateFunctionRequest(
            function_id=function_id, spec=spec_message(spec)
        )
        return function_json((await self._call("UpdateFunction", request)).function)

    async def get(self, function_id: str) -> Json:
        request = runtime_pb2.GetFunctionRequest(function_id=function_id)
        found = await self._call("GetFunction", request)
        return {
            "udf": function_json(found.function),
            "status": status_json(function_id, found.status),
        }

    async def delete(self, function_id: str) -> None:
        request = runtime_pb2.DeleteFunctionRequest(function_id=function_id)
        await self._call("DeleteFunction", request)

    async def status(self, function_id: str) -> Json:
        request = runtime_pb2.GetFunctionStatusRequest(function_id=function_id)
        return status_json(function_id, (await self._call("GetFunctionStatus", request)).status)

    async def pause(self, function_id: str, reason: str = "") -> Json:
        request = runtime_pb2.PauseFunctionRequest(function_id=function_id, reason=reason)
        return function_json((await self._call("PauseFunction", request)).function)

    async def resume(self, function_id: str) -> Json:
        request = runtime_pb2.ResumeFunctionRequest(function_id=function_id)
        return function_json((await self._call("ResumeFunction", request)).function)

    async def reset_failed(self, function_id: str) -> int:
        request = runtime_pb2.ResetFailedItemsRequest(function_id=function_id)
        return int((await self._call("ResetFailedItems", request)).updated_count)

    async def failed(self, function_id: str, limit: int = 100) -> Sequence[Json]:
        request = runtime_pb2.ListFailedItemsRequest(function_id=function_id, page_size=limit)
        found = await self._call("ListFailedItems", request)
        return [
            {**key_json(one.item), "message": one.message, "attempts": one.attempt_count}
            for one in found.items
        ]

    async def discover(self, function_id: str, body: Mapping[str, Any]) -> Json:
        is_in_parts = "max_pages" in body or "cursor" in body
        request = runtime_pb2.DiscoverItemsRequest(
            function_id=function_id,
            namespaces=body.get("namespaces", ()),
            scan_page_size=body.get("page_size", 0),
            scan_page_count_max=body.get("max_pages", 0) if is_in_parts else ALL_PAGES,
            cursor=body.get("cursor", ""),
        )
        found = await self._call("DiscoverItems", request)
        return {
            "udf_id": function_id,
            "enqueued": found.enqueued_count,
            "namespaces": list(found.namespaces),
            "pages_scanned": found.scanned_page_count,
            "next_cursor": found.next_cursor or None,
            "complete": not found.next_cursor,
        }

    async def claim(self, function_id: str, body: Mapping[str, Any]) -> list[Json]:
        request = runtime_pb2.ClaimItemsRequest(
            function_id=function_id,
            worker_id=body["worker_id"],
            limit=body.get("limit", 0),
            lease_s=body.get("lease_seconds", 0),
        )
        return [claimed_json(one) for one in (await self._call("ClaimItems", request)).items]

    async def heartbeat(self, function_id: str, worker: str, items: Sequence[Json]) -> int:
        request = runtime_pb2.HeartbeatItemsRequest(
            function_id=function_id, worker_id=worker, items=map(reference_message, items)
        )
        return int((await self._call("HeartbeatItems", request)).updated_count)

    async def complete(
        self, function_id: str, worker: str, items: Sequence[Json]
    ) -> tuple[int, list[str]]:
        request = runtime_pb2.CompleteItemsRequest(
            function_id=function_id,
            worker_id=worker,
            items=map(result_message, items),
            with_dispositions=True,
        )
        found = await self._call("CompleteItems", request)
        assert [one.index for one in found.items] == [*range(len(items))]
        names = [runtime_pb2.Disposition.Name(one.disposition) for one in found.items]
        return found.updated_count, [word(name, "DISPOSITION_") for name in names]

    async def fail(self, function_id: str, worker: str, items: Sequence[Json]) -> int:
        request = runtime_pb2.FailItemsRequest(function_id=function_id, worker_id=worker)
        for item in items:
            request.items.add(
                item=reference_message(item),
                kind=runtime_pb2.FailureKind.Value(f"FAILURE_KIND_{item['kind'].upper()}"),
                message=item.get("message", ""),
            )
        return int((await self._call("FailItems", request)).updated_count)

    async def look_up(self, function_id: str, items: Sequence[Json]) -> list[Json]:
        request = runtime_pb2.LookupItemsRequest(
            function_id=function_id, items=map(reference_message, items)
        )
        return [found_json(one) for one in (await self._call("LookupItems", request)).items]

    async def try_candidate(self, function_id: str, body: Mapping[str, Any]) -> Json:
        request = runtime_pb2.CreateCandidateRequest(
            function_id=function_id, version=body["version"], outputs=body["outputs"]
        )
        return candidate_json((await self._call("CreateCandidate", request)).candidate)

    async def candidate(self, function_id: str) -> Json:
        request = runtime_pb2.GetCandidateRequest(function_id=function_id)
        return candidate_json((await self._call("GetCandidate", request)).candidate)

    async def compare(self, function_id: str, namespace: str) -> Json:
        request = runtime_pb2.CompareCandidateRequest(function_id=function_id, namespace=namespace)
        found = await self._call("CompareCandidate", request)
        return {
            "rows_compared": found.compared_row_count,
            "rows_agreed": found.agreed_row_count,
            "outputs": [
                {
                    "output": output.output,
                    "compared": output.compared_count,
                    "agreed": output.agreed_count,
                    "confusion": [
                        {
                            "live": plain_json(pair.live_value, ""),
                            "candidate": plain_json(pair.candidate_value, ""),
                            "count": pair.count,
                        }
                        for pair in output.pairs
                    ],
                }
                for output in found.outputs
            ],
            "disagreements": [
                {
                    **key_json(row.item),
                    "output": row.output,
                    "live": plain_json(row.live_value, ""),
                    "candidate": plain_json(row.candidate_value, ""),
                }
                for row in found.disagreements
            ],
        }

    async def promote(self, function_id: str) -> Json:
        request = runtime_pb2.PromoteCandidateRequest(function_id=function_id)
        found = await self._call("PromoteCandidate", request)
        return {
            "udf_id": function_id,
            "promoted_rows": found.promoted_row_count,
            "version": found.version,
        }

    async def discard(self, function_id: str) -> None:
        request = runtime_pb2.DeleteCandidateRequest(function_id=function_id)
        await self._call("DeleteCandidate", request)

    async def _call(self, method: str, request: object) -> Any:
        stub = runtime_pb2_grpc.FunctionServiceStub(self.channel)
        call: Callable[..., Awaitable[Any]] = getattr(stub, method)
        try:
            return await call(request, timeout=CALL_S_MAX)
        except grpc.aio.AioRpcError as error:
            told = from_rpc_error(error)
            raise RefusedError(told.reason, told.message) from error
