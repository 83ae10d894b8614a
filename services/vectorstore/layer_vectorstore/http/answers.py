"""Makes response bodies: results with their billing and performance blocks, and errors."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from aiohttp import web

from layer_kit.errors import LayerError
from layer_vectorstore.application.managing import Operation, timestamp
from layer_vectorstore.application.querying import QueryResult
from layer_vectorstore.domain.limits import BILLED_QUERY_BYTES_MIN
from layer_vectorstore.domain.write import WriteOutcome

JSON: Final = "application/json"
MILLISECONDS_MIN: Final = 1
"""Clients' own tests expect times above zero."""


def json_response(body: object, *, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(body), content_type=JSON)


def error_response(error: LayerError) -> web.Response:
    """Answer with the contract's error body; the client retries only where it helps."""
    response = json_response(error_answer(error), status=error.http_status)
    response.headers["x-should-retry"] = "true" if error.retryable else "false"
    if error.retry_after_s is not None:
        response.headers["retry-after-ms"] = str(int(error.retry_after_s * 1000))
    return response


def error_answer(error: LayerError) -> dict[str, str]:
    body = {"status": "error", "error": error.message}
    if "attribute" in error.metadata:
        body["attribute"] = error.metadata["attribute"]
    return body


def write_answer(outcome: WriteOutcome, elapsed_ms: int, *, returns_ids: bool) -> dict[str, Any]:
    counted = {
        "upserted": outcome.upserted_ids,
        "patched": outcome.patched_ids,
        "deleted": outcome.deleted_ids,
    }
    affected = sum(len(ids) for ids in counted.values() if ids) + outcome.copied_rows_count
    answer: dict[str, Any] = {
        "status": "OK",
        "message": outcome.message,
        "rows_affected": affected,
    }
    for kind, ids in counted.items():
        if ids is not None:
            answer[f"rows_{kind}"] = len(ids)
            if returns_ids and ids:
                answer[f"{kind}_ids"] = ids
    if outcome.rows_remain:
        answer["rows_remaining"] = True
    answer["billing"] = {"billable_logical_bytes_written": outcome.written_bytes}
    if outcome.has_queried:
        answer["billing"]["query"] = {
            "billable_logical_bytes_queried": BILLED_QUERY_BYTES_MIN,
            "billable_logical_bytes_returned": 0,
        }
    answer["performance"] = {"server_total_ms": max(elapsed_ms, MILLISECONDS_MIN)}
    return answer


def query_answer(result: QueryResult, elapsed_ms: int) -> dict[str, Any]:
    answer = result.answer.body | {
        "billing": {
            "billable_logical_bytes_queried": max(result.logical_bytes, BILLED_QUERY_BYTES_MIN),
            "billable_logical_bytes_returned": result.answer.returned_bytes,
        },
        "performance": {
            "cache_hit_ratio": 1.0,
            "cache_temperature": "hot",
            "server_total_ms": max(elapsed_ms, MILLISECONDS_MIN),
            "query_execution_ms": max(elapsed_ms, MILLISECONDS_MIN),
            "exhaustive_search_count": result.answer.exhaustive_count,
            "approx_namespace_size": result.rows_count,
        },
    }
    if result.written_at_ms is not None:
        answer["performance"]["last_included_write_at"] = timestamp(result.written_at_ms)
    return answer


def operation_answer(operation: Operation) -> dict[str, Any]:
    elapsed_ms = operation.finished_at_ms - operation.started_at_ms
    result: dict[str, Any]
    match operation.outcome:
        case WriteOutcome() as outcome:
            result = {"success": write_answer(outcome, elapsed_ms, returns_ids=False)}
        case error:
            result = {"error": {"status_code": error.http_status, "detail": error_answer(error)}}
    return {
        "status": "finished",
        "start_time": timestamp(operation.started_at_ms),
        "finish_time": timestamp(operation.finished_at_ms),
        "result": result,
    }
