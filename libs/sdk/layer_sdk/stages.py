"""The loop of a stage of a pipeline: claim documents, process their chunks, write their rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from layer_sdk.calling import called, within_drain
from layer_sdk.decorators import StageOptions
from layer_sdk.errors import PermanentError
from layer_sdk.items import Document, Row
from layer_sdk.loops import Loop
from layer_sdk.processing import is_permanent
from layer_sdk.retrying import with_retries
from layer_sdk.transport import Claim, DocumentTransport, Refused, Unavailable

log = logging.getLogger("layer_sdk")

STAGE_LEASE_S_DEFAULT: Final = 900
STAGE_BATCH_SIZE_DEFAULT: Final = 8
FAILED: Final = "failed"
WORKER_ERROR: Final = "worker_error"
"""What a status says of documents whose function raised."""
WORKER_REFUSED: Final = "worker_refused"
"""What it says of those that ``PermanentError`` gave up."""


@dataclass(slots=True, kw_only=True)
class StageLoop(Loop):
    """Works on the documents of one stage until it is told to stop."""

    function: Callable[..., Any]
    options: StageOptions
    transport: DocumentTransport
    limit: int
    lease_s: float = STAGE_LEASE_S_DEFAULT

    async def run(self, *, once: bool = False) -> int:
        """Work; return how many documents were completed.

        Args:
            once: End with the first claim that gives nothing.
        """
        completed_count = 0
        options = self.options
        while not self._stopping.is_set():
            try:
                claim = await self.transport.claim(
                    options.stage, options.claim_stage, self.limit, int(self.lease_s)
                )
            except Unavailable as error:
                log.warning("cannot claim: %s", error)
                if once:
                    raise
                await self._pause(max(self.poll_interval_s, error.retry_after_s or 0.0))
                continue
            left = list(claim.document_ids)
            if left:
                completed_count += await self._batch(claim, left)
            if left or not claim.document_ids:  # what was given back is there again at once
                if once:
                    break
                await self._pause(self.poll_interval_s)
        return completed_count

    async def _batch(self, claim: Claim, left: list[str]) -> int:
        """Process documents; what is left is given back. Return how many were completed."""
        done: list[str] = []
        async with self._renewing(lambda: self._renew(claim, left)):
            work = self._process(claim, left, done)
            if not await within_drain(work, self._stopping, self.drain_s):
                log.warning("a call did not end within %s s; it is given back", self.drain_s)
            if left:
                back = self._move(claim, left, self.options.stage)
                await within_drain(back, self._stopping, self.drain_s)
        return len(done)

    async def _process(self, claim: Claim, left: list[str], done: list[str]) -> None:
        if self.options.is_batch:
            await self._together(claim, left, done)
            return
        for id_ in claim.document_ids:
            if self._stopping.is_set():
                return
            try:
                rows = await self._called(await self._document(id_))
            except Unavailable as error:
                log.warning("document %s is given back: %s", id_, error)
                continue
            except Exception as error:  # noqa: BLE001 -- whatever it raises is its document's failure
                await self._fail(claim, id_, error)
            else:
                await self._settle(claim, id_, rows, done)
            left.remove(id_)

    async def _together(self, claim: Claim, left: list[str], done: list[str]) -> None:
        ids: list[str] = []
        documents: list[Document] = []
        for id_ in claim.document_ids:
            try:
                documents.append(await self._document(id_))
                ids.append(id_)
            except Unavailable as error:
                log.warning("document %s is given back: %s", id_, error)
            except Refused as error:
                await self._fail(claim, id_, error)
                left.remove(id_)
        for id_, outcome in zip(ids, await self._outcomes(documents), strict=True):
            if isinstance(outcome, Exception):
                await self._fail(claim, id_, outcome)
            else:
                await self._settle(claim, id_, outcome, done)
            left.remove(id_)

    async def _outcomes(self, documents: Sequence[Document]) -> list[list[Row] | Exception]:
        if not documents:
            return []
        try:
            found = list(await called(self.function, documents))
            if len(found) != len(documents):
                raise PermanentError(f"{len(found)} outputs for {len(documents)} documents")  # noqa: TRY301
            return [one if isinstance(one, Exception) else _rows(one) for one in found]
        except Exception as error:  # noqa: BLE001 -- whatever it raises is its documents' failure
            return [error for _ in documents]

    async def _document(self, id_: str) -> Document:
        return Document(id_, await self.transport.chunks(id_))

    async def _called(self, document: Document) -> list[Row]:
        return _rows(await called(self.function, document))

    async def _settle(self, claim: Claim, id_: str, rows: Sequence[Row], done: list[str]) -> None:
        if not rows:
            await self._move(claim, [id_], self.options.next_stage)
            done.append(id_)
            return
        try:
            if await with_retries(lambda: self._written(claim, id_, rows)):
                done.append(id_)
        except (Refused, TypeError, ValueError) as error:
            # Where the runtime has taken it from us meanwhile, this changes nothing any more.
            await self._fail(claim, id_, PermanentError(str(error)))

    async def _written(self, claim: Claim, id_: str, rows: Sequence[Row]) -> bool:
        await self.transport.write(claim, id_, rows)
        return True

    async def _fail(self, claim: Claim, id_: str, error: Exception) -> None:
        log.warning("document %s failed: %s", id_, str(error) or type(error).__name__)
        if is_permanent(error):
            await self._move(claim, [id_], FAILED, WORKER_REFUSED)
        else:
            await self._move(claim, [id_], self.options.stage, WORKER_ERROR)

    async def _move(self, claim: Claim, ids: Sequence[str], stage: str, reason: str = "") -> None:
        options = self.options
        try:
            await with_retries(
                lambda: self.transport.move(
                    claim, ids, stage, from_stage=options.claim_stage, reason=reason
                )
            )
        except Refused as error:
            log.warning("documents stay where they are until their leases end: %s", error)

    async def _renew(self, claim: Claim, left: Sequence[str]) -> None:
        if left:
            await self.transport.heartbeat(claim, list(left), self.options.claim_stage)


def _rows(output: Iterable[Row] | None) -> list[Row]:
    return list(output or ())
