"""Answers out of the latest snapshot, where the store would answer the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from layer_gateway.application.facts import Facts
from layer_gateway.application.scanning.requests import ScanRequest
from layer_gateway.domain.facet_counts import facet_count, facet_question
from layer_gateway.domain.scans import ScanReport, ServedBy
from layer_gateway.ports.scanning import FacetSnapshot, LatestSnapshots
from layer_kit.errors import LayerError, PreconditionError, UpstreamError
from layer_wire.scans import ScanSource

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSnapshots:
    """Counts and lists values without reading a row.

    Both methods return None where the caller leaves the source open and the snapshot cannot tell.
    Where it must be the snapshot they raise ``PreconditionError`` (``SNAPSHOT_UNFIT``,
    ``SNAPSHOT_MISSING``) or ``UpstreamError`` (``SNAPSHOTS_FAILED``).
    """

    snapshots: LatestSnapshots
    facts: Facts

    async def count(self, request: ScanRequest) -> tuple[int, ScanReport] | None:
        """Count the rows that have one of some values of a field."""
        try:
            return await self._count(request)
        except (PreconditionError, UpstreamError) as error:
            if request.scan.source is ScanSource.SNAPSHOT:
                raise
            _note(request, error)
            return None

    async def values(
        self, request: ScanRequest
    ) -> tuple[Sequence[tuple[str, int]], ScanReport] | None:
        """Return all values of a field with their rows, the most frequent first."""
        try:
            return await self._values(request)
        except (PreconditionError, UpstreamError) as error:
            if request.scan.source is ScanSource.SNAPSHOT:
                raise
            _note(request, error)
            return None

    async def _count(self, request: ScanRequest) -> tuple[int, ScanReport]:
        scan = request.scan
        question = facet_question(scan.filter)
        if question is None or scan.written is not None:
            raise _unfit("A snapshot counts by one filter of Eq or In, and by nothing else.")
        found, counts = await self._field(request, question.field)
        facts = await self.facts.get(request.namespace, request.caller)
        if question.field in facts.unfilterable:
            raise _unfit(f"The store does not filter by {question.field!r}.")
        count = facet_count(question, facts.types.get(question.field, ""), counts)
        if count is None:
            raise _unfit("The store may compare these values in another way.")
        return count, _report(found)

    async def _values(self, request: ScanRequest) -> tuple[Sequence[tuple[str, int]], ScanReport]:
        if request.scan.filter is not None or request.scan.written is not None:
            raise _unfit("A snapshot has the values of all rows together.")
        found, counts = await self._field(request, request.scan.field)
        return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])), _report(found)

    async def _field(
        self, request: ScanRequest, field: str
    ) -> tuple[FacetSnapshot, Mapping[str, int]]:
        found = await self.snapshots.latest(request.namespace, field)
        if found is None:
            raise PreconditionError(
                "SNAPSHOT_MISSING",
                f"Namespace {request.namespace} has no snapshot.",
                namespace=request.namespace,
            )
        if found.counts is None:
            raise _unfit(f"The snapshot has no field {field!r}.")
        return found, found.counts


def _note(request: ScanRequest, error: LayerError) -> None:
    if isinstance(error, UpstreamError):
        log.info("snapshot_not_read", namespace=request.namespace, reason=error.reason)


def _unfit(why: str) -> PreconditionError:
    return PreconditionError("SNAPSHOT_UNFIT", f"{why} Ask another source.", field="source")


def _report(snapshot: FacetSnapshot) -> ScanReport:
    return ScanReport(
        served_by=ServedBy.SNAPSHOT,
        snapshot_sha=snapshot.sha,
        watermark_ms=snapshot.watermark_ms,
    )
