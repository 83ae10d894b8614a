"""The gRPC edge: parse, call, render."""

# ruff: noqa: N802 -- the proto names the methods

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

import grpc.aio

from layer.snapshots.v1 import snapshots_pb2, snapshots_pb2_grpc
from layer_kit.errors import InvalidRequestError, NotFoundError
from layer_kit.names import Namespace, parse_namespace
from layer_snapshots.application.activity import Activity
from layer_snapshots.application.bodies import Bodies
from layer_snapshots.application.catalogue import LAST, Catalogue
from layer_snapshots.application.checkpoints import Checkpoints, order
from layer_snapshots.application.counting_jobs import CountingJobs
from layer_snapshots.application.jobs import Jobs, age
from layer_snapshots.application.latest import Latest
from layer_snapshots.application.policies import Policies
from layer_snapshots.application.purging import Purge
from layer_snapshots.application.taking import Taking
from layer_snapshots.domain.checkpoints import parse_label
from layer_snapshots.domain.content import Snapshot
from layer_snapshots.domain.differences import difference
from layer_snapshots.domain.keys import WATERMARK_MS_MAX, SnapshotName, parse_sha
from layer_snapshots.domain.limits import (
    DISTINCT_MAX,
    JOBS_PAGE_SIZE_DEFAULT,
    JOBS_PAGE_SIZE_MAX,
    PAGE_SIZE_DEFAULT,
    PAGE_SIZE_MAX,
)
from layer_snapshots.rpc import parsing
from layer_snapshots.rpc.rendered import RenderedSnapshots
from layer_snapshots.rpc.rendering import (
    checkpoint_message,
    difference_message,
    job_message,
    namespace_policy_message,
    policy_message,
    summary,
)

AUTHORIZATION: Final = "authorization"
Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotsServicer(snapshots_pb2_grpc.SnapshotsServiceServicer):
    """Serves ``layer.snapshots.v1.SnapshotsService``."""

    taking: Taking
    counting_jobs: CountingJobs
    jobs: Jobs
    catalogue: Catalogue
    bodies: Bodies
    latest: Latest
    checkpoints: Checkpoints
    activity: Activity
    policies: Policies
    purge: Purge
    rendered: RenderedSnapshots

    async def RecordWatermarks(
        self, request: snapshots_pb2.RecordWatermarksRequest, context: Context
    ) -> snapshots_pb2.RecordWatermarksResponse:
        authorization = _authorization(context)
        for namespace, watermark_ms in parsing.parse_watermarks(request):
            self.taking.advanced(namespace, watermark_ms, authorization)
        return snapshots_pb2.RecordWatermarksResponse()

    async def CreateSnapshotJob(
        self, request: snapshots_pb2.CreateSnapshotJobRequest, context: Context
    ) -> snapshots_pb2.CreateSnapshotJobResponse:
        wanted = parsing.parse_job(request)
        job = await self.counting_jobs.start(wanted, _authorization(context))
        return snapshots_pb2.CreateSnapshotJobResponse(job=job_message(job))

    async def GetSnapshotJob(
        self, request: snapshots_pb2.GetSnapshotJobRequest, context: Context
    ) -> snapshots_pb2.GetSnapshotJobResponse:
        job = await self.jobs.get(parse_namespace(request.namespace), request.job_id)
        return snapshots_pb2.GetSnapshotJobResponse(job=job_message(job))

    async def ListSnapshotJobs(
        self, request: snapshots_pb2.ListSnapshotJobsRequest, context: Context
    ) -> snapshots_pb2.ListSnapshotJobsResponse:
        count = parsing.page_size(request.page_size, JOBS_PAGE_SIZE_DEFAULT, JOBS_PAGE_SIZE_MAX)
        jobs = await self.jobs.list(parse_namespace(request.namespace))
        if request.page_token:
            after = parsing.parse_job_token(request.page_token)
            jobs = [job for job in jobs if age(job) > after]
        return snapshots_pb2.ListSnapshotJobsResponse(
            jobs=[job_message(job) for job in jobs[:count]],
            next_page_token=parsing.job_token(jobs[count - 1]) if len(jobs) > count else "",
        )

    async def GetSnapshot(
        self, request: snapshots_pb2.GetSnapshotRequest, context: Context
    ) -> snapshots_pb2.GetSnapshotResponse:
        namespace = parse_namespace(request.namespace)
        if request.sha:
            snapshot = await self.bodies.by_sha(namespace, parse_sha(request.sha))
        else:
            snapshot = await self.latest.get(namespace)
        return self.rendered.answer(
            snapshot, request.field_names, without_fields=request.without_fields
        )

    async def CountValues(
        self, request: snapshots_pb2.CountValuesRequest, context: Context
    ) -> snapshots_pb2.CountValuesResponse:
        if len(request.values) > DISTINCT_MAX:
            raise InvalidRequestError(
                "TOO_MANY_VALUES",
                f"{len(request.values)} values; the limit is {DISTINCT_MAX}.",
                count=len(request.values),
                count_max=DISTINCT_MAX,
            )
        snapshot = await self.latest.get(parse_namespace(request.namespace))
        counts = snapshot.counts.get(request.field)
        if counts is None:
            raise NotFoundError(
                "FIELD_NOT_FOUND",
                f"The latest snapshot of {request.namespace} has no histogram of {request.field}.",
                field=request.field,
            )
        return snapshots_pb2.CountValuesResponse(
            row_counts=[counts.get(value, 0) for value in request.values],
            watermark_ms=snapshot.body.watermark_ms,
            sha=snapshot.body.sha,
        )

    async def ListSnapshots(
        self, request: snapshots_pb2.ListSnapshotsRequest, context: Context
    ) -> snapshots_pb2.ListSnapshotsResponse:
        namespace = parse_namespace(request.namespace)
        count = parsing.page_size(request.page_size, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)
        before = LAST
        if request.HasField("before_ms"):
            before_ms = min(max(request.before_ms, 0), WATERMARK_MS_MAX)
            before = SnapshotName(before_ms, "")
        if request.page_token:
            before = min(before, parsing.parse_name_token(request.page_token))
        names = await self.catalogue.newest(namespace, count + 1, before=before)
        labels = await self._labels(namespace)
        return snapshots_pb2.ListSnapshotsResponse(
            snapshots=[summary(namespace, name, labels[name]) for name in names[:count]],
            next_page_token=parsing.name_token(names[count - 1]) if len(names) > count else "",
        )

    async def DiffSnapshots(
        self, request: snapshots_pb2.DiffSnapshotsRequest, context: Context
    ) -> snapshots_pb2.DiffSnapshotsResponse:
        namespace = parse_namespace(request.namespace)
        references = [parsing.parse_reference(one) for one in (request.old, request.new)]
        old, new = [await self._referred(namespace, *one) for one in references]
        return difference_message(difference(old, new, request.field_names))

    async def ListSnapshotActivity(
        self, request: snapshots_pb2.ListSnapshotActivityRequest, context: Context
    ) -> snapshots_pb2.ListSnapshotActivityResponse:
        token = request.page_token
        page = await self.activity.page(
            parsing.page_size(request.page_size, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX),
            namespace=parse_namespace(request.namespace) if request.namespace else None,
            since_ms=max(request.since_ms, 0),
            after=parsing.parse_position(token) if token else None,
        )
        following = page.next_position
        return snapshots_pb2.ListSnapshotActivityResponse(
            snapshots=[summary(event.namespace, event.name) for event in page.events],
            next_page_token="" if following is None else parsing.position_token(following),
            is_truncated=page.is_truncated,
        )

    async def GetSnapshotPolicy(
        self, request: snapshots_pb2.GetSnapshotPolicyRequest, context: Context
    ) -> snapshots_pb2.GetSnapshotPolicyResponse:
        policy = await self.policies.read(parse_namespace(request.namespace))
        return snapshots_pb2.GetSnapshotPolicyResponse(policy=policy_message(policy))

    async def UpdateSnapshotPolicy(
        self, request: snapshots_pb2.UpdateSnapshotPolicyRequest, context: Context
    ) -> snapshots_pb2.UpdateSnapshotPolicyResponse:
        namespace, policy = parse_namespace(request.namespace), parsing.parse_policy(request.policy)
        await self.policies.update(namespace, policy)
        self.taking.soon(namespace)
        return snapshots_pb2.UpdateSnapshotPolicyResponse(policy=policy_message(policy))

    async def ListSnapshotPolicies(
        self, request: snapshots_pb2.ListSnapshotPoliciesRequest, context: Context
    ) -> snapshots_pb2.ListSnapshotPoliciesResponse:
        count = parsing.page_size(request.page_size, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)
        token = request.page_token
        after = parsing.parse_namespace_token(token) if token else ""
        found = self.policies.page(count + 1, after=after)
        return snapshots_pb2.ListSnapshotPoliciesResponse(
            policies=[namespace_policy_message(*one) for one in found[:count]],
            next_page_token=found[count - 1][0] if len(found) > count else "",
        )

    async def CreateCheckpoint(
        self, request: snapshots_pb2.CreateCheckpointRequest, context: Context
    ) -> snapshots_pb2.CreateCheckpointResponse:
        namespace, label = parse_namespace(request.namespace), parse_label(request.label)
        found = await self.checkpoints.create(namespace, label)
        return snapshots_pb2.CreateCheckpointResponse(checkpoint=checkpoint_message(found))

    async def GetCheckpoint(
        self, request: snapshots_pb2.GetCheckpointRequest, context: Context
    ) -> snapshots_pb2.GetCheckpointResponse:
        namespace, label = parse_namespace(request.namespace), parse_label(request.label)
        found = await self.checkpoints.get(namespace, label)
        return snapshots_pb2.GetCheckpointResponse(checkpoint=checkpoint_message(found))

    async def ListCheckpoints(
        self, request: snapshots_pb2.ListCheckpointsRequest, context: Context
    ) -> snapshots_pb2.ListCheckpointsResponse:
        count = parsing.page_size(request.page_size, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)
        found = await self.checkpoints.all(parse_namespace(request.namespace))
        if request.page_token:
            after = parsing.parse_checkpoint_token(request.page_token)
            found = [one for one in found if order(one) > after]
        token = parsing.checkpoint_token(found[count - 1]) if len(found) > count else ""
        return snapshots_pb2.ListCheckpointsResponse(
            checkpoints=[checkpoint_message(one) for one in found[:count]], next_page_token=token
        )

    async def DeleteNamespaceSnapshots(
        self, request: snapshots_pb2.DeleteNamespaceSnapshotsRequest, context: Context
    ) -> snapshots_pb2.DeleteNamespaceSnapshotsResponse:
        count = await self.purge(parse_namespace(request.namespace))
        return snapshots_pb2.DeleteNamespaceSnapshotsResponse(deleted_object_count=count)

    async def _labels(self, namespace: Namespace) -> defaultdict[SnapshotName, list[str]]:
        labels: defaultdict[SnapshotName, list[str]] = defaultdict(list)
        for checkpoint in await self.checkpoints.all(namespace):
            labels[checkpoint.snapshot].append(checkpoint.label)
        return labels

    async def _referred(self, namespace: Namespace, sha: str, label: str) -> Snapshot:
        if label:
            sha = (await self.checkpoints.get(namespace, label)).sha
        return await self.bodies.by_sha(namespace, sha)


def _authorization(context: Context) -> str:
    """Return what the caller showed; it is held in memory alone."""
    for name, value in context.invocation_metadata() or ():
        if name == AUTHORIZATION and isinstance(value, str):
            return value
    return ""
