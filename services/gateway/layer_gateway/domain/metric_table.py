"""The table of metrics, as the contract has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from layer_gateway.domain.metrics import Alert, Family, Metric

_NAMESPACE: Final = ("namespace", "store_kind")
_CALL: Final = ("pipeline_id", "namespace", "status")
_SCAN: Final = (*_NAMESPACE, "mode", "selector", "served_by", "status")
_EMBED: Final = (*_NAMESPACE, "model", "serving")
_LICENSE: Final = ("license_tier", "license_sub")
_COST: Final = ("provider", "service", "basis", "service_detail", "region", "site")


def _slower(name: str, quantile: float, window: str, seconds: int) -> str:
    buckets = f"sum by (le) (rate({name}_bucket[{window}]))"
    return f"histogram_quantile({quantile}, {buckets}) > {seconds}"


def _grew(name: str, window: str) -> str:
    return f"sum(increase({name}[{window}])) > 0"


_ALERTS: Final[Mapping[str, Alert]] = {
    "layer_query_duration_seconds": Alert(
        "Queries are slow.",
        _slower("layer_query_duration_seconds", 0.99, "5m", 1),
        "10m",
    ),
    "layer_upsert_duration_seconds": Alert(
        "Writes are slow.",
        _slower("layer_upsert_duration_seconds", 0.99, "5m", 2),
        "10m",
    ),
    "hevlayer_cache_cold_responses_total": Alert(
        "Requests are refused because the cache is away.",
        _grew("hevlayer_cache_cold_responses_total", "5m"),
        "5m",
    ),
    "hevlayer_snapshot_field_skipped_total": Alert(
        "A facet field has too many values for a snapshot.",
        _grew("hevlayer_snapshot_field_skipped_total", "1h"),
        "15m",
    ),
    "hevlayer_document_cache_cold_start_seconds": Alert(
        "The document cache takes long to start.",
        _slower("hevlayer_document_cache_cold_start_seconds", 0.95, "1h", 120),
        "10m",
    ),
    "hevlayer_document_cache_cold_start_active": Alert(
        "The document cache is starting cold.",
        "hevlayer_document_cache_cold_start_active == 1",
        "5m",
    ),
    "layer_pipeline_failed_total": Alert(
        "A pipeline gives documents up.",
        _grew("layer_pipeline_failed_total", "5m"),
        "5m",
    ),
    "layer_pg_pool_connections": Alert(
        "Requests wait for a connection to PostgreSQL.",
        'sum(layer_pg_pool_connections{state="waiting"}) > 0',
        "5m",
    ),
    "layer_aerospike_connection_state": Alert(
        "The connection to Aerospike has failed.",
        'max(layer_aerospike_connection_state{state="failed"}) == 1',
        "5m",
    ),
}

# fmt: off
_ROWS: Final[Sequence[Metric]] = (
    Metric("hevlayer_license_valid", "gauge", Family.LICENSE,
           _LICENSE, "1 while the license is valid."),
    Metric("hevlayer_license_expiry_seconds", "gauge", Family.LICENSE,
           _LICENSE, "Seconds until the license expires."),
    Metric("hevlayer_license_grace_seconds_remaining", "gauge", Family.LICENSE,
           ("surface", *_LICENSE), "Seconds of grace left."),
    Metric("hevlayer_license_degraded", "gauge", Family.LICENSE,
           ("surface", *_LICENSE), "1 while a surface works with less than its license."),
    Metric("hevlayer_license_grace_requests_total", "counter", Family.LICENSE,
           (), "Requests answered in the grace of a license."),
    Metric("layer_query_duration_seconds", "histogram", Family.QUERY,
           _CALL, "Time to answer a query at the edge."),
    Metric("layer_query_tpuf_seconds", "histogram", Family.QUERY,
           _CALL, "The part of a query that the store took."),
    Metric("layer_query_overhead_seconds", "histogram", Family.QUERY,
           _CALL, "The part of a query that layer took."),
    Metric("layer_upsert_duration_seconds", "histogram", Family.UPSERT,
           _CALL, "Time to answer a write at the edge."),
    Metric("layer_upsert_tpuf_seconds", "histogram", Family.UPSERT,
           _CALL, "The part of a write that the store took."),
    Metric("layer_upsert_overhead_seconds", "histogram", Family.UPSERT,
           _CALL, "The part of a write that layer took."),
    Metric("layer_upsert_batch_size", "histogram", Family.UPSERT,
           ("pipeline_id", "namespace"), "Rows upserted and patched by one write."),
    Metric("layer_head_duration_seconds", "histogram", Family.QUERY,
           _CALL, "Time to describe a namespace."),
    Metric("layer_list_duration_seconds", "histogram", Family.QUERY,
           _CALL, "Time to list namespaces."),
    Metric("layer_query_shape_total", "counter", Family.QUERY,
           ("pipeline_id", "namespace", "has_filter", "has_rank_by", "status"),
           "Queries, by whether they filter and rank by an expression."),
    Metric("layer_stage_duration_seconds", "histogram", Family.PIPELINE,
           ("pipeline_id", "from_stage", "to_stage"),
           "Time that documents of a pipeline spent in a stage."),
    Metric("layer_stage_transitions_total", "counter", Family.PIPELINE,
           ("pipeline_id", "from_stage", "to_stage", "status"),
           "Documents that moved from one stage to another."),
    Metric("layer_fetch_duration_seconds", "histogram", Family.FETCH,
           ("operation", "namespace", "cache_result"), "Time to fetch documents by id."),
    Metric("layer_fetch_batch_size", "histogram", Family.FETCH,
           ("operation",), "Ids of one fetch."),
    Metric("layer_aerospike_op_duration_seconds", "histogram", Family.STORAGE,
           ("operation", "set", "status"), "Operations of the document cache on Aerospike."),
    Metric("layer_s3_op_duration_seconds", "histogram", Family.STORAGE,
           ("operation", "status"),
           "Operations of the object store, waiting for a thread included."),
    Metric("layer_pg_query_duration_seconds", "histogram", Family.STORAGE,
           ("query_name", "status"), "Queries of the queues in PostgreSQL."),
    Metric("layer_cache_lookups_total", "counter", Family.CACHE,
           ("set", "namespace", "result"),
           "Lookups in the document cache, by how much they found."),
    Metric("layer_cache_lookup_duration_seconds", "histogram", Family.CACHE,
           ("set", "result"), "Time of a lookup in the document cache."),
    Metric("layer_cache_backfills_total", "counter", Family.CACHE,
           ("set", "status"), "Rows offered to the cache after a read of the store."),
    Metric("layer_cache_backfill_duration_seconds", "histogram", Family.CACHE,
           ("set", "status"), "Time to offer rows to the cache."),
    Metric("layer_cache_payload_bytes", "histogram", Family.CACHE,
           ("set", "result"), "Bytes that one lookup found."),
    Metric("hevlayer_cache_demand_total", "counter", Family.CACHE,
           _NAMESPACE, "Requests that the document cache could have served."),
    Metric("hevlayer_cache_cold_responses_total", "counter", Family.CACHE,
           _NAMESPACE, "Requests refused because the cache was away."),
    Metric("hevlayer_multi_query_total", "counter", Family.QUERY,
           (*_NAMESPACE, "status"), "Requests of several queries."),
    Metric("hevlayer_multi_query_legs", "histogram", Family.QUERY,
           _NAMESPACE, "Queries in one request."),
    Metric("hevlayer_multi_query_upstream_calls", "histogram", Family.QUERY,
           _NAMESPACE, "Requests to the store for one of several queries."),
    Metric("hevlayer_hybrid_text_queries_total", "counter", Family.QUERY,
           (*_NAMESPACE, "status"), "Searches by hybrid text, by how they ended."),
    Metric("hevlayer_hybrid_text_tokens", "histogram", Family.QUERY,
           _NAMESPACE, "Words that a search by hybrid text looks for."),
    Metric("hevlayer_query_router_decisions_total", "counter", Family.QUERY,
           (*_NAMESPACE, "route", "executed"), "Automatic searches, by the route chosen."),
    Metric("hevlayer_agent_queries_total", "counter", Family.QUERY,
           ("agent", "status", "deadline_hit"), "Questions to agents."),
    Metric("hevlayer_agent_query_duration_seconds", "histogram", Family.QUERY,
           ("agent", "status"), "Time to answer a question to an agent."),
    Metric("hevlayer_agent_turns", "histogram", Family.QUERY,
           ("agent", "status"), "Turns of one answer of an agent."),
    Metric("hevlayer_agent_tokens_total", "counter", Family.QUERY,
           ("agent", "turn", "token_type"), "Tokens read and written by agents."),
    Metric("hevlayer_embed_tokens_total", "counter", Family.COST,
           _EMBED, "Tokens embedded."),
    Metric("hevlayer_embed_compute_seconds_total", "counter", Family.COST,
           _EMBED, "Time spent on embedding."),
    Metric("hevlayer_tpuf_billable_bytes_written_total", "counter", Family.STORAGE,
           _NAMESPACE, "Logical bytes written, as the store bills them."),
    Metric("hevlayer_tpuf_billable_bytes_queried_total", "counter", Family.QUERY,
           _NAMESPACE, "Logical bytes queried, as the store bills them."),
    Metric("hevlayer_tpuf_billable_bytes_returned_total", "counter", Family.QUERY,
           _NAMESPACE, "Logical bytes returned, as the store bills them."),
    Metric("hevlayer_tpuf_logical_bytes", "gauge", Family.STORAGE,
           _NAMESPACE, "Logical bytes of a namespace."),
    Metric("hevlayer_cost_usd_per_hour", "gauge", Family.COST,
           (*_COST, "rate_card_version"), "Cost of running, by where it arises."),
    Metric("hevlayer_scan_total", "counter", Family.CACHE,
           _SCAN, "Scans, by what was asked and what served them."),
    Metric("hevlayer_scan_duration_seconds", "histogram", Family.CACHE,
           _SCAN, "Time of a scan."),
    Metric("hevlayer_scan_documents_scanned", "histogram", Family.CACHE,
           _SCAN, "Documents that a scan looked at."),
    Metric("hevlayer_snapshot_field_skipped_total", "counter", Family.CACHE,
           (*_NAMESPACE, "field", "reason"), "Facet fields left out of a snapshot."),
    Metric("hevlayer_snapshot_pruned_total", "counter", Family.CACHE,
           _NAMESPACE, "Snapshots deleted because their time was over."),
    Metric("hevlayer_cache_state", "gauge", Family.CACHE,
           (*_NAMESPACE, "state"), "1 for the state that a namespace has in the document cache."),
    Metric("hevlayer_document_cache_cold_starts_total", "counter", Family.CACHE,
           (), "Cold starts of the document cache."),
    Metric("hevlayer_document_cache_cold_start_seconds", "histogram", Family.CACHE,
           (), "Time of a cold start of the document cache."),
    Metric("hevlayer_document_cache_cold_start_active", "gauge", Family.CACHE,
           (), "1 while the document cache starts cold."),
    Metric("layer_pipeline_stage_count", "gauge", Family.PIPELINE,
           ("pipeline_id", "stage"), "Documents of a pipeline in a stage."),
    Metric("layer_pipeline_indexed_total", "counter", Family.PIPELINE,
           ("pipeline_id",), "Documents that a pipeline has indexed."),
    Metric("layer_pipeline_failed_total", "counter", Family.PIPELINE,
           ("pipeline_id", "reason"), "Documents that a pipeline has given up."),
    Metric("layer_pipeline_window_open", "gauge", Family.PIPELINE,
           ("pipeline_id",), "1 while the workers of a pipeline with a schedule are to run."),
    Metric("layer_udf_queue_depth", "gauge", Family.UDF,
           ("udf",), "Rows that wait for a function or are with it."),
    Metric("layer_udf_stage_count", "gauge", Family.UDF,
           ("udf", "stage"), "Rows of a function in a stage."),
    Metric("layer_udf_window_open", "gauge", Family.UDF,
           ("udf",), "1 while a function with a schedule has something to do by it."),
    Metric("layer_pg_pool_connections", "gauge", Family.SATURATION,
           ("state",), "Connections to PostgreSQL."),
    Metric("layer_aerospike_inflight", "gauge", Family.SATURATION,
           (), "Operations on Aerospike without an answer yet."),
    Metric("layer_aerospike_connection_state", "gauge", Family.SATURATION,
           ("state",), "1 for the state of the connection to Aerospike."),
    Metric("layer_tpuf_inflight", "gauge", Family.SATURATION,
           (), "Requests to the store without an answer yet."),
)
# fmt: on

METRICS: Final[Sequence[Metric]] = sorted(
    (replace(row, alert=_ALERTS.get(row.name)) for row in _ROWS), key=lambda row: row.name
)
