"""The snapshots as a process, and their API in few words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import grpc.aio

from layer.common.v1 import common_pb2
from layer.snapshots.v1 import snapshots_pb2, snapshots_pb2_grpc
from layer_kit.rpc.client import invoke, open_channel
from layer_kit.rpc.errors import from_rpc_error
from layer_testing.edge_calls import eventually
from layer_testing.processes import ServiceProcess, running
from layer_testing.s3 import S3Server

CALL_S_MAX: Final = 20.0
WATERMARK_MS: Final = 1779999999500

TOOLS: Final[Sequence[Mapping[str, Any]]] = (
    {"id": "t-1", "kind": "saw", "tags": ["wood", "hand", "wood"], "rating": 5},
    {"id": "t-2", "kind": "saw", "tags": ["metal"], "rating": 4},
    {"id": "t-3", "kind": "drill", "tags": [], "rating": 5},
    {"id": "t-4", "kind": "râpe", "tags": ["wood"], "rating": 5},
    {"id": "t-5", "kind": "saw", "tags": ["hand", "metal"]},
)
"""The rows of the worked example, whose snapshot is ``TOOLS_SHA``."""

TOOLS_SHA: Final = "377a8c3d1354f29f2423d5c66195574cd10f44f1a7b1ce4df650796612020dc6"

Answer = TypeVar("Answer")


def bucket_of(s3: S3Server, bucket: str) -> dict[str, str]:
    """Return what a process needs to use a bucket."""
    return {
        "S3_BUCKET": bucket,
        "S3_ENDPOINT": s3.endpoint,
        "AWS_ACCESS_KEY_ID": s3.access_key_id or "",
        "AWS_SECRET_ACCESS_KEY": s3.secret_access_key or "",
    }


@asynccontextmanager
async def running_snapshots(
    gateway_address: str, **environment: str
) -> AsyncIterator[tuple[SnapshotsClient, ServiceProcess]]:
    """Run the service over a gateway; ``environment`` overrides its settings."""
    settings = {
        "LAYER_SNAPSHOTS_GRPC_ADDRESS": "127.0.0.1:0",
        "LAYER_SNAPSHOTS_GATEWAY_ADDRESS": gateway_address,
        "LAYER_SNAPSHOTS_GATEWAY_API_KEY": "a-key",
    }
    async with (
        running("layer_snapshots", **(settings | environment)) as process,
        open_channel(process.addresses["grpc"], retries=False) as channel,
    ):
        yield SnapshotsClient(channel), process


class SnapshotsClient:
    """Calls the service; raises what it raised."""

    def __init__(self, channel: grpc.aio.Channel, namespace: str = "tools") -> None:
        self.channel = channel
        self.namespace = namespace
        self.stub = snapshots_pb2_grpc.SnapshotsServiceStub(channel)

    async def advance(self, watermark_ms: int = WATERMARK_MS, authorization: str = "") -> None:
        """Tell that the watermark has advanced."""
        watermark = snapshots_pb2.Watermark(namespace=self.namespace, watermark_ms=watermark_ms)
        request = snapshots_pb2.RecordWatermarksRequest(watermarks=[watermark])
        metadata = (("authorization", authorization),) if authorization else ()
        await self.stub.RecordWatermarks(request, metadata=metadata, timeout=CALL_S_MAX)

    async def set_policy(self, *fields: str, interval: str = "1s", retention: str = "") -> None:
        policy = snapshots_pb2.SnapshotPolicy(
            facet_fields=fields, interval_text=interval, retention_text=retention
        )
        await self._call("UpdateSnapshotPolicy", policy=policy)

    async def policy(self) -> snapshots_pb2.SnapshotPolicy:
        answer: snapshots_pb2.GetSnapshotPolicyResponse = await self._call("GetSnapshotPolicy")
        return answer.policy

    async def policies(self, **fields: Any) -> snapshots_pb2.ListSnapshotPoliciesResponse:
        request = snapshots_pb2.ListSnapshotPoliciesRequest(**fields)
        return await self.call(self.stub.ListSnapshotPolicies, request)

    async def snapshot(self, sha: str = "", **fields: Any) -> snapshots_pb2.Snapshot:
        answer: snapshots_pb2.GetSnapshotResponse = await self._call(
            "GetSnapshot", sha=sha, **fields
        )
        return answer.snapshot

    async def count(self, field: str, *values: str) -> list[int]:
        answer: snapshots_pb2.CountValuesResponse = await self._call(
            "CountValues", field=field, values=values
        )
        return list(answer.row_counts)

    async def history(self, **fields: Any) -> list[tuple[int, str]]:
        """Return the watermarks and short SHA-256s of a page."""
        answer: snapshots_pb2.ListSnapshotsResponse = await self._call("ListSnapshots", **fields)
        return [(one.watermark_ms, one.short_sha) for one in answer.snapshots]

    async def start_job(
        self, field: str, authorization: str = "", **fields: Any
    ) -> snapshots_pb2.SnapshotJob:
        request = snapshots_pb2.CreateSnapshotJobRequest(
            namespace=self.namespace, field=field, **fields
        )
        metadata = (("authorization", authorization),) if authorization else ()
        call = self.stub.CreateSnapshotJob(request, metadata=metadata, timeout=CALL_S_MAX)
        try:
            return (await call).job
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def job(self, job_id: str) -> snapshots_pb2.SnapshotJob:
        answer: snapshots_pb2.GetSnapshotJobResponse = await self._call(
            "GetSnapshotJob", job_id=job_id
        )
        return answer.job

    async def ended_job(self, job_id: str) -> snapshots_pb2.SnapshotJob:
        """Wait for the end of a job."""

        async def ended() -> snapshots_pb2.SnapshotJob | None:
            job = await self.job(job_id)
            return None if job.state == common_pb2.JOB_STATE_RUNNING else job

        return await eventually(ended)

    async def checkpoint(self, label: str) -> snapshots_pb2.Checkpoint:
        answer: snapshots_pb2.CreateCheckpointResponse = await self._call(
            "CreateCheckpoint", label=label
        )
        return answer.checkpoint

    async def newest(self, count: int) -> list[tuple[int, str]]:
        """Wait until there are ``count`` snapshots, and return them."""

        async def there() -> list[tuple[int, str]] | None:
            found = await self.history()
            return found if len(found) >= count else None

        return await eventually(there)

    async def _call(self, method: str, **fields: Any) -> Any:
        request = getattr(snapshots_pb2, f"{method}Request")(namespace=self.namespace, **fields)
        return await self.call(getattr(self.stub, method), request)

    async def call(self, method: Callable[..., Awaitable[Answer]], request: object) -> Answer:
        return await invoke(method, request, timeout_s=CALL_S_MAX)
