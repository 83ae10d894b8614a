"""What operations on functions and pipelines take and give."""

from __future__ import annotations

from typing import Final

from layer_gateway.http.operation_doc import Fields, OperationDoc
from layer_gateway.http.routes import Operation

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

WORK_DOCS: Final[dict[Operation, OperationDoc]] = {
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
        takes={
            "id": "string",
            "target_namespace": "string",
            "distance_metric": "string",
            "schedule": "object",
        },
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
}
