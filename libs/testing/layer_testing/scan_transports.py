"""Scans over either transport, in one form for both."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

import grpc.aio

from layer.common.v1 import common_pb2
from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer_kit.errors import LayerError
from layer_kit.rpc.errors import from_rpc_error
from layer_testing.edge_calls import EdgeCaller, eventually
from layer_testing.gateway_calls import CALL_S_MAX, KEY
from layer_testing.namespace_transports import RefusedError

Answer = TypeVar("Answer")

_SOURCES: Final = {
    gateway_pb2.SCAN_SOURCE_UNSPECIFIED: None,
    gateway_pb2.SCAN_SOURCE_AUTO: "auto",
    gateway_pb2.SCAN_SOURCE_SNAPSHOT: "snapshot",
    gateway_pb2.SCAN_SOURCE_CACHE: "cache",
    gateway_pb2.SCAN_SOURCE_ORIGIN: "origin",
}
_STATES: Final = {
    common_pb2.JOB_STATE_RUNNING: "running",
    common_pb2.JOB_STATE_COMPLETED: "completed",
    common_pb2.JOB_STATE_FAILED: "failed",
}
_COUNT_KEYS: Final = {
    "bounded": "is_bounded",
    "timed_out": "is_timed_out",
    "shards_saturated": "saturated_shard_count",
    "shards_total": "shard_count",
    "threads": "threads",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which rows are wanted, in the words of both transports."""

    http: Mapping[str, object] = field(default_factory=dict)
    rpc: gateway_pb2.ScanSelection = field(default_factory=gateway_pb2.ScanSelection)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A count as a transport tells it."""

    count: int
    served_by: str | None
    is_approximate: bool
    details: Mapping[str, object]


class ScanTransport(Protocol):
    """One way to the gateway. Every call raises ``RefusedError``."""

    async def count(self, name: str, selection: Selection) -> Counted: ...

    async def start(self, name: str, selection: Selection, attribute: str = "") -> str:
        """Start to list ids, or values of an attribute; return the id of the job."""
        ...

    async def job(self, name: str, job_id: str) -> Mapping[str, object]: ...

    async def job_ids(self, name: str) -> Sequence[str]: ...

    async def results(
        self, name: str, job_id: str, *, offset: int = 0, limit: int = 1000
    ) -> tuple[Sequence[object], int]:
        """Return ids, or values with their rows; and how many there are in all."""
        ...

    async def delete(self, name: str, job_id: str) -> None: ...


async def ended(transport: ScanTransport, name: str, job_id: str) -> Mapping[str, object]:
    """Wait until a job has ended."""

    async def found() -> Mapping[str, object]:
        job = await transport.job(name, job_id)
        return {} if job["status"] == "running" else job

    return await eventually(found)


class ScansOverHttp:
    """The HTTP edge."""

    def __init__(self, address: str) -> None:
        self._edge = EdgeCaller(address, key=KEY)

    async def count(self, name: str, selection: Selection) -> Counted:
        answer = await self._call("POST", name, "", {**selection.http, "mode": "count"})
        return Counted(
            count=answer["count"],
            served_by=answer["served_by"],
            is_approximate=answer.get("approximate", False),
            details={key: answer[key] for key in _COUNT_KEYS},
        )

    async def start(self, name: str, selection: Selection, attribute: str = "") -> str:
        wanted = {"mode": "values", "field": attribute} if attribute else {"mode": "ids"}
        return str((await self._call("POST", name, "", {**selection.http, **wanted}))["id"])

    async def job(self, name: str, job_id: str) -> Mapping[str, object]:
        job = await self._call("GET", name, f"/{job_id}")
        return {
            "status": job["status"],
            "progress": job["progress"],
            "scanned": job["documents_scanned"],
            "distinct": job.get("unique_values"),
            "source": job["source"],
            "effective": job.get("effective_source"),
            "attribute": job.get("field", ""),
            "has_ended": "completed_at" in job,
            "error": job.get("error", ""),
        }

    async def job_ids(self, name: str) -> Sequence[str]:
        return [job["id"] for job in (await self._call("GET", name, ""))["scans"]]

    async def results(
        self, name: str, job_id: str, *, offset: int = 0, limit: int = 1000
    ) -> tuple[Sequence[object], int]:
        path = f"/{job_id}/results?offset={offset}&limit={limit}"
        page = await self._call("GET", name, path)
        items = page.get("ids") or [(one["v"], one["n"]) for one in page.get("values", ())]
        return items, page["total"]

    async def delete(self, name: str, job_id: str) -> None:
        await self._call("DELETE", name, f"/{job_id}")

    async def _call(self, method: str, name: str, path: str, body: object = b"") -> Any:
        answer = await self._edge(method, f"/v2/namespaces/{name}/scans{path}", body)
        if answer.status >= 400:  # noqa: PLR2004 -- an error in HTTP
            raise RefusedError(answer.json["error"])
        return answer.json


class ScansOverRpc:
    """The typed API."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = gateway_pb2_grpc.ScanServiceStub(channel)

    async def count(self, name: str, selection: Selection) -> Counted:
        request = gateway_pb2.CountRowsRequest(namespace=name, selection=selection.rpc)
        answer = await self._call(self._stub.CountRows, request)
        return Counted(
            count=answer.row_count,
            served_by=_SOURCES[answer.served_by],
            is_approximate=answer.is_approximate,
            details={key: getattr(answer, of_rpc) for key, of_rpc in _COUNT_KEYS.items()},
        )

    async def start(self, name: str, selection: Selection, attribute: str = "") -> str:
        request = gateway_pb2.StartScanJobRequest(
            namespace=name, selection=selection.rpc, value_attribute=attribute
        )
        return str((await self._call(self._stub.StartScanJob, request)).job.id)

    async def job(self, name: str, job_id: str) -> Mapping[str, object]:
        request = gateway_pb2.GetScanJobRequest(namespace=name, job_id=job_id)
        job = (await self._call(self._stub.GetScanJob, request)).job
        has_distinct = job.HasField("distinct_value_count")
        return {
            "status": _STATES[job.state],
            "progress": job.progress,
            "scanned": job.scanned_row_count,
            "distinct": job.distinct_value_count if has_distinct else None,
            "source": _SOURCES[job.source],
            "effective": _SOURCES[job.effective_source],
            "attribute": job.value_attribute,
            "has_ended": job.HasField("end_time"),
            "error": job.error,
        }

    async def job_ids(self, name: str) -> Sequence[str]:
        """Return all, one a page, so that pages are followed."""
        found: list[str] = []
        token = ""
        while True:
            request = gateway_pb2.ListScanJobsRequest(namespace=name, page_size=1, page_token=token)
            page = await self._call(self._stub.ListScanJobs, request)
            found += [job.id for job in page.jobs]
            token = page.next_page_token
            if not token:
                return found

    async def results(
        self, name: str, job_id: str, *, offset: int = 0, limit: int = 1000
    ) -> tuple[Sequence[object], int]:
        request = gateway_pb2.ReadScanResultsRequest(
            namespace=name, job_id=job_id, offset=offset, page_size=limit
        )
        page = await self._call(self._stub.ReadScanResults, request)
        items = list(page.ids) or [(one.value, one.row_count) for one in page.values]
        return items, page.total_count

    async def delete(self, name: str, job_id: str) -> None:
        request = gateway_pb2.DeleteScanJobRequest(namespace=name, job_id=job_id)
        await self._call(self._stub.DeleteScanJob, request)

    async def _call(self, method: Any, request: object) -> Any:
        metadata = (("authorization", f"Bearer {KEY}"),)
        try:
            return await _awaited(method(request, metadata=metadata, timeout=CALL_S_MAX))
        except grpc.aio.AioRpcError as error:
            refused: LayerError = from_rpc_error(error)
            raise RefusedError(refused.http_error) from error


async def _awaited(call: Awaitable[Answer]) -> Answer:
    return await call
