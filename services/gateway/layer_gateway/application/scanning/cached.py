"""Reading what the cache holds of a namespace, and knowing whether that was all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec
import structlog

from layer_gateway.application.facts import Facts
from layer_gateway.application.scanning.pages import CountTaking, Page, Taking
from layer_gateway.application.scanning.requests import ScanRequest
from layer_gateway.application.warm_jobs import WarmJobs
from layer_gateway.application.watermarks import Watermarks
from layer_gateway.domain.warmth import NamespaceWarmth
from layer_gateway.ports.rows import RowCache
from layer_gateway.ports.scanning import CachedPage, CachedScans, CachedSelection
from layer_gateway.ports.warmth import CacheWarmth
from layer_kit.errors import CacheColdError, LayerError, UnsupportedError, UpstreamError
from layer_kit.names import Namespace
from layer_wire import filters
from layer_wire.ids import IdKind, JsonId
from layer_wire.jsontext import RawObject, is_null
from layer_wire.reserved import UPSERTED_AT, VECTOR_KEYS
from layer_wire.row_filters import compile_filter

log = structlog.get_logger(__name__)

_BODIES: Final[msgspec.json.Decoder[list[RawObject]]] = msgspec.json.Decoder(list[RawObject])
COLD: Final = NamespaceWarmth()
PAGE_SIZE_BY_CACHE: Final = 0
"""Has the cache choose: ids are small, and many of them go in one page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadCached:
    """Reads every row that a filter selects out of the cache."""

    rows: RowCache
    scans: CachedScans
    warmth: CacheWarmth
    facts: Facts
    watermarks: Watermarks
    warm_jobs: WarmJobs
    store_name: str

    async def insist(self, request: ScanRequest, taking: Taking) -> None:
        """Hand over what the cache holds, whether that is all or not.

        Raises:
            CacheColdError: ``CACHE_AWAY``.
            UnsupportedError: ``FILTER_UNSUPPORTED``, ``FIELD_NOT_CACHED``.
        """
        self.warm_jobs.check_cache()
        selection = await self.selection(request)
        try:
            state = await self._state(request.namespace)
            await self._read(request, _cut(selection, state), taking)
        except UnsupportedError as error:
            raise self._unsupported(error.reason, error.message) from error
        except LayerError as error:
            raise CacheColdError(
                "CACHE_AWAY",
                f"The document cache does not answer: {error.message}",
                cache_state="cold",
            ) from error

    async def try_whole(self, request: ScanRequest, taking: Taking) -> bool:
        """Hand over what the cache holds if that is all; otherwise tell so, with nothing taken in.

        A cache that holds less than it could is brought up to date in the background.
        """
        if not self.rows.is_available:
            return False
        try:
            selection = await self.selection(request)
            before = await self._state(request.namespace)
            self._bring_in(request, before)
            if before.warmed_through_ms is None:
                return False
            await self._read(request, _cut(selection, before), taking)
            if not taking.rows_count and not await self._has_rows(request):
                return False
            after = await self._state(request.namespace)
        except UnsupportedError:
            pass
        except LayerError as error:
            log.info("cache_not_scanned", namespace=request.namespace, reason=error.reason)
        else:
            if after.numbers == before.numbers:
                return True
        taking.reset()
        return False

    async def selection(self, request: ScanRequest) -> CachedSelection:
        """Return which rows of the cache a scan means.

        Raises:
            UnsupportedError: ``FILTER_UNSUPPORTED``, ``FIELD_NOT_CACHED``.
            LayerError: The store's own.
        """
        scan = request.scan
        if scan.field in VECTOR_KEYS or scan.field == "id":
            raise self._unsupported(
                "FIELD_NOT_CACHED", f"Values of {scan.field} are not told from the cache."
            )
        span = None if scan.written is None else scan.written.filter
        kept = filters.both(scan.filter, span)
        if kept is None:
            return CachedSelection(filter=None, types={})
        facts = await self.facts.get(request.namespace, request.caller)
        types = {
            name: type_ for name, type_ in facts.types.items() if name not in facts.unfilterable
        } | {UPSERTED_AT: "int"}
        try:
            compile_filter(kept, types)
        except UnsupportedError as error:
            raise self._unsupported(error.reason, error.message) from error
        return CachedSelection(filter=kept, types=types)

    def _unsupported(self, reason: str, message: str) -> UnsupportedError:
        return UnsupportedError(reason, message, store=self.store_name, route="createScan")

    async def _state(self, namespace: Namespace) -> NamespaceWarmth:
        return (await self.warmth.states([namespace])).get(namespace, COLD)

    def _bring_in(self, request: ScanRequest, state: NamespaceWarmth) -> None:
        watermark_ms = self.watermarks.cut(request.namespace).stable_as_of_ms
        if watermark_ms is not None and (state.warmed_through_ms or 0) < watermark_ms:
            self.warm_jobs.fell_behind(request.namespace, request.caller)

    async def _read(self, request: ScanRequest, selection: CachedSelection, taking: Taking) -> None:
        namespace = request.namespace
        if isinstance(taking, CountTaking):
            taking.rows_count = await self.scans.count(namespace, selection)
            return
        page_size = request.scan.page_size if taking.field else PAGE_SIZE_BY_CACHE
        pages = self.scans.pages(namespace, selection, name=taking.field, page_size=page_size)
        async for page in pages:
            for part, some in _in_order(page, taking.field):
                taking.take(part, some)

    async def _has_rows(self, request: ScanRequest) -> bool:
        if request.scan.filter is None and request.scan.written is None:
            return False
        everything = CachedSelection(filter=None, types={})
        async for _ in self.scans.pages(request.namespace, everything, name="", page_size=1):
            return True
        return False


def _cut(selection: CachedSelection, state: NamespaceWarmth) -> CachedSelection:
    return CachedSelection(
        filter=selection.filter,
        types=selection.types,
        upserted_until_ms=state.warmed_through_ms,
    )


DIGITS_MAX: Final = 20


def _in_order(page: CachedPage, name: str) -> list[tuple[int, Page]]:
    """Return the rows of a page in parts within which ids ascend as ids do.

    The cache orders them as text, and so numbers of different lengths otherwise than numbers.
    """
    first_part = page.replica * (DIGITS_MAX + 1)
    if name:
        rows = _decoded(page)
        values = [row[name] for row in rows if name in row and not is_null(row[name])]
        return [(first_part, Page(ids=range(len(page.ids)), values=values))]
    parts: dict[int, list[JsonId]] = {}
    for id_ in page.ids:
        if id_[:1] == IdKind.UNSIGNED.encode():
            parts.setdefault(first_part + len(id_) - 1, []).append(int(id_[1:]))
        else:
            parts.setdefault(first_part, []).append(id_[1:].decode())
    return [(part, Page(ids=ids)) for part, ids in parts.items()]


def _decoded(page: CachedPage) -> list[RawObject]:
    try:
        return _BODIES.decode(b"[%b]" % b",".join(page.bodies))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamError("CACHE_UNREADABLE", "A cached row is not readable.") from error
