"""What operations on rows and namespaces take and give, and those of the gateway itself."""

from __future__ import annotations

from typing import Final

from layer_gateway.http.operation_doc import Fields, OperationDoc
from layer_gateway.http.routes import Operation

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
_CAPABILITIES: Final[Fields] = {
    "store": "object",
    "declared": "boolean",
    "features": "array",
    "hybrid_routes": "array",
    "schema_limits": "object",
}

PLANE_DOCS: Final[dict[Operation, OperationDoc]] = {
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
    Operation.OPENAPI: OperationDoc(summary="Show this document", gives={"openapi": "string"}),
}
