"""Documents of a pipeline: staged, claimed, held, moved, written, given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from layer_kit.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
)
from layer_runtime.application.pipeline_registry import PipelineRegistry
from layer_runtime.domain.pipelines import (
    CHUNKS_LOST,
    FAILED,
    INDEXED,
    PENDING,
    REPORTED,
    SETTLED,
    WRITE_REFUSED,
    Chunk,
    Claimed,
    FailedDocument,
    Guard,
    Pipeline,
    document_not_found,
)
from layer_runtime.ports.pipelines import Chunks, Documents, TargetRows, Transitions

ANYWHERE = Guard()


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineDocuments:
    """What workers do with documents. Each step may be repeated after any failure."""

    registry: PipelineRegistry
    documents: Documents
    chunks: Chunks
    rows: TargetRows
    transitions: Transitions

    async def stage(self, pipeline_id: str, document_id: str, chunks: Sequence[Chunk]) -> None:
        """Store chunks and make their document pending, whatever it was."""
        pipeline = await self.registry.get(pipeline_id)
        # Bodies first: a document that can be claimed has chunks that can be read.
        payload = await self.chunks.put(pipeline, chunks)
        replaced = await self.documents.stage(pipeline.number, document_id, payload)
        await self.chunks.delete(pipeline, replaced)
        self.transitions.moved(pipeline, "none", PENDING, 1)

    async def read(self, pipeline_id: str, document_id: str) -> Sequence[Chunk]:
        """Return the chunks of a document, none where it was created without.

        Raises:
            NotFoundError: ``DOCUMENT_NOT_FOUND``; ``CHUNKS_LOST``, which is a failed attempt.
        """
        pipeline = await self.registry.get(pipeline_id)
        payload = await self._payload(pipeline, document_id)
        while payload:
            found = await self.chunks.get(pipeline, payload)
            if found is not None:
                return found
            before, payload = payload, await self._payload(pipeline, document_id)
            if payload == before:  # else it was staged anew in between
                await self._fail_attempts(pipeline, [document_id], CHUNKS_LOST, ANYWHERE)
                raise NotFoundError(
                    "CHUNKS_LOST",
                    f"The object store no longer has the chunks of {document_id!r}; stage it anew.",
                    document_id=document_id,
                )
        return ()

    async def claim(
        self,
        pipeline_id: str,
        *,
        stage: str,
        claim_stage: str,
        limit: int,
        worker: str,
        lease_s: int,
        prefix: str,
    ) -> Claimed:
        """Claim documents for a worker."""
        pipeline = await self.registry.get(pipeline_id)
        claimed = await self.documents.claim(
            pipeline.number,
            stage=stage,
            claim_stage=claim_stage,
            limit=limit,
            worker=worker,
            lease_s=lease_s,
            prefix=prefix,
        )
        self.transitions.moved(pipeline, stage, claim_stage, len(claimed.document_ids))
        self.transitions.stayed(stage, claimed.waited_s)
        return claimed

    async def heartbeat(self, pipeline_id: str, ids: Sequence[str], guard: Guard) -> int:
        """Renew leases; return how many are still held."""
        pipeline = await self.registry.get(pipeline_id)
        return await self.documents.heartbeat(pipeline.number, ids, guard)

    async def move(
        self,
        pipeline_id: str,
        ids: Sequence[str],
        stage: str,
        guard: Guard,
        *,
        reason: str = "",
        creates_missing: bool,
    ) -> int:
        """Move documents, or create those that do not exist; return how many that were.

        Args:
            reason: Why they failed; those that are not given up then wait for another attempt.
        """
        pipeline = await self.registry.get(pipeline_id)
        if reason and stage != FAILED:
            return await self._fail_attempts(pipeline, ids, reason, guard)
        if creates_missing:
            count = await self.documents.create_missing(pipeline.number, ids, stage)
        elif stage in SETTLED:
            why = reason or REPORTED if stage == FAILED else ""
            count = len(await self.documents.settle(pipeline.number, ids, stage, why, guard))
        else:
            count = await self.documents.move(pipeline.number, ids, stage, guard)
        before = "none" if creates_missing else guard.stage or "unknown"
        self.transitions.moved(pipeline, before, stage, count)
        return count

    async def write(
        self, pipeline_id: str, document_id: str, rows: Sequence[bytes], lease: int | None
    ) -> None:
        """Write the rows of a document, then settle it as indexed.

        A crash in between leaves the document held until its lease runs out; whoever claims it
        then writes the same rows again.

        Raises:
            NotFoundError: ``DOCUMENT_NOT_FOUND``.
            ConflictError: ``LEASE_LOST``; nothing was written.
            InvalidRequestError: The store refuses the rows, which is a failed attempt.
        """
        pipeline = await self.registry.get(pipeline_id)
        await self._payload(pipeline, document_id)
        guard = Guard(lease=lease)
        if lease is not None and not await self.documents.is_held(
            pipeline.number, document_id, lease
        ):
            raise _lease_lost(document_id)
        try:
            await self.rows.write(pipeline.target_namespace, pipeline.distance, rows)
        except InvalidRequestError:
            await self._fail_attempts(pipeline, [document_id], WRITE_REFUSED, guard)
            raise
        stayed_s = await self.documents.settle(pipeline.number, [document_id], INDEXED, "", guard)
        if not stayed_s and lease is not None:
            raise _lease_lost(document_id)
        self.transitions.moved(pipeline, "unknown", INDEXED, 1)
        self.transitions.stayed("unknown", stayed_s)

    async def failed(self, pipeline_id: str, *, after: str, limit: int) -> Sequence[FailedDocument]:
        """Return the documents that were given up."""
        pipeline = await self.registry.get(pipeline_id)
        return await self.documents.failed(pipeline.number, after=after, limit=limit)

    async def _payload(self, pipeline: Pipeline, document_id: str) -> bytes:
        payload = await self.documents.payload(pipeline.number, document_id)
        if payload is None:
            raise document_not_found(document_id)
        return payload

    async def _fail_attempts(
        self, pipeline: Pipeline, ids: Sequence[str], reason: str, guard: Guard
    ) -> int:
        fates = await self.documents.fail_attempts(pipeline.number, ids, reason, guard)
        if given_up_count := sum(fates):
            self.transitions.moved(pipeline, "unknown", FAILED, given_up_count)
        return len(fates)


def _lease_lost(document_id: str) -> ConflictError:
    return ConflictError(
        "LEASE_LOST",
        f"Document {document_id!r} is no longer held by this claim.",
        document_id=document_id,
    )
