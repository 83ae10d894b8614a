"""Carrying a scan out: from the cache where that holds all that is asked for, or from the store."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from layer_gateway.application.plans import MakePlans, Plan
from layer_gateway.application.refusals import refusal
from layer_gateway.application.scanning.by_id import ReadById
from layer_gateway.application.scanning.cached import ReadCached
from layer_gateway.application.scanning.pages import Taking
from layer_gateway.application.scanning.ranked import ReadRanked
from layer_gateway.application.scanning.requests import ScanRequest
from layer_gateway.application.scanning.store_reads import RefusedError, StoreReads
from layer_gateway.application.scanning.throttle import Throttle
from layer_gateway.application.watermarks import Watermarks
from layer_gateway.domain.scans import ScanReport, ServedBy
from layer_gateway.ports.stores import Store, StoreAnswer
from layer_wire.scans import DistanceSelector, Scan, ScanSource

NOT_IN_SCHEMA: Final = b"not found in schema"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunScan:
    """Reads the rows that a scan selects, wherever it may."""

    store: Store
    plans: MakePlans
    watermarks: Watermarks
    read_by_id: ReadById
    read_ranked: ReadRanked
    read_cached: ReadCached
    threads_default: int

    async def __call__(
        self,
        request: ScanRequest,
        taking: Taking,
        report: ScanReport,
        *,
        faults_max: int = 0,
    ) -> None:
        """Hand all rows over to ``taking``; ``report`` holds at any time what is known.

        Args:
            faults_max: How often in a row a request is sent anew when the store fails.

        Raises:
            NotFoundError: ``NAMESPACE_NOT_FOUND``.
            CacheColdError: ``CACHE_AWAY``.
            UnsupportedError: ``FILTER_UNSUPPORTED``, ``FIELD_NOT_CACHED``.
            LayerError: What :func:`refusal` makes of a refusal, or the store's own.
        """
        scan = request.scan
        if scan.source is ScanSource.CACHE:
            report.served_by = ServedBy.CACHE
            await self.read_cached.insist(request, taking)
            return
        if scan.source is ScanSource.AUTO and scan.selector is None:
            report.served_by = ServedBy.CACHE
            if await self.read_cached.try_whole(request, taking):
                return
        report.served_by = ServedBy.ORIGIN
        await self._from_store(request, taking, report, faults_max)

    async def _from_store(
        self, request: ScanRequest, taking: Taking, report: ScanReport, faults_max: int
    ) -> None:
        namespace, scan, caller = request.namespace, request.scan, request.caller
        threads = report.threads = scan.threads or self.threads_default
        report.is_approximate = isinstance(scan.selector, DistanceSelector)
        reads = StoreReads(
            store=self.store,
            request=request,
            cut=self.watermarks.cut(namespace),
            throttle=Throttle(threads),
            faults_max=faults_max,
        )

        async def work(plan: Plan) -> StoreAnswer | None:
            taking.reset()
            report.shards_total = plan.scatter_count
            if plan.scatter_count > 1:
                report.threads = min(threads, plan.scatter_count)
            if plan.finds_nothing(scan.written):
                return None
            try:
                await self._read(reads, plan, taking, report)
            except RefusedError as refused:
                return refused.answer
            return None

        refused = await self.plans.carry_out(
            namespace, reads.cut, caller, work=work, refusal=lambda answer: answer
        )
        if refused is not None and not _lacks_field(scan, refused):
            raise refusal(refused, namespace)
        self.watermarks.seen(namespace, caller)

    async def _read(
        self, reads: StoreReads, plan: Plan, taking: Taking, report: ScanReport
    ) -> None:
        if reads.request.scan.selector is None:
            await self.read_by_id(reads, plan, taking)
        else:
            await self.read_ranked(reads, plan, taking, report.saturated)


def _lacks_field(scan: Scan, refused: StoreAnswer) -> bool:
    """Tell whether the store does not know the attribute whose values are wanted: none has any."""
    return (
        bool(scan.field)
        and refused.status == HTTPStatus.BAD_REQUEST
        and NOT_IN_SCHEMA in refused.body
        and scan.field.encode() in refused.body
    )
