"""The snapshots service as the place to ask what was counted, in the contract's words."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import grpc.aio
import structlog

from layer.snapshots.v1 import snapshots_pb2, snapshots_pb2_grpc
from layer_gateway.adapters import snapshot_messages as messages
from layer_gateway.domain.snapshots import JobWanted, SnapshotPolicy, SnapshotsPage
from layer_gateway.ports.snapshots import Shown
from layer_gateway.ports.stores import Caller
from layer_kit.errors import LayerError, NotFoundError, UnavailableError, UpstreamError
from layer_kit.names import Namespace
from layer_kit.rpc.client import invoke
from layer_kit.rpc.context import outgoing_metadata
from layer_kit.rpc.errors import from_rpc_error
from layer_messages.filter_parsing import parse_filter

log = structlog.get_logger(__name__)

ROW_COUNT_TIMEOUT_S: Final = 1.0
"""Metadata is not to wait for a count that it can do without."""

JOBS_MAX: Final = 1_000
_SHA: Final = re.compile(r"[0-9a-fA-F]{7}|[0-9a-fA-F]{64}")

Response = TypeVar("Response")


class SnapshotArchiveService:
    """Implements ``SnapshotArchive``."""

    def __init__(self, stub: snapshots_pb2_grpc.SnapshotsServiceStub, *, timeout_s: float) -> None:
        self._stub = stub
        self._timeout_s = timeout_s

    async def row_count(self, namespace: Namespace) -> int | None:
        request = snapshots_pb2.GetSnapshotRequest(namespace=namespace, without_fields=True)
        try:
            answer = await invoke(self._stub.GetSnapshot, request, timeout_s=ROW_COUNT_TIMEOUT_S)
        except NotFoundError:
            return 0
        except LayerError as error:
            log.info("snapshot_not_asked", namespace=namespace, reason=error.reason)
            return None
        return answer.snapshot.row_count if answer.snapshot.HasField("row_count") else None

    async def start_job(self, namespace: Namespace, wanted: JobWanted, caller: Caller) -> Shown:
        request = snapshots_pb2.CreateSnapshotJobRequest(
            namespace=namespace,
            field=wanted.field,
            source=messages.SOURCES[wanted.source],
            page_size=wanted.page_size,
        )
        if wanted.filters is not None:
            request.filter.CopyFrom(parse_filter(wanted.filters, "filters"))
        own = caller.authorization.decode("latin-1")
        metadata = (*outgoing_metadata(), *((("authorization", own),) if own else ()))
        try:
            answer = await self._stub.CreateSnapshotJob(
                request, metadata=metadata, timeout=self._timeout_s
            )
        except grpc.aio.AioRpcError as error:
            raise _shown_error(from_rpc_error(error)) from error
        return messages.job(answer.job)

    async def job(self, namespace: Namespace, job_id: str) -> Shown:
        request = snapshots_pb2.GetSnapshotJobRequest(namespace=namespace, job_id=job_id)
        return messages.job((await self._call(self._stub.GetSnapshotJob, request)).job)

    async def jobs(self, namespace: Namespace) -> list[Shown]:
        request = snapshots_pb2.ListSnapshotJobsRequest(namespace=namespace, page_size=JOBS_MAX)
        answer = await self._call(self._stub.ListSnapshotJobs, request)
        return [messages.job(one) for one in answer.jobs]

    async def snapshot(self, namespace: Namespace, sha: str) -> Shown:
        request = snapshots_pb2.GetSnapshotRequest(namespace=namespace, sha=sha)
        return messages.body((await self._call(self._stub.GetSnapshot, request)).snapshot)

    async def history(self, namespace: Namespace, limit: int, before_ms: int | None) -> list[Shown]:
        request = snapshots_pb2.ListSnapshotsRequest(
            namespace=namespace, page_size=limit, before_ms=before_ms
        )
        answer = await self._call(self._stub.ListSnapshots, request)
        return [messages.history_entry(one) for one in answer.snapshots]

    async def activity(
        self, limit: int, *, namespace: Namespace | None, since_ms: int | None, cursor: str
    ) -> SnapshotsPage:
        request = snapshots_pb2.ListSnapshotActivityRequest(
            namespace=namespace or "", page_size=limit, since_ms=since_ms, page_token=cursor
        )
        answer = await self._call(self._stub.ListSnapshotActivity, request)
        return SnapshotsPage(
            entries=[messages.event(one) for one in answer.snapshots],
            next_cursor=answer.next_page_token or None,
            is_truncated=answer.is_truncated,
        )

    async def difference(self, namespace: Namespace, old: str, new: str) -> Shown:
        request = snapshots_pb2.DiffSnapshotsRequest(
            namespace=namespace, old=_reference(old), new=_reference(new)
        )
        answer = await self._call(self._stub.DiffSnapshots, request)
        return messages.difference(namespace, answer)

    async def policy(self, namespace: Namespace) -> Shown:
        request = snapshots_pb2.GetSnapshotPolicyRequest(namespace=namespace)
        return messages.policy((await self._call(self._stub.GetSnapshotPolicy, request)).policy)

    async def set_policy(self, namespace: Namespace, policy: SnapshotPolicy) -> Shown:
        request = snapshots_pb2.UpdateSnapshotPolicyRequest(
            namespace=namespace,
            policy=snapshots_pb2.SnapshotPolicy(
                facet_fields=policy.facet_fields,
                interval_text=policy.interval,
                retention_text=policy.retention,
            ),
        )
        answer = await self._call(self._stub.UpdateSnapshotPolicy, request)
        return messages.policy(answer.policy)

    async def create_checkpoint(self, namespace: Namespace, label: str) -> Shown:
        request = snapshots_pb2.CreateCheckpointRequest(namespace=namespace, label=label)
        answer = await self._call(self._stub.CreateCheckpoint, request)
        return messages.checkpoint(answer.checkpoint)

    async def checkpoint(self, namespace: Namespace, label: str) -> Shown:
        request = snapshots_pb2.GetCheckpointRequest(namespace=namespace, label=label)
        answer = await self._call(self._stub.GetCheckpoint, request)
        return messages.checkpoint(answer.checkpoint)

    async def checkpoints(self, namespace: Namespace, limit: int, before: str) -> SnapshotsPage:
        request = snapshots_pb2.ListCheckpointsRequest(
            namespace=namespace, page_size=limit, page_token=before
        )
        answer = await self._call(self._stub.ListCheckpoints, request)
        return SnapshotsPage(
            entries=[messages.checkpoint(one) for one in answer.checkpoints],
            next_cursor=answer.next_page_token or None,
        )

    async def purge(self, namespace: Namespace) -> int:
        request = snapshots_pb2.DeleteNamespaceSnapshotsRequest(namespace=namespace)
        answer = await self._call(self._stub.DeleteNamespaceSnapshots, request)
        return answer.deleted_object_count

    async def _call(self, method: Callable[..., Awaitable[Response]], request: object) -> Response:
        try:
            return await invoke(method, request, timeout_s=self._timeout_s)
        except LayerError as error:
            raise _shown_error(error) from error


def _shown_error(error: LayerError) -> LayerError:
    """Return what is answered: the contract has 502 for snapshots that cannot be read."""
    if not isinstance(error, UnavailableError):
        return error
    away = UpstreamError(error.reason, error.message)
    away.metadata = error.metadata
    return away


def _reference(text: str) -> snapshots_pb2.SnapshotReference:
    """Return what a part of a path names: a SHA-256, or else a checkpoint."""
    if _SHA.fullmatch(text):
        return snapshots_pb2.SnapshotReference(sha=text)
    return snapshots_pb2.SnapshotReference(checkpoint_label=text)
