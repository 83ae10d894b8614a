"""What operations on snapshots, history and metrics take and give."""

from __future__ import annotations

from typing import Final

from layer_gateway.http.operation_doc import Fields, OperationDoc
from layer_gateway.http.routes import Operation

_PAGED: Final[Fields] = {"limit": "integer", "before": "string", "from": "string", "to": "string"}
_JOB: Final[Fields] = {"id": "string", "namespace": "string", "status": "string"}
_SNAPSHOT_JOB: Final[Fields] = {
    **_JOB,
    "field": "string",
    "source": "string",
    "progress": "number",
    "documents_scanned": "integer",
}
_SNAPSHOT_POLICY: Final[Fields] = {
    "facetFields": "array",
    "interval": "string",
    "retention": "string",
}
_CHECKPOINT: Final[Fields] = {
    "namespace": "string",
    "label": "string",
    "watermark_ms": "integer",
    "sha": "string",
    "row_count": "integer",
}
_INSTANT: Final[Fields] = {"query": "string", "time": "string", "timeout": "string"}
_RANGE: Final[Fields] = {
    "query": "string",
    "start": "string",
    "end": "string",
    "step": "string",
    "timeout": "string",
}

INSIGHT_DOCS: Final[dict[Operation, OperationDoc]] = {
    Operation.SEARCH_HISTORY: OperationDoc(
        summary="List searches", query={"tag": "string", **_PAGED}, gives={"entries": "array"}
    ),
    Operation.CLICKSTREAM: OperationDoc(
        summary="List opened results",
        query={"trace_id": "string", "tag": "string", **_PAGED},
        gives={"events": "array"},
    ),
    Operation.SEARCH_SESSION: OperationDoc(summary="Show the searches and clicks of a trace"),
    Operation.GET_HISTORY_POLICY: OperationDoc(summary="Show what is kept of searches"),
    Operation.SET_HISTORY_POLICY: OperationDoc(summary="Choose what is kept of searches", takes={}),
    Operation.CREATE_SNAPSHOT: OperationDoc(
        summary="Count the values of one field",
        takes={
            "field": "string",
            "source": "string",
            "filters": "array",
            "page_size": "integer",
        },
        gives=_SNAPSHOT_JOB,
        status=202,
    ),
    Operation.LIST_SNAPSHOT_JOBS: OperationDoc(
        summary="List the countings of single fields", gives={"snapshot_jobs": "array"}
    ),
    Operation.GET_SNAPSHOT_JOB: OperationDoc(
        summary="Show the counting of a field", gives=_SNAPSHOT_JOB
    ),
    Operation.SNAPSHOT_HISTORY: OperationDoc(
        summary="List the snapshots of a namespace",
        query={"limit": "integer", "before": "integer"},
    ),
    Operation.GET_SNAPSHOT: OperationDoc(
        summary="Show a snapshot",
        gives={
            "namespace": "string",
            "watermark_ms": "integer",
            "sha": "string",
            "fields": "array",
            "fields_skipped": "array",
        },
    ),
    Operation.DIFF_SNAPSHOTS: OperationDoc(
        summary="Compare two snapshots, each named by its hash or a checkpoint",
        gives={"namespace": "string", "old": "object", "new": "object", "fields": "array"},
    ),
    Operation.SNAPSHOT_ACTIVITY: OperationDoc(
        summary="List the snapshots of all namespaces",
        query={
            "since": "integer",
            "limit": "integer",
            "namespace": "string",
            "cursor": "string",
        },
        gives={"events": "array"},
    ),
    Operation.GET_SNAPSHOT_POLICY: OperationDoc(
        summary="Show what is counted of a namespace", gives=_SNAPSHOT_POLICY
    ),
    Operation.SET_SNAPSHOT_POLICY: OperationDoc(
        summary="Choose what is counted of a namespace",
        takes=_SNAPSHOT_POLICY,
        gives=_SNAPSHOT_POLICY,
    ),
    Operation.CREATE_CHECKPOINT: OperationDoc(
        summary="Name the latest snapshot", takes={"label": "string"}, gives=_CHECKPOINT
    ),
    Operation.LIST_CHECKPOINTS: OperationDoc(
        summary="List checkpoints",
        query={"limit": "integer", "before": "string"},
        gives={"checkpoints": "array"},
    ),
    Operation.GET_CHECKPOINT: OperationDoc(summary="Show a checkpoint", gives=_CHECKPOINT),
    Operation.METRIC_CATALOG: OperationDoc(
        summary="List metrics",
        query={"family": "string"},
        gives={"version": "string", "entries": "array"},
    ),
    Operation.METRIC_ENTRY: OperationDoc(summary="Show a metric", gives={"name": "string"}),
    Operation.QUERY_METRICS: OperationDoc(summary="Query metrics at a moment", query=_INSTANT),
    Operation.QUERY_METRICS_RANGE: OperationDoc(summary="Query metrics over time", query=_RANGE),
    Operation.IMPORT_METRICS: OperationDoc(summary="Hand samples over", takes={}, body="bytes"),
}
