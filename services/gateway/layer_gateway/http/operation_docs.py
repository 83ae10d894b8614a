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
_INSTANT: Final[Fields] = {"query": "string", "time": "string", "timeout": "string"}
_RANGE: Final[Fields] = {
    "query": "string",
    "start": "string",
    "end": "string",
    "step": "string",
    "timeout": "string",
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
