"""Counts: answered at once, from a snapshot where that knows, otherwise by reading rows."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from layer_gateway.application.refusals import status_label
from layer_gateway.application.scanning.from_snapshots import ReadSnapshots
from layer_gateway.application.scanning.pages import CountTaking
from layer_gateway.application.scanning.requests import ScanRequest
from layer_gateway.application.scanning.running import RunScan
from layer_gateway.application.scanning.watch import Watch
from layer_gateway.domain.scans import CountAnswer, ScanReport
from layer_gateway.ports.watching import ScanObserver
from layer_kit.clock import Monotonic
from layer_kit.errors import LayerError
from layer_wire.scans import TIMEOUT_S_DEFAULT, ScanSource


@dataclass(frozen=True, slots=True, kw_only=True)
class CountRows:
    """Counts the rows that a scan selects."""

    read_snapshots: ReadSnapshots
    run_scan: RunScan
    observer: ScanObserver
    monotonic: Monotonic

    async def __call__(self, request: ScanRequest) -> CountAnswer:
        """Count within the time that the caller gives; what was counted until then is the answer.

        Raises:
            PreconditionError: ``SNAPSHOT_UNFIT``, ``SNAPSHOT_MISSING``.
            LayerError: As for ``RunScan``.
        """
        watch = Watch(request, self.observer, self.monotonic)
        report = ScanReport()
        try:
            count, report = await self._counted(request, report)
        except LayerError as error:
            watch.ended(report, 0, status_label(error))
            raise
        elapsed_s = watch.ended(report, count, "timeout" if report.is_timed_out else "ok")
        return CountAnswer(count=count, report=report, elapsed_ms=round(elapsed_s * 1000))

    async def _counted(self, request: ScanRequest, report: ScanReport) -> tuple[int, ScanReport]:
        scan = request.scan
        if scan.source in (ScanSource.AUTO, ScanSource.SNAPSHOT) and scan.selector is None:
            found = await self.read_snapshots.count(request)
            if found is not None:
                return found
        taking = CountTaking()
        try:
            async with asyncio.timeout(scan.timeout_s or TIMEOUT_S_DEFAULT):
                await self.run_scan(request, taking, report)
        except TimeoutError:
            report.is_timed_out = True
        return taking.rows_count, report
