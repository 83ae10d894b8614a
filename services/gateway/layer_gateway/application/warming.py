"""Bringing a namespace into the cache as a whole (docs/reference/http.md, "Warm").

In order: hint the store's own cache, mirror the latest snapshot, then read every row at strong
consistency and backfill it. What comes of it is a moment, the watermark read at the *start*: each
row stamped at or before it was upstream when it was read, or is in the cache by a later write.
Whatever fails leaves the namespace cold.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import msgspec
import structlog

from layer_gateway.application.facts import Facts
from layer_gateway.application.joined_reads import JoinedReads, no_namespace
from layer_gateway.application.listings import Metadata
from layer_gateway.application.mirroring import MirrorSnapshot
from layer_gateway.application.refusals import accepted
from layer_gateway.application.streaming import RowStream, StreamRows
from layer_gateway.application.watermarks import Watermarks
from layer_gateway.ports.rows import RowCache
from layer_gateway.ports.stores import Caller, Store, StoreHints
from layer_gateway.ports.warmth import CacheWarmth, Warming
from layer_kit.errors import ConflictError, LayerError, UnavailableError
from layer_kit.names import Namespace
from layer_wire import ids as wire_ids
from layer_wire.ids import IdKind, JsonId
from layer_wire.jsontext import RawObject
from layer_wire.rows import read_answer, row_id, split_row
from layer_wire.stamping import CacheRows

log = structlog.get_logger(__name__)

WATERMARK_S_MAX: Final = 10.0
WATERMARK_POLL_S: Final = 0.05
REPORT_INTERVAL_S: Final = 5.0
ATTEMPTS_MAX: Final = 5
"""How often rows that the cache refused are read anew: written meanwhile, or it was busy."""

_METADATA: Final[msgspec.json.Decoder[Metadata]] = msgspec.json.Decoder(Metadata)

PAUSE_S: Final = 0.1
"""Before the second attempt; it doubles with each."""


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a warming has come."""

    documents_scanned: int = 0
    documents_expected: int | None = None
    stable_as_of_ms: int | None = None

    @property
    def share(self) -> float:
        """The part that is done, below 1 as long as it is not all."""
        if not self.documents_expected:
            return 0.0
        return min(0.99, self.documents_scanned / self.documents_expected)


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmNamespace:
    """Brings one namespace in."""

    store: Store
    hints: StoreHints
    cache: RowCache
    warmth: CacheWarmth
    facts: Facts
    watermarks: Watermarks
    stream_rows: StreamRows
    reads: JoinedReads
    mirror: MirrorSnapshot

    async def hint(self, namespace: Namespace, caller: Caller) -> None:
        """Have the store warm its own cache.

        Raises:
            NotFoundError: ``NAMESPACE_NOT_FOUND``.
            LayerError: What ``accepted`` makes of a refusal, or the store's own.
        """
        accepted(await self.hints.hint_cache_warm(namespace, caller), namespace)

    async def rows(
        self, namespace: Namespace, caller: Caller, progress: Progress, *, page_size: int
    ) -> None:
        """Backfill every row, and make the namespace warm through the watermark of the start.

        Raises:
            NotFoundError: ``NAMESPACE_NOT_FOUND``, ``WARM_UNKNOWN``.
            ConflictError: ``WARM_IN_FLIGHT``.
            UnavailableError: ``WATERMARK_UNKNOWN``, ``ROWS_NOT_CACHED``, or the cache's own.
            LayerError: What ``accepted`` makes of a refusal, or the store's own.
        """
        watermark_ms = progress.stable_as_of_ms = await self._watermark(namespace, caller, progress)
        warming = await self.warmth.begin(namespace)
        if warming is None:
            raise ConflictError(
                "WARM_IN_FLIGHT",
                f"Namespace {namespace} is being warmed already.",
                namespace=namespace,
            )
        try:
            async with self._reported(warming):
                await self._backfill_all(namespace, caller, progress, page_size)
            is_warm = await self.warmth.finish(warming, watermark_ms)
        except BaseException:
            await self._give_up(warming)
            raise
        if not is_warm:
            raise UnavailableError(
                "ROWS_NOT_CACHED",
                "The cache lost rows while the namespace was brought in; it may be too small.",
                namespace=namespace,
            )

    async def _watermark(self, namespace: Namespace, caller: Caller, progress: Progress) -> int:
        """Return the watermark, waiting a while for the first one."""
        answer = await self.store.metadata(namespace, caller)
        if answer.status == HTTPStatus.NOT_FOUND:
            raise no_namespace(namespace)
        described = read_answer(_METADATA, accepted(answer, namespace).body)
        progress.documents_expected = described.approx_row_count
        self.watermarks.seen(namespace, caller)
        deadline_s = asyncio.get_running_loop().time() + WATERMARK_S_MAX
        while (found := self.watermarks.cut(namespace).stable_as_of_ms) is None:
            if asyncio.get_running_loop().time() > deadline_s:
                raise UnavailableError(
                    "WATERMARK_UNKNOWN",
                    f"The index of {namespace} has not been up to date since this gateway began "
                    "to watch it, so there is no moment through which it could be warm; try later.",
                    namespace=namespace,
                )
            await asyncio.sleep(WATERMARK_POLL_S)
        return found

    async def _backfill_all(
        self, namespace: Namespace, caller: Caller, progress: Progress, page_size: int
    ) -> None:
        id_kind = (await self.facts.get(namespace, caller)).id_kind
        if id_kind is None:
            raise no_namespace(namespace)
        wanted = RowStream(
            filter=None, names=None, with_vectors=True, after=None, page_size=page_size
        )
        pages = self.stream_rows(namespace, wanted, caller)
        token = await self._token(namespace)
        async for page in pages:
            missed = await self._backfill(namespace, token, page, id_kind)
            await self._read_again(namespace, missed, id_kind, caller)
            progress.documents_scanned += len(page)
            # Handed out before the next page is read.
            token = await self._token(namespace)

    async def _token(self, namespace: Namespace) -> bytes:
        lookup = await self.cache.lookup(namespace, ())
        if not lookup.is_available:
            raise UnavailableError("CACHE_AWAY", "The cache went away.", namespace=namespace)
        return lookup.read_token

    async def _backfill(
        self, namespace: Namespace, token: bytes, page: list[RawObject], id_kind: IdKind
    ) -> dict[bytes, JsonId]:
        """Offer a page of rows; return those that are not in the cache then, if any."""
        rows, ids = CacheRows(), {}
        for row in page:
            attributes, vectors = split_row(row)
            id_ = row_id(row)
            key = wire_ids.canonical(id_, id_kind)
            ids[key] = id_
            rows.ids.append(key)
            rows.bodies.append(attributes)
            rows.vectors.append(vectors)
        stored_count = await self.cache.backfill(namespace, token, rows, is_patient=True)
        return ids if stored_count < len(rows.ids) else {}

    async def _read_again(
        self, namespace: Namespace, missed: dict[bytes, JsonId], id_kind: IdKind, caller: Caller
    ) -> None:
        """Read rows anew until each is in the cache, or is no more."""
        for attempt in range(ATTEMPTS_MAX):
            if not missed:
                return
            await asyncio.sleep(PAUSE_S * 2**attempt if attempt else 0)
            lookup = await self.cache.lookup(namespace, list(missed), names=())
            missed = {
                key: id_ for at, (key, id_) in enumerate(missed.items()) if at not in lookup.hits
            }
            if missed:
                read = await self.reads(namespace, missed, id_kind, caller, lookup.read_token)
                missed = {key: missed[key] for key in read.positions if key in missed}
        if missed:
            raise UnavailableError(
                "ROWS_NOT_CACHED",
                f"The cache does not take {len(missed)} rows: they are too large, are written all "
                "the time, or it refuses writes.",
                namespace=namespace,
                count=len(missed),
            )

    @asynccontextmanager
    async def _reported(self, warming: Warming) -> AsyncIterator[None]:
        """Keep a warming alive for the length of the block."""

        async def report() -> None:
            while True:
                await asyncio.sleep(REPORT_INTERVAL_S)
                try:
                    await self.warmth.report(warming)
                except LayerError as error:  # the end tells whether it has mattered
                    log.info("warming_not_reported", reason=error.reason)

        reporting = asyncio.create_task(report())
        try:
            yield
        finally:
            reporting.cancel()

    async def _give_up(self, warming: Warming) -> None:
        try:
            await self.warmth.give_up(warming)
        except LayerError as error:
            log.info("warming_left_open", reason=error.reason)
