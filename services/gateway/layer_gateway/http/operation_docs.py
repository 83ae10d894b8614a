"""What each operation takes and gives, in few words: what `/openapi.json` is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from layer_gateway.http.routes import Operation

JsonType = Literal["string", "integer", "number", "boolean", "array", "object"]
BodyKind = Literal["json", "bytes", "form"]
Fields = Mapping[str, JsonType]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationDoc:
    """One operation. Fields are those that layer reads or makes; others pass."""

    summary: str
    query: Fields | None = None
    takes: Fields | None = None
    """Fields of the body; an empty map is a body that is the store's alone."""
    body: BodyKind = "json"
    gives: Fields | None = None
    status: int = 200


_PAGED: Final[Fields] = {"limit": "integer", "before": "string", "from": "string", "to": "string"}
_QUERY: Final[Fields] = {
    "vector": "array",
    "nearest_to_id": "array",
    "rank_by": "array",
    "top_k": "integer",
    "filters": "array",
    "as_of": "integer",
    "between": "array",
    "include_leg_breakdown": "boolean",
    "cursor": "string",
    "queries": "array",
}
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
_FUNCTION: Final[Fields] = {
    "id": "string",
    "spec": "object",
    "paused": "boolean",
    "created_at": "string",
    "updated_at": "string",
}
_FUNCTION_STATUS: Final[Fields] = {
    "udf_id": "string",
    "paused": "boolean",
    "active_namespaces": "array",
    "discovery": "object",
    "counts": "object",
    "pending_count": "integer",
    "processing_count": "integer",
    "failed_count": "integer",
    "indexed_rate_per_min": "number",
    "rate_window_seconds": "integer",
}
_PIPELINE: Final[Fields] = {
    "id": "string",
    "target_namespace": "string",
    "distance_metric": "string",
    "created_at": "string",
}
_MOVED: Final[Fields] = {"pipeline_id": "string", "stage": "string", "updated": "integer"}
_ITEMS: Final[Fields] = {"worker_id": "string", "items": "array"}
_UPDATED: Final[Fields] = {"udf_id": "string", "updated": "integer"}
_DONE: Final[Fields] = {"status": "string", "message": "string"}
_CANDIDATE: Final[Fields] = {
    "udf_id": "string",
    "candidate_id": "string",
    "version": "string",
    "outputs": "array",
    "spec": "object",
    "status": "object",
}
_CAPABILITIES: Final[Fields] = {
    "store": "object",
    "declared": "boolean",
    "features": "array",
    "hybrid_routes": "array",
    "schema_limits": "object",
}

DOCS: Final[Mapping[Operation, OperationDoc]] = {
    Operation.LIST: OperationDoc(
        summary="List namespaces with the metadata of each",
        query={"prefix": "string", "cursor": "string", "page_size": "integer"},
        gives={"namespaces": "array"},
    ),
    Operation.DESCRIBE: OperationDoc(
        summary="Describe a namespace, with what layer knows of it",
        gives={"id": "string", "schema": "object", "layer": "object"},
    ),
    Operation.WRITE: OperationDoc(
        summary="Write rows",
        takes={
            "upsert_rows": "array",
            "upsert_columns": "object",
            "patch_rows": "array",
            "patch_columns": "object",
            "deletes": "array",
            "delete_by_filter": "array",
            "patch_by_filter": "object",
            "schema": "object",
            "distance_metric": "string",
        },
        gives={"status": "string", "rows_affected": "integer"},
    ),
    Operation.INIT: OperationDoc(
        summary="Spread a namespace over shards",
        takes={"schema_version": "integer", "shard_count": "integer"},
        gives={"namespace": "string", "layer": "object"},
    ),
    Operation.MIGRATE_SHARDS: OperationDoc(
        summary="Spread a namespace over shards to the end",
        takes={"shard_count": "integer"},
        gives={
            "namespace": "string",
            "shard_count": "integer",
            "completed_at": "string",
            "documents_migrated": "integer",
        },
    ),
    Operation.DELETE: OperationDoc(
        summary="Delete a namespace and what is kept of it",
        gives={"status": "string", "message": "string"},
    ),
    Operation.QUERY: OperationDoc(
        summary="Query a namespace", takes=_QUERY, gives={"rows": "array"}
    ),
    Operation.QUERY_OLD_PATH: OperationDoc(summary="Query the store", takes={}),
    Operation.QUERY_MANY: OperationDoc(
        summary="Query several namespaces",
        takes={**_QUERY, "namespaces": "array", "strict": "boolean", "fusion": "object"},
        gives={"rows": "array", "merge": "object", "namespaces": "array"},
    ),
    Operation.SEARCH: OperationDoc(summary="Search a namespace", takes={}),
    Operation.FETCH_ONE: OperationDoc(
        summary="Fetch a document",
        query={"include_attributes": "string"},
        gives={"id": "string", "attributes": "object"},
    ),
    Operation.FETCH_MANY: OperationDoc(
        summary="Fetch documents",
        takes={"ids": "array", "include_attributes": "array"},
        gives={"documents": "array", "missing": "array"},
    ),
    Operation.CHANGE_SCHEMA: OperationDoc(summary="Change the store's schema", takes={}),
    Operation.STORE_METADATA: OperationDoc(summary="Read or change the store's metadata"),
    Operation.PUT_BLOB: OperationDoc(
        summary="Keep bytes under their hash",
        query={"warm": "boolean"},
        takes={},
        body="bytes",
        gives={"ref": "string", "sha256": "string", "size": "integer"},
    ),
    Operation.GET_BLOB: OperationDoc(summary="Read bytes by their hash"),
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
    Operation.WARM: OperationDoc(
        summary="Bring a namespace into the document cache",
        query={"page_size": "integer"},
        gives=_JOB,
        status=202,
    ),
    Operation.LIST_WARM_JOBS: OperationDoc(summary="List warmings", gives={"warm_jobs": "array"}),
    Operation.GET_WARM_JOB: OperationDoc(summary="Show a warming", gives=_JOB),
    Operation.HINT_CACHE_WARM: OperationDoc(
        summary="Warm caches, as far as asked",
        query={
            "turbopuffer": "boolean",
            "documents": "boolean",
            "snapshots": "boolean",
            "blobs": "boolean",
            "blob_budget_bytes": "integer",
            "page_size": "integer",
        },
    ),
    Operation.SCAN: OperationDoc(
        summary="Count rows, or begin to list their ids or the values of an attribute",
        takes={
            "mode": "string",
            "source": "string",
            "filters": "array",
            "as_of": "integer",
            "between": "array",
            "fts": "object",
            "ann": "object",
            "hybrid_text": "object",
            "field": "string",
            "exhaustive": "boolean",
            "threads": "integer",
            "page_size": "integer",
            "timeout_seconds": "integer",
        },
        gives={"count": "integer", "served_by": "string", "elapsed_ms": "integer"},
    ),
    Operation.LIST_SCANS: OperationDoc(summary="List scans", gives={"scans": "array"}),
    Operation.GET_SCAN: OperationDoc(summary="Show a scan", gives=_JOB),
    Operation.GET_SCAN_RESULTS: OperationDoc(
        summary="Show a part of what a scan found",
        query={"limit": "integer", "offset": "integer"},
        gives={"total": "integer"},
    ),
    Operation.DELETE_SCAN: OperationDoc(
        summary="Stop a scan and forget it", gives={"status": "string"}
    ),
    Operation.LIST_VECTORSTORES: OperationDoc(
        summary="List vector stores", gives={"vectorstores": "array"}
    ),
    Operation.DESCRIBE_VECTORSTORE: OperationDoc(
        summary="Show a vector store", gives={"name": "string", "kind": "string"}
    ),
    Operation.VECTORSTORE_CAPABILITIES: OperationDoc(
        summary="Show what a vector store can do", gives=_CAPABILITIES
    ),
    Operation.NAMESPACE_CAPABILITIES: OperationDoc(
        summary="Show what the store of a namespace can do", gives=_CAPABILITIES
    ),
    Operation.IMPORT: OperationDoc(
        summary="Refuse an Arrow stream, which the store does not take", takes={}, body="bytes"
    ),
    Operation.KEYS: OperationDoc(summary="Say that there is no key store"),
    Operation.AUTHENTICATE_KEY: OperationDoc(
        summary="Say that there is no key store", takes={"token": "string"}
    ),
    Operation.LICENSE: OperationDoc(
        summary="Say that there is no license", gives={"valid": "boolean", "gateway": "object"}
    ),
    Operation.CREATE_FUNCTION: OperationDoc(
        summary="Register a function",
        takes={"id": "string", "spec": "object", "paused": "boolean"},
        gives=_FUNCTION,
    ),
    Operation.LIST_FUNCTIONS: OperationDoc(summary="List functions", gives={"udfs": "array"}),
    Operation.GET_FUNCTION: OperationDoc(
        summary="Show a function and its status", gives={"udf": "object", "status": "object"}
    ),
    Operation.PUT_FUNCTION: OperationDoc(
        summary="Replace or register a function", takes={"spec": "object"}, gives=_FUNCTION
    ),
    Operation.DELETE_FUNCTION: OperationDoc(summary="Delete a function and its queue", gives=_DONE),
    Operation.FUNCTION_STATUS: OperationDoc(
        summary="Show how much work a function has", gives=_FUNCTION_STATUS
    ),
    Operation.PAUSE_FUNCTION: OperationDoc(
        summary="Stop a function", takes={"reason": "string"}, gives=_FUNCTION
    ),
    Operation.RESUME_FUNCTION: OperationDoc(summary="Undo a pause", gives=_FUNCTION),
    Operation.RESET_FAILED_ITEMS: OperationDoc(
        summary="Make failed items pending again", gives=_UPDATED
    ),
    Operation.LIST_FAILED_ITEMS: OperationDoc(
        summary="List failed items",
        query={"limit": "integer", "cursor": "string"},
        gives={"udf_id": "string", "items": "array"},
    ),
    Operation.DISCOVER_ITEMS: OperationDoc(
        summary="Look for due rows now",
        takes={
            "namespaces": "array",
            "page_size": "integer",
            "max_pages": "integer",
            "cursor": "string",
        },
        gives={
            "udf_id": "string",
            "enqueued": "integer",
            "namespaces": "array",
            "pages_scanned": "integer",
            "next_cursor": "string",
            "complete": "boolean",
        },
    ),
    Operation.CLAIM_ITEMS: OperationDoc(
        summary="Claim items for a worker",
        takes={"worker_id": "string", "limit": "integer", "lease_seconds": "integer"},
        gives={"udf_id": "string", **_ITEMS},
    ),
    Operation.HEARTBEAT_ITEMS: OperationDoc(summary="Renew leases", takes=_ITEMS, gives=_UPDATED),
    Operation.COMPLETE_ITEMS: OperationDoc(
        summary="Hand in results",
        takes={**_ITEMS, "report_dispositions": "boolean"},
        gives={**_UPDATED, "items": "array"},
    ),
    Operation.LOOK_UP_ITEMS: OperationDoc(
        summary="Tell where items are",
        takes={"items": "array"},
        gives={"udf_id": "string", "items": "array"},
    ),
    Operation.FAIL_ITEMS: OperationDoc(summary="Report failures", takes=_ITEMS, gives=_UPDATED),
    Operation.CREATE_CANDIDATE: OperationDoc(
        summary="Try another version of a function beside it",
        takes={
            "version": "string",
            "outputs": "array",
            "inputs": "array",
            "filter": "array",
            "worker": "object",
            "target_namespaces": "array",
        },
        gives=_CANDIDATE,
    ),
    Operation.GET_CANDIDATE: OperationDoc(
        summary="Show the candidate of a function", gives=_CANDIDATE
    ),
    Operation.DELETE_CANDIDATE: OperationDoc(
        summary="Discard a candidate and its outputs", gives=_DONE
    ),
    Operation.COMPARE_CANDIDATE: OperationDoc(
        summary="Compare a candidate with its function",
        query={"namespace": "string", "max_rows": "integer", "sample": "integer"},
        gives={"candidate_id": "string", "agreement_rate": "number", "outputs": "array"},
    ),
    Operation.PROMOTE_CANDIDATE: OperationDoc(
        summary="Put a candidate in the place of its function",
        takes={"allow_partial": "boolean", "namespaces": "array"},
        gives={"udf_id": "string", "promoted_rows": "integer", "version": "string"},
    ),
    Operation.CREATE_PIPELINE: OperationDoc(
        summary="Create a pipeline",
        takes={"id": "string", "target_namespace": "string", "distance_metric": "string"},
        gives=_PIPELINE,
    ),
    Operation.LIST_PIPELINES: OperationDoc(summary="List pipelines", gives={"pipelines": "array"}),
    Operation.DELETE_PIPELINE: OperationDoc(
        summary="Delete a pipeline with its documents and chunks", gives=_DONE
    ),
    Operation.PIPELINE_STATUS: OperationDoc(
        summary="Show how much work a pipeline has",
        gives={
            "pipeline_id": "string",
            "status": "string",
            "counts": "object",
            "failed_reasons": "object",
            "pending_count": "integer",
            "processing_count": "integer",
            "failed_count": "integer",
            "indexed_rate_per_min": "number",
            "rate_window_seconds": "integer",
        },
    ),
    Operation.CLAIM_DOCUMENTS: OperationDoc(
        summary="Claim documents for a worker",
        takes={
            "worker_id": "string",
            "stage": "string",
            "claim_stage": "string",
            "limit": "integer",
            "lease_seconds": "integer",
            "document_id_prefix": "string",
        },
        gives={
            "pipeline_id": "string",
            "stage": "string",
            "claim_stage": "string",
            "worker_id": "string",
            "documents": "array",
            "lease_token": "integer",
        },
    ),
    Operation.HEARTBEAT_DOCUMENTS: OperationDoc(
        summary="Renew leases",
        takes={
            "document_ids": "array",
            "worker_id": "string",
            "stage": "string",
            "lease_token": "integer",
        },
        gives=_MOVED,
    ),
    Operation.MOVE_DOCUMENTS: OperationDoc(
        summary="Move documents to a stage, or create them",
        takes={
            "document_ids": "array",
            "stage": "string",
            "from_stage": "string",
            "worker_id": "string",
            "create_missing": "boolean",
            "lease_token": "integer",
        },
        gives=_MOVED,
    ),
    Operation.LIST_FAILED_DOCUMENTS: OperationDoc(
        summary="List failed documents",
        query={"limit": "integer", "cursor": "string"},
        gives={"pipeline_id": "string", "documents": "array"},
    ),
    Operation.STAGE_DOCUMENT: OperationDoc(
        summary="Store the chunks of a document and make it pending",
        takes={"chunks": "array"},
        gives={
            "pipeline_id": "string",
            "document_id": "string",
            "stage": "string",
            "chunk_count": "integer",
            "chunk_ids": "array",
        },
    ),
    Operation.GET_CHUNKS: OperationDoc(summary="Show the chunks of a document"),
    Operation.PUT_VECTORS: OperationDoc(
        summary="Write the vectors of a document, which is then indexed",
        takes={"vectors": "array", "lease_token": "integer"},
        gives=_DONE,
    ),
    Operation.PUT_ROWS: OperationDoc(
        summary="Write the rows of a document, which is then indexed",
        takes={"rows": "array", "lease_token": "integer"},
        gives=_DONE,
    ),
    Operation.METRIC_CATALOG: OperationDoc(
        summary="List metrics",
        query={"family": "string"},
        gives={"version": "string", "entries": "array"},
    ),
    Operation.METRIC_ENTRY: OperationDoc(summary="Show a metric", gives={"name": "string"}),
    Operation.QUERY_METRICS: OperationDoc(summary="Query metrics at a moment", query=_INSTANT),
    Operation.QUERY_METRICS_RANGE: OperationDoc(summary="Query metrics over time", query=_RANGE),
    Operation.IMPORT_METRICS: OperationDoc(summary="Hand samples over", takes={}, body="bytes"),
    Operation.OPENAPI: OperationDoc(summary="Show this document", gives={"openapi": "string"}),
}
