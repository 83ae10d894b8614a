"""Every route that the gateway answers itself. All others are passed on to the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Final

PUBLIC_PATHS: Final = frozenset({"/health", "/ready", "/metrics"})
"""Answered by the edge itself."""


class Operation(StrEnum):
    """What a request asks for; the value is its name in metrics and traces."""

    __hash__ = str.__hash__  # the one of enumerations is worked out in Python

    PASS = auto()
    LIST = auto()
    DESCRIBE = auto()
    WRITE = auto()
    INIT = auto()
    MIGRATE_SHARDS = auto()
    DELETE = auto()
    QUERY = auto()
    QUERY_OLD_PATH = auto()
    QUERY_MANY = auto()
    SEARCH = auto()
    FETCH_ONE = auto()
    FETCH_MANY = auto()
    CHANGE_SCHEMA = auto()
    STORE_METADATA = auto()
    PUT_BLOB = auto()
    GET_BLOB = auto()
    SEARCH_HISTORY = auto()
    CLICKSTREAM = auto()
    SEARCH_SESSION = auto()
    GET_HISTORY_POLICY = auto()
    SET_HISTORY_POLICY = auto()
    CREATE_SNAPSHOT = auto()
    LIST_SNAPSHOT_JOBS = auto()
    GET_SNAPSHOT_JOB = auto()
    SNAPSHOT_HISTORY = auto()
    GET_SNAPSHOT = auto()
    DIFF_SNAPSHOTS = auto()
    SNAPSHOT_ACTIVITY = auto()
    GET_SNAPSHOT_POLICY = auto()
    SET_SNAPSHOT_POLICY = auto()
    CREATE_CHECKPOINT = auto()
    LIST_CHECKPOINTS = auto()
    GET_CHECKPOINT = auto()
    WARM = auto()
    LIST_WARM_JOBS = auto()
    GET_WARM_JOB = auto()
    HINT_CACHE_WARM = auto()
    SCAN = auto()
    LIST_SCANS = auto()
    GET_SCAN = auto()
    GET_SCAN_RESULTS = auto()
    DELETE_SCAN = auto()
    LIST_VECTORSTORES = auto()
    DESCRIBE_VECTORSTORE = auto()
    VECTORSTORE_CAPABILITIES = auto()
    NAMESPACE_CAPABILITIES = auto()
    IMPORT = auto()
    KEYS = auto()
    AUTHENTICATE_KEY = auto()
    LICENSE = auto()
    CREATE_FUNCTION = auto()
    LIST_FUNCTIONS = auto()
    GET_FUNCTION = auto()
    PUT_FUNCTION = auto()
    DELETE_FUNCTION = auto()
    FUNCTION_STATUS = auto()
    PAUSE_FUNCTION = auto()
    RESUME_FUNCTION = auto()
    RESET_FAILED_ITEMS = auto()
    LIST_FAILED_ITEMS = auto()
    DISCOVER_ITEMS = auto()
    CLAIM_ITEMS = auto()
    HEARTBEAT_ITEMS = auto()
    COMPLETE_ITEMS = auto()
    FAIL_ITEMS = auto()
    LOOK_UP_ITEMS = auto()
    CREATE_CANDIDATE = auto()
    GET_CANDIDATE = auto()
    DELETE_CANDIDATE = auto()
    COMPARE_CANDIDATE = auto()
    PROMOTE_CANDIDATE = auto()
    CREATE_PIPELINE = auto()
    LIST_PIPELINES = auto()
    DELETE_PIPELINE = auto()
    PIPELINE_STATUS = auto()
    CLAIM_DOCUMENTS = auto()
    HEARTBEAT_DOCUMENTS = auto()
    MOVE_DOCUMENTS = auto()
    LIST_FAILED_DOCUMENTS = auto()
    STAGE_DOCUMENT = auto()
    GET_CHUNKS = auto()
    PUT_VECTORS = auto()
    PUT_ROWS = auto()
    METRIC_CATALOG = auto()
    METRIC_ENTRY = auto()
    QUERY_METRICS = auto()
    QUERY_METRICS_RANGE = auto()
    IMPORT_METRICS = auto()
    OPENAPI = auto()


ROUTES: Final[Mapping[str, Operation]] = {
    "GET /v2/namespaces": Operation.LIST,
    "GET /v2/namespaces/{namespace}/metadata": Operation.DESCRIBE,
    "POST /v2/namespaces/{namespace}": Operation.WRITE,
    "DELETE /v2/namespaces/{namespace}": Operation.DELETE,
    "POST /v2/namespaces/{namespace}/init": Operation.INIT,
    "POST /v2/namespaces/{namespace}/shard/migrate": Operation.MIGRATE_SHARDS,
    "POST /v2/namespaces/{namespace}/query": Operation.QUERY,
    "POST /v2/namespaces/{namespace}/search": Operation.SEARCH,
    "POST /v2/query": Operation.QUERY_MANY,
    "GET /v2/namespaces/{namespace}/documents/{id}": Operation.FETCH_ONE,
    "POST /v2/namespaces/{namespace}/documents": Operation.FETCH_MANY,
    "PUT /v1/namespaces/{namespace}/blobs": Operation.PUT_BLOB,
    "GET /v1/namespaces/{namespace}/blobs/{sha256}": Operation.GET_BLOB,
    "HEAD /v1/namespaces/{namespace}/blobs/{sha256}": Operation.GET_BLOB,
    "GET /v2/namespaces/{namespace}/search-history": Operation.SEARCH_HISTORY,
    "GET /v1/namespaces/{namespace}/search-history": Operation.SEARCH_HISTORY,
    "GET /v2/namespaces/{namespace}/search-history/{trace_id}": Operation.SEARCH_SESSION,
    "GET /v1/namespaces/{namespace}/search-history/{trace_id}": Operation.SEARCH_SESSION,
    "GET /v2/namespaces/{namespace}/clickstream": Operation.CLICKSTREAM,
    "GET /v1/namespaces/{namespace}/clickstream": Operation.CLICKSTREAM,
    "GET /v2/namespaces/{namespace}/history-policy": Operation.GET_HISTORY_POLICY,
    "PUT /v2/namespaces/{namespace}/history-policy": Operation.SET_HISTORY_POLICY,
    "POST /v2/namespaces/{namespace}/snapshots": Operation.CREATE_SNAPSHOT,
    "GET /v2/namespaces/{namespace}/snapshot-jobs": Operation.LIST_SNAPSHOT_JOBS,
    "GET /v2/namespaces/{namespace}/snapshot-jobs/{id}": Operation.GET_SNAPSHOT_JOB,
    "GET /v2/namespaces/{namespace}/history": Operation.SNAPSHOT_HISTORY,
    "GET /v2/namespaces/{namespace}/snapshots/{sha}": Operation.GET_SNAPSHOT,
    "GET /v2/namespaces/{namespace}/snapshots/{sha}/diff/{other}": Operation.DIFF_SNAPSHOTS,
    "GET /v2/activity/snapshots": Operation.SNAPSHOT_ACTIVITY,
    "GET /v2/namespaces/{namespace}/snapshot-policy": Operation.GET_SNAPSHOT_POLICY,
    "PUT /v2/namespaces/{namespace}/snapshot-policy": Operation.SET_SNAPSHOT_POLICY,
    "POST /v2/namespaces/{namespace}/checkpoints": Operation.CREATE_CHECKPOINT,
    "GET /v2/namespaces/{namespace}/checkpoints": Operation.LIST_CHECKPOINTS,
    "GET /v2/namespaces/{namespace}/checkpoints/{label}": Operation.GET_CHECKPOINT,
    "POST /v2/namespaces/{namespace}/warm": Operation.WARM,
    "GET /v2/namespaces/{namespace}/warm-jobs": Operation.LIST_WARM_JOBS,
    "GET /v2/namespaces/{namespace}/warm-jobs/{id}": Operation.GET_WARM_JOB,
    "GET /v1/namespaces/{namespace}/hint_cache_warm": Operation.HINT_CACHE_WARM,
    "POST /v2/namespaces/{namespace}/scans": Operation.SCAN,
    "GET /v2/namespaces/{namespace}/scans": Operation.LIST_SCANS,
    "GET /v2/namespaces/{namespace}/scans/{id}": Operation.GET_SCAN,
    "GET /v2/namespaces/{namespace}/scans/{id}/results": Operation.GET_SCAN_RESULTS,
    "DELETE /v2/namespaces/{namespace}/scans/{id}": Operation.DELETE_SCAN,
    "GET /v2/namespaces/{namespace}/capabilities": Operation.NAMESPACE_CAPABILITIES,
    "GET /v2/vectorstores": Operation.LIST_VECTORSTORES,
    "GET /v2/vectorstores/{name}": Operation.DESCRIBE_VECTORSTORE,
    "GET /v2/vectorstores/{name}/capabilities": Operation.VECTORSTORE_CAPABILITIES,
    "POST /v2/namespaces/{namespace}/import": Operation.IMPORT,
    "POST /v2/keys/authenticate": Operation.AUTHENTICATE_KEY,
    "POST /v2/keys": Operation.KEYS,
    "GET /v2/keys": Operation.KEYS,
    "GET /v2/keys/{id}": Operation.KEYS,
    "DELETE /v2/keys/{id}": Operation.KEYS,
    "POST /v2/keys/{id}/revoke": Operation.KEYS,
    "GET /v2/license": Operation.LICENSE,
    "POST /v2/udfs": Operation.CREATE_FUNCTION,
    "GET /v2/udfs": Operation.LIST_FUNCTIONS,
    "GET /v2/udfs/{id}": Operation.GET_FUNCTION,
    "PUT /v2/udfs/{id}": Operation.PUT_FUNCTION,
    "DELETE /v2/udfs/{id}": Operation.DELETE_FUNCTION,
    "GET /v2/udfs/{id}/status": Operation.FUNCTION_STATUS,
    "POST /v2/udfs/{id}/pause": Operation.PAUSE_FUNCTION,
    "POST /v2/udfs/{id}/resume": Operation.RESUME_FUNCTION,
    "POST /v2/udfs/{id}/reset-failed": Operation.RESET_FAILED_ITEMS,
    "POST /v2/udfs/{id}/discover": Operation.DISCOVER_ITEMS,
    "POST /v2/udfs/{id}/claim": Operation.CLAIM_ITEMS,
    "GET /v2/udfs/{id}/items/failed": Operation.LIST_FAILED_ITEMS,
    "POST /v2/udfs/{id}/items/heartbeat": Operation.HEARTBEAT_ITEMS,
    "POST /v2/udfs/{id}/items/complete": Operation.COMPLETE_ITEMS,
    "POST /v2/udfs/{id}/items/fail": Operation.FAIL_ITEMS,
    "POST /v2/udfs/{id}/items/lookup": Operation.LOOK_UP_ITEMS,
    "POST /v2/udfs/{id}/candidate": Operation.CREATE_CANDIDATE,
    "GET /v2/udfs/{id}/candidate": Operation.GET_CANDIDATE,
    "DELETE /v2/udfs/{id}/candidate": Operation.DELETE_CANDIDATE,
    "GET /v2/udfs/{id}/candidate/compare": Operation.COMPARE_CANDIDATE,
    "POST /v2/udfs/{id}/candidate/promote": Operation.PROMOTE_CANDIDATE,
    "POST /v2/pipelines": Operation.CREATE_PIPELINE,
    "GET /v2/pipelines": Operation.LIST_PIPELINES,
    "DELETE /v2/pipelines/{id}": Operation.DELETE_PIPELINE,
    "GET /v2/pipelines/{id}/status": Operation.PIPELINE_STATUS,
    "POST /v2/pipelines/{id}/claim": Operation.CLAIM_DOCUMENTS,
    "POST /v2/pipelines/{id}/documents/heartbeat": Operation.HEARTBEAT_DOCUMENTS,
    "POST /v2/pipelines/{id}/documents/stage": Operation.MOVE_DOCUMENTS,
    "GET /v2/pipelines/{id}/documents/failed": Operation.LIST_FAILED_DOCUMENTS,
    "PUT /v2/pipelines/{id}/documents/{document}": Operation.STAGE_DOCUMENT,
    "GET /v2/pipelines/{id}/documents/{document}/chunks": Operation.GET_CHUNKS,
    "PUT /v2/pipelines/{id}/documents/{document}/vectors": Operation.PUT_VECTORS,
    "PUT /v2/pipelines/{id}/documents/{document}/rows": Operation.PUT_ROWS,
    "GET /v2/metrics/catalog": Operation.METRIC_CATALOG,
    "GET /v2/metrics/catalog/{name}": Operation.METRIC_ENTRY,
    "GET /v2/metrics/query": Operation.QUERY_METRICS,
    "POST /v2/metrics/query": Operation.QUERY_METRICS,
    "GET /v2/metrics/api/v1/query": Operation.QUERY_METRICS,
    "POST /v2/metrics/api/v1/query": Operation.QUERY_METRICS,
    "GET /v2/metrics/query_range": Operation.QUERY_METRICS_RANGE,
    "POST /v2/metrics/query_range": Operation.QUERY_METRICS_RANGE,
    "GET /v2/metrics/api/v1/query_range": Operation.QUERY_METRICS_RANGE,
    "POST /v2/metrics/api/v1/query_range": Operation.QUERY_METRICS_RANGE,
    "POST /v2/metrics/api/v1/import/prometheus": Operation.IMPORT_METRICS,
    "GET /openapi.json": Operation.OPENAPI,
    # Passed on, with something before or after.
    "POST /v1/namespaces/{namespace}/query": Operation.QUERY_OLD_PATH,
    "POST /v1/namespaces/{namespace}/schema": Operation.CHANGE_SCHEMA,
    "GET /v1/namespaces/{namespace}/metadata": Operation.STORE_METADATA,
    "PATCH /v1/namespaces/{namespace}/metadata": Operation.STORE_METADATA,
}
"""By method and path. A name in braces stands for one segment, whatever is in it."""

PUBLIC_OPERATIONS: Final = frozenset(
    {
        Operation.METRIC_CATALOG,
        Operation.METRIC_ENTRY,
        Operation.AUTHENTICATE_KEY,
        Operation.OPENAPI,
    }
)
"""For everybody, with or without a key, and whatever the limits."""


@dataclass(frozen=True, slots=True)
class Route:
    """An operation with the names out of its path, percent-decoded and not yet checked."""

    operation: Operation
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return self.names["namespace"]


PASS: Final = Route(Operation.PASS)
