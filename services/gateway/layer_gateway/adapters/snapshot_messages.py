"""Messages of the snapshots service in the contract's words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from layer.common.v1 import common_pb2
from layer.snapshots.v1 import snapshots_pb2
from layer_gateway.domain.snapshots import SnapshotSource
from layer_gateway.ports.snapshots import Shown
from layer_wire.moments import rfc3339

SOURCES: Final[dict[SnapshotSource, snapshots_pb2.SnapshotSource.ValueType]] = {
    "auto": snapshots_pb2.SNAPSHOT_SOURCE_AUTO,
    "stored": snapshots_pb2.SNAPSHOT_SOURCE_STORED,
    "cache": snapshots_pb2.SNAPSHOT_SOURCE_CACHE,
    "origin": snapshots_pb2.SNAPSHOT_SOURCE_ORIGIN,
}
_SOURCE_NAMES: Final = {value: name for name, value in SOURCES.items()}
_STATUSES: Final = {
    common_pb2.JOB_STATE_RUNNING: "running",
    common_pb2.JOB_STATE_COMPLETED: "completed",
    common_pb2.JOB_STATE_FAILED: "failed",
}


def job(message: snapshots_pb2.SnapshotJob) -> Shown:
    found: Shown = {
        "id": message.job_id,
        "namespace": message.namespace,
        "field": message.field,
        "source": _SOURCE_NAMES.get(message.source, "auto"),
        "status": _STATUSES.get(message.state, "running"),
        "progress": message.progress_ratio,
        "documents_scanned": message.scanned_row_count,
        "created_at": _moment(message.create_time),
    }
    if message.effective_source in _SOURCE_NAMES:
        found["effective_source"] = _SOURCE_NAMES[message.effective_source]
    if message.sha:
        found["sha"] = message.sha
    if message.HasField("stable_as_of_ms"):
        found["stable_as_of"] = message.stable_as_of_ms
    if message.HasField("complete_time"):
        found["completed_at"] = _moment(message.complete_time)
    if message.error:
        found["error"] = message.error
    return found


def body(message: snapshots_pb2.Snapshot) -> Shown:
    found: Shown = {
        "namespace": message.namespace,
        "watermark_ms": message.watermark_ms,
        "sha": message.sha,
    }
    if message.HasField("row_count"):
        found["row_count"] = message.row_count
    found["fields"] = [
        {
            "name": field.name,
            "values": [{"v": one.value, "n": one.row_count} for one in field.values],
        }
        for field in message.fields
    ]
    found["fields_skipped"] = [
        {
            "name": field.name,
            "reason": "exceeded_cap",
            "distinct_observed": field.distinct_count,
            "cap": field.distinct_count_max,
        }
        for field in message.skipped_fields
    ]
    return found


def history_entry(message: snapshots_pb2.SnapshotSummary) -> Shown:
    found: Shown = {"watermark_ms": message.watermark_ms, "sha": message.short_sha}
    if message.checkpoint_labels:
        found["tags"] = list(message.checkpoint_labels)
    return found


def event(message: snapshots_pb2.SnapshotSummary) -> Shown:
    return {
        "ts_ms": message.watermark_ms,
        "namespace": message.namespace,
        "sha": message.short_sha,
    }


def checkpoint(message: snapshots_pb2.Checkpoint) -> Shown:
    return {
        "namespace": message.namespace,
        "label": message.label,
        "watermark_ms": message.watermark_ms,
        "sha": message.sha,
        "row_count": message.row_count,
    }


def policy(message: snapshots_pb2.SnapshotPolicy) -> Shown:
    return {
        "facetFields": list(message.facet_fields),
        "interval": message.interval_text,
        "retention": message.retention_text,
    }


def difference(namespace: str, message: snapshots_pb2.DiffSnapshotsResponse) -> Shown:
    found: Shown = {
        "namespace": namespace,
        "old": {"sha": message.old_sha, "watermark_ms": message.old_watermark_ms},
        "new": {"sha": message.new_sha, "watermark_ms": message.new_watermark_ms},
    }
    if message.HasField("row_count_change"):
        found["row_count_change"] = message.row_count_change
    found["fields"] = [_field_difference(field) for field in message.fields]
    return found


def _field_difference(message: snapshots_pb2.FacetDiff) -> Shown:
    if message.is_added or message.is_removed:
        return {"name": message.name, "status": "added" if message.is_added else "removed"}
    changes: Iterable[snapshots_pb2.FacetChange] = message.changes
    return {
        "name": message.name,
        "status": "changed",
        "added": [
            {"v": one.value, "n": one.new_row_count} for one in changes if not one.old_row_count
        ],
        "removed": [
            {"v": one.value, "n": one.old_row_count} for one in changes if not one.new_row_count
        ],
        "changed": [
            {"v": one.value, "old_n": one.old_row_count, "new_n": one.new_row_count}
            for one in changes
            if one.old_row_count and one.new_row_count
        ],
    }


def _moment(stamp: Timestamp) -> str:
    return rfc3339(stamp.ToMilliseconds()) or ""
