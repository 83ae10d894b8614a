"""Telling whoever watches the gateway how scans went."""

from __future__ import annotations

from layer_gateway.application.scanning.requests import ScanRequest
from layer_gateway.domain.scans import ScanReport
from layer_gateway.ports.watching import ScanObserver, SeenScan
from layer_kit.clock import Monotonic
from layer_wire.scans import selector_name


class Watch:
    """Times one scan, from when this is made."""

    def __init__(self, request: ScanRequest, observer: ScanObserver, monotonic: Monotonic) -> None:
        self._request = request
        self._observer = observer
        self._monotonic = monotonic
        self._started_s = monotonic()

    def ended(self, report: ScanReport, rows_count: int, status: str) -> float:
        """Tell how it ended; return how long it took, in seconds."""
        seconds = self._monotonic() - self._started_s
        scan = self._request.scan
        self._observer.scanned(
            SeenScan(
                namespace=self._request.namespace,
                mode=scan.mode,
                selector=selector_name(scan.selector),
                served_by=report.served_by or "",
                status=status,
                seconds=seconds,
                rows_count=rows_count,
            )
        )
        return seconds
