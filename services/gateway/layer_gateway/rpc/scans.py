"""Scans: typed requests to scans and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from layer.gateway.v1 import gateway_pb2
from layer_gateway.application.scanning.cached_values import CachedValues
from layer_gateway.application.scanning.kept_scans import ResultPage
from layer_gateway.application.scanning.scan_job import ScanJob
from layer_gateway.domain.scans import CountAnswer, ServedBy
from layer_gateway.rpc.jobs import STATES, fill_times, jobs_page
from layer_gateway.rpc.reading import page_size
from layer_kit.errors import InvalidRequestError
from layer_messages.filters import filter_json
from layer_messages.vectors import vector_json
from layer_wire.filters import Written
from layer_wire.jsontext import raw
from layer_wire.queries import VECTOR_ATTRIBUTE, written_span
from layer_wire.scans import (
    PAGE_SIZE_DEFAULT,
    DistanceSelector,
    HybridSelector,
    Scan,
    ScanMode,
    ScanSource,
    Selector,
    TextSelector,
    checked,
)
from layer_wire.search_bodies import TEXT_LENGTH_MAX
from layer_wire.searches import Fuzziness

RESULTS_MAX: Final = 10_000
FUZZINESS: Final[Sequence[Fuzziness]] = (0, 1, 2)

_SOURCES: Final[Mapping[int, ScanSource]] = {
    gateway_pb2.SCAN_SOURCE_UNSPECIFIED: ScanSource.AUTO,
    gateway_pb2.SCAN_SOURCE_AUTO: ScanSource.AUTO,
    gateway_pb2.SCAN_SOURCE_SNAPSHOT: ScanSource.SNAPSHOT,
    gateway_pb2.SCAN_SOURCE_CACHE: ScanSource.CACHE,
    gateway_pb2.SCAN_SOURCE_ORIGIN: ScanSource.ORIGIN,
}
_SHOWN_SOURCES: Final[Mapping[str | None, gateway_pb2.ScanSource.ValueType]] = {
    None: gateway_pb2.SCAN_SOURCE_UNSPECIFIED,
    ScanSource.AUTO: gateway_pb2.SCAN_SOURCE_AUTO,
    ServedBy.SNAPSHOT: gateway_pb2.SCAN_SOURCE_SNAPSHOT,
    ServedBy.CACHE: gateway_pb2.SCAN_SOURCE_CACHE,
    ServedBy.ORIGIN: gateway_pb2.SCAN_SOURCE_ORIGIN,
}


def typed_scan(selection: gateway_pb2.ScanSelection, mode: ScanMode, field: str = "") -> Scan:
    """Return what a request asks for.

    Raises:
        InvalidRequestError: ``FILTER_INVALID``, ``VALUE_INVALID``, ``BETWEEN_ORDER``, or what
            ``checked`` raises.
    """
    own = raw(filter_json(selection.filter, "filter")) if selection.HasField("filter") else None
    return checked(
        Scan(
            mode=mode,
            source=_source(selection.source),
            filter=own,
            written=_written(selection),
            selector=_selector(selection),
            field=field,
            is_exhaustive=selection.is_exhaustive,
            threads=selection.threads or None,
            page_size=selection.page_size or PAGE_SIZE_DEFAULT,
            timeout_s=selection.timeout_s or None,
        )
    )


def count_response(answer: CountAnswer) -> gateway_pb2.CountRowsResponse:
    """Return a count as a message."""
    report = answer.report
    return gateway_pb2.CountRowsResponse(
        row_count=answer.count,
        served_by=_SHOWN_SOURCES[report.served_by],
        snapshot_sha=report.snapshot_sha or "",
        watermark_ms=report.watermark_ms,
        is_bounded=report.is_bounded,
        is_timed_out=report.is_timed_out,
        saturated_shard_count=len(report.saturated),
        shard_count=report.shards_total,
        is_approximate=report.is_approximate,
        threads=report.threads or 0,
        elapsed_ms=answer.elapsed_ms,
    )


def job_message(job: ScanJob) -> gateway_pb2.ScanJob:
    """Return a job as a message."""
    message = gateway_pb2.ScanJob(
        id=job.id,
        namespace=job.namespace,
        state=STATES[job.status],
        value_attribute=job.field or "",
        source=_SHOWN_SOURCES[job.source],
        effective_source=_SHOWN_SOURCES[job.effective_source],
        progress=job.progress,
        scanned_row_count=job.documents_scanned,
        distinct_value_count=job.unique_values,
        is_truncated=bool(job.truncated),
        is_bounded=bool(job.bounded),
        is_approximate=bool(job.approximate),
        snapshot_sha=job.snapshot_sha or "",
        watermark_ms=job.watermark_ms,
        threads=job.threads or 0,
        error=job.error or "",
    )
    fill_times(message, job)
    return message


def jobs_response(
    request: gateway_pb2.ListScanJobsRequest, jobs: Sequence[ScanJob]
) -> gateway_pb2.ListScanJobsResponse:
    """Return a page of the jobs there are.

    Raises:
        InvalidRequestError: ``PAGE_SIZE_NEGATIVE``.
    """
    page, next_token = jobs_page(request, jobs)
    return gateway_pb2.ListScanJobsResponse(jobs=map(job_message, page), next_page_token=next_token)


def results_place(request: gateway_pb2.ReadScanResultsRequest) -> tuple[int, int]:
    """Return from where on how many results are wanted.

    Raises:
        InvalidRequestError: ``OFFSET_NEGATIVE``, ``PAGE_SIZE_NEGATIVE``.
    """
    if request.offset < 0:
        raise InvalidRequestError("OFFSET_NEGATIVE", "offset is not negative.", field="offset")
    size = page_size(request.page_size, default=PAGE_SIZE_DEFAULT, most=RESULTS_MAX)
    return request.offset, size


def results_response(page: ResultPage) -> gateway_pb2.ReadScanResultsResponse:
    """Return results as a message."""
    if page.job.mode is ScanMode.IDS:
        return gateway_pb2.ReadScanResultsResponse(ids=page.items, total_count=page.total)
    values = (gateway_pb2.ScanValue(value=value, row_count=n) for value, n in page.items)
    return gateway_pb2.ReadScanResultsResponse(values=values, total_count=page.total)


def cached_values_scan(request: gateway_pb2.CountCachedValuesRequest) -> Scan:
    """Return the scan that counting values of cached rows is.

    Raises:
        InvalidRequestError: ``FIELD_MISSING``, ``FILTER_INVALID``, ``VALUE_INVALID``,
            ``PAGE_SIZE_NEGATIVE``.
    """
    if not request.attribute_name:
        raise InvalidRequestError("FIELD_MISSING", "attribute_name names the attribute to count.")
    has_filter = request.HasField("filter")
    return Scan(
        mode=ScanMode.VALUES,
        source=ScanSource.CACHE,
        filter=raw(filter_json(request.filter, "filter")) if has_filter else None,
        field=request.attribute_name,
        page_size=page_size(request.page_size, default=PAGE_SIZE_DEFAULT, most=RESULTS_MAX),
    )


def cached_values_response(found: CachedValues) -> gateway_pb2.CountCachedValuesResponse:
    facet = found.facet
    return gateway_pb2.CountCachedValuesResponse(
        row_count=found.row_count,
        values=[
            gateway_pb2.ScanValue(value=value, row_count=count)
            for value, count in facet.counts.items()
        ],
        distinct_count=facet.distinct_count,
        is_truncated=facet.is_truncated,
        warmed_through_ms=found.warmed_through_ms,
    )


def _source(source: int) -> ScanSource:
    try:
        return _SOURCES[source]
    except KeyError as error:
        raise InvalidRequestError(
            "SOURCE_UNFIT", f"{source} is no source.", field="source"
        ) from error


def _written(selection: gateway_pb2.ScanSelection) -> Written | None:
    match selection.WhichOneof("written"):
        case "as_of_ms":
            return written_span(selection.as_of_ms, None)
        case "between":
            return written_span(None, (selection.between.after_ms, selection.between.through_ms))
        case _:
            return None


def _selector(selection: gateway_pb2.ScanSelection) -> Selector | None:
    match selection.WhichOneof("selector"):
        case "text":
            text = selection.text
            _check_text(text, "text")
            return TextSelector(field=text.attribute, query=text.text)
        case "hybrid_text":
            hybrid = selection.hybrid_text
            _check_text(hybrid, "hybrid_text")
            return HybridSelector(
                field=hybrid.attribute, query=hybrid.text, fuzziness=_fuzziness(hybrid)
            )
        case "distance":
            near = selection.distance
            return DistanceSelector(
                vector=raw(vector_json(near.vector, "distance.vector")),
                radius=near.radius,
                field=near.attribute or VECTOR_ATTRIBUTE,
            )
        case _:
            return None


def _check_text(
    selector: gateway_pb2.TextSelector | gateway_pb2.HybridTextSelector, where: str
) -> None:
    for name, value in (("attribute", selector.attribute), ("text", selector.text)):
        if not 1 <= len(value) <= TEXT_LENGTH_MAX:
            raise InvalidRequestError(
                "FIELD_MISSING",
                f"{where}.{name} has 1 to {TEXT_LENGTH_MAX} characters.",
                field=f"{where}.{name}",
            )


def _fuzziness(selector: gateway_pb2.HybridTextSelector) -> Fuzziness:
    if not selector.HasField("edit_distance_max"):
        return "auto"
    if selector.edit_distance_max not in FUZZINESS:
        raise InvalidRequestError(
            "VALUE_INVALID",
            "hybrid_text.edit_distance_max is 0, 1 or 2.",
            field="hybrid_text.edit_distance_max",
        )
    return FUZZINESS[selector.edit_distance_max]
