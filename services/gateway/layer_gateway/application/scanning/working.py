"""The work of a scan job: reading rows, then writing down what was found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog

from layer_gateway.application.facts import Facts
from layer_gateway.application.listings import Metadata
from layer_gateway.application.scanning.pages import Taking
from layer_gateway.application.scanning.requests import ScanRequest
from layer_gateway.application.scanning.results import ResultWriter
from layer_gateway.application.scanning.running import RunScan
from layer_gateway.application.scanning.scan_job import ScanJob, fill
from layer_gateway.application.scanning.sorted_ids import IdsTaking
from layer_gateway.application.scanning.values import ValuesTaking
from layer_gateway.domain.scans import ScanReport
from layer_gateway.ports.scanning import Spool
from layer_gateway.ports.stores import Store
from layer_kit.errors import LayerError, UpstreamError
from layer_wire.rows import read_answer
from layer_wire.scans import ScanMode

log = structlog.get_logger(__name__)

FAULTS_MAX: Final = 5
"""How often in a row a request of a job is sent anew when the store fails."""

RUNNING_SHARE_MAX: Final = 0.99

_METADATA: Final[msgspec.json.Decoder[Metadata]] = msgspec.json.Decoder(Metadata)


@dataclass(slots=True, kw_only=True)
class Work:
    """A scan job on its way."""

    request: ScanRequest
    report: ScanReport = field(default_factory=ScanReport)
    taking: Taking | None = None
    rows_expected: int | None = None
    unique_values: int | None = None
    is_truncated: bool | None = None

    def fill(self, job: ScanJob) -> None:
        """Note on a job how far it has come."""
        fill(job, self.report)
        job.documents_scanned = 0 if self.taking is None else self.taking.rows_count
        job.unique_values = self.unique_values
        job.truncated = self.is_truncated
        if self.rows_expected:
            job.progress = min(RUNNING_SHARE_MAX, job.documents_scanned / self.rows_expected)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkScan:
    """Carries a scan job out."""

    run_scan: RunScan
    store: Store
    facts: Facts
    open_spool: Callable[[], Spool]
    """Where ids wait to be sorted."""

    async def __call__(self, work: Work, writer: ResultWriter) -> None:
        """Read all rows and write the result; errors are those of either.

        A scan that is given a time ends with what it has found by then.
        """
        work.rows_expected = await self._rows_expected(work.request)
        if work.request.scan.mode is ScanMode.IDS:
            await self._ids(work, writer)
        else:
            await self._values(work, writer)

    async def check_cache(self, request: ScanRequest) -> None:
        """Refuse a scan of the cache that cannot be answered.

        Raises:
            CacheColdError: ``CACHE_AWAY``.
            UnsupportedError: ``FILTER_UNSUPPORTED``, ``FIELD_NOT_CACHED``.
        """
        self.run_scan.read_cached.warm_jobs.check_cache()
        await self.run_scan.read_cached.selection(request)

    async def _ids(self, work: Work, writer: ResultWriter) -> None:
        with closing(self.open_spool()) as spool:
            work.taking = taking = IdsTaking(spool)
            await self._read(work, taking)
            merged = taking.merged()
            # Sorting is work for the processor: requests go on meanwhile.
            while (texts := await asyncio.to_thread(_next_texts, merged)) is not None:
                await writer.add(texts)
            await writer.finish()

    async def _values(self, work: Work, writer: ResultWriter) -> None:
        scan = work.request.scan
        work.taking = taking = ValuesTaking(scan.field, await self._type(work.request))
        await self._read(work, taking)
        ordered = await asyncio.to_thread(taking.facet.ordered)
        work.unique_values = taking.facet.distinct_count
        work.is_truncated = taking.facet.is_truncated
        await writer.add(ordered)
        await writer.finish()

    async def _read(self, work: Work, taking: Taking) -> None:
        try:
            async with asyncio.timeout(work.request.scan.timeout_s):
                await self.run_scan(work.request, taking, work.report, faults_max=FAULTS_MAX)
        except TimeoutError:
            work.report.is_timed_out = True

    async def _type(self, request: ScanRequest) -> str:
        """Return the type of the attribute whose values are wanted; empty where it is unknown."""
        try:
            facts = await self.facts.get(request.namespace, request.caller)
        except UpstreamError:
            return ""
        return facts.types.get(request.scan.field, "")

    async def _rows_expected(self, request: ScanRequest) -> int | None:
        """Return about how many rows there are; that only makes progress visible."""
        try:
            answer = await self.store.metadata(request.namespace, request.caller)
            if answer.status != HTTPStatus.OK:
                return None
            return read_answer(_METADATA, answer.body).approx_row_count
        except LayerError as error:
            log.info("rows_not_estimated", namespace=request.namespace, reason=error.reason)
            return None


def _next_texts(merged: Iterator[Sequence[Any]]) -> list[str] | None:
    """Return the next ids as text; None at the end."""
    found = next(merged, None)
    return None if found is None else [str(id_) for id_ in found]
