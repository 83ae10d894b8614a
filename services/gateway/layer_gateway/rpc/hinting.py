"""Warming of caches: what is wanted, and what was done about it, as messages."""

from __future__ import annotations

from layer.gateway.v1 import gateway_pb2
from layer_gateway.application.blob_warming import WarmedBlobs
from layer_gateway.application.hinting import Hint, Hinted
from layer_gateway.application.mirroring import MirroredSnapshot
from layer_gateway.application.warm_jobs import PAGE_SIZE_DEFAULT
from layer_gateway.rpc.warming import job_message
from layer_kit.errors import InvalidRequestError


def hint_of(request: gateway_pb2.WarmCachesRequest) -> Hint:
    """Return what a request wants.

    Raises:
        InvalidRequestError: ``OPTION_INVALID``.
    """
    budget = request.blob_budget_bytes if request.HasField("blob_budget_bytes") else None
    if budget is not None and budget < 1:
        raise InvalidRequestError(
            "OPTION_INVALID",
            "blob_budget_bytes must be a positive number of bytes.",
            field="blob_budget_bytes",
        )
    return Hint(
        store=request.with_store,
        rows=request.with_rows,
        snapshot=request.with_snapshot,
        blob_budget_bytes=budget,
        page_size=request.page_size or PAGE_SIZE_DEFAULT,
    )


def warm_response(done: Hinted) -> gateway_pb2.WarmCachesResponse:
    return gateway_pb2.WarmCachesResponse(
        is_store_hinted=done.hint.store,
        row_job=None if done.job is None else job_message(done.job),
        snapshot=None if done.snapshot is None else _snapshot(done.snapshot),
        blobs=None if done.blobs is None else _blobs(done.blobs),
    )


def _snapshot(found: MirroredSnapshot) -> gateway_pb2.MirroredSnapshot:
    return gateway_pb2.MirroredSnapshot(
        key=found.key, watermark_ms=found.watermark_ms, sha=found.sha
    )


def _blobs(done: WarmedBlobs) -> gateway_pb2.WarmedBlobs:
    return gateway_pb2.WarmedBlobs(
        is_complete=done.is_over,
        attribute_names=done.attributes,
        budget_bytes=done.budget_bytes,
        scanned_row_count=done.documents_scanned,
        reference_count=done.refs_seen,
        copied_count=done.objects,
        copied_bytes=done.bytes,
        missing_count=done.missing,
        invalid_reference_count=done.invalid_refs,
        is_budget_exhausted=done.budget_exhausted,
    )
