"""Values to responses."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from layer.common.v1 import common_pb2
from layer.snapshots.v1 import snapshots_pb2
from layer_kit.names import Namespace
from layer_snapshots.domain.checkpoints import Checkpoint
from layer_snapshots.domain.content import Field, SkippedField, Snapshot
from layer_snapshots.domain.differences import Difference, FieldDifference
from layer_snapshots.domain.jobs import Job, JobStatus, Source
from layer_snapshots.domain.keys import SnapshotName
from layer_snapshots.domain.policy import Policy

_SOURCES: Final = {
    Source.AUTO: snapshots_pb2.SNAPSHOT_SOURCE_AUTO,
    Source.STORED: snapshots_pb2.SNAPSHOT_SOURCE_STORED,
    Source.CACHE: snapshots_pb2.SNAPSHOT_SOURCE_CACHE,
    Source.ORIGIN: snapshots_pb2.SNAPSHOT_SOURCE_ORIGIN,
}
_STATES: Final = {
    JobStatus.RUNNING: common_pb2.JOB_STATE_RUNNING,
    JobStatus.COMPLETED: common_pb2.JOB_STATE_COMPLETED,
    JobStatus.FAILED: common_pb2.JOB_STATE_FAILED,
}


def snapshot_message(
    snapshot: Snapshot, names: Collection[str], *, without_fields: bool = False
) -> snapshots_pb2.Snapshot:
    """Render a snapshot with the fields of these names; none named means all."""
    body = snapshot.selected(names)
    message = snapshots_pb2.Snapshot(
        namespace=body.namespace,
        watermark_ms=body.watermark_ms,
        sha=body.sha,
        row_count=body.row_count,
    )
    if not without_fields:
        message.fields.extend(_field(field) for field in body.fields)
        message.skipped_fields.extend(_skipped(field) for field in body.fields_skipped)
    return message


def summary(
    namespace: Namespace, name: SnapshotName, labels: Sequence[str] = ()
) -> snapshots_pb2.SnapshotSummary:
    return snapshots_pb2.SnapshotSummary(
        namespace=namespace,
        watermark_ms=name.watermark_ms,
        short_sha=name.short_sha,
        checkpoint_labels=labels,
    )


def difference_message(found: Difference) -> snapshots_pb2.DiffSnapshotsResponse:
    return snapshots_pb2.DiffSnapshotsResponse(
        old_watermark_ms=found.old.watermark_ms,
        new_watermark_ms=found.new.watermark_ms,
        old_sha=found.old.sha,
        new_sha=found.new.sha,
        row_count_change=found.row_count_change,
        fields=[_field_difference(field) for field in found.fields],
    )


def policy_message(policy: Policy) -> snapshots_pb2.SnapshotPolicy:
    return snapshots_pb2.SnapshotPolicy(
        facet_fields=policy.facetFields,
        interval_text=policy.interval,
        retention_text=policy.retention,
    )


def namespace_policy_message(namespace: Namespace, policy: Policy) -> snapshots_pb2.NamespacePolicy:
    return snapshots_pb2.NamespacePolicy(namespace=namespace, policy=policy_message(policy))


def checkpoint_message(found: Checkpoint) -> snapshots_pb2.Checkpoint:
    return snapshots_pb2.Checkpoint(
        namespace=found.namespace,
        label=found.label,
        watermark_ms=found.watermark_ms,
        sha=found.sha,
        row_count=found.row_count,
    )


def job_message(job: Job) -> snapshots_pb2.SnapshotJob:
    message = snapshots_pb2.SnapshotJob(
        job_id=job.id,
        namespace=job.namespace,
        field=job.field,
        source=_SOURCES[job.source],
        state=_STATES[job.status],
        progress_ratio=job.progress,
        scanned_row_count=job.documents_scanned,
        sha=job.sha or "",
        stable_as_of_ms=job.stable_as_of,
        create_time=_moment(job.created_ms),
        complete_time=None if job.completed_ms is None else _moment(job.completed_ms),
        error=job.error or "",
    )
    if job.effective_source is not None:
        message.effective_source = _SOURCES[job.effective_source]
    return message


def _field(field: Field) -> snapshots_pb2.FacetHistogram:
    return snapshots_pb2.FacetHistogram(
        name=field.name,
        values=[snapshots_pb2.FacetCount(value=one.v, row_count=one.n) for one in field.values],
    )


def _skipped(field: SkippedField) -> snapshots_pb2.SkippedFacet:
    return snapshots_pb2.SkippedFacet(
        name=field.name,
        reason=snapshots_pb2.FACET_SKIP_REASON_EXCEEDED_CAP,
        distinct_count=field.distinct_observed,
        distinct_count_max=field.cap,
    )


def _field_difference(found: FieldDifference) -> snapshots_pb2.FacetDiff:
    return snapshots_pb2.FacetDiff(
        name=found.name,
        changes=[
            snapshots_pb2.FacetChange(
                value=change.value, old_row_count=change.old_count, new_row_count=change.new_count
            )
            for change in found.changes
        ],
        is_removed=found.is_removed,
        is_added=found.is_added,
    )


def _moment(epoch_ms: int) -> Timestamp:
    moment = Timestamp()
    moment.FromMilliseconds(epoch_ms)
    return moment
