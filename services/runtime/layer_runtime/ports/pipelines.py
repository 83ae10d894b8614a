"""What the use cases of pipelines need of the database, the object store and the gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from layer_runtime.domain.pipelines import (
    Chunk,
    Claimed,
    Distance,
    FailedDocument,
    Figures,
    Guard,
    Pipeline,
    PipelineId,
)


class Pipelines(Protocol):
    """Which pipelines there are. Every method may raise ``UnavailableError``, ``DATABASE_DOWN``."""

    async def create(
        self, pipeline_id: PipelineId, target_namespace: str, distance: Distance, cron: str
    ) -> Pipeline | None:
        """Create a pipeline; None when there is one of that id."""
        ...

    async def get(self, pipeline_id: PipelineId) -> Pipeline | None: ...

    async def page(self, *, after: str, limit: int) -> Sequence[Pipeline]:
        """Return pipelines by id."""
        ...

    async def fire(self, limit: int) -> int:
        """Open the windows of those that fire now by the database's time, each once."""
        ...

    async def close_windows(self, *, open_s_min: float) -> None:
        """Close the windows that were open for so long and in which nothing is left to do."""
        ...

    async def delete(self, pipeline_id: PipelineId) -> bool:
        """Delete a pipeline and note that its documents and chunks are to go; tell if it was."""
        ...


class Documents(Protocol):
    """The queue of documents, by the number of their pipeline.

    Every method is one transaction, may be repeated, and may raise ``UnavailableError``,
    ``DATABASE_DOWN``. Ids come sorted, each once.
    """

    async def stage(self, number: int, document_id: str, payload: bytes) -> Sequence[bytes]:
        """Make a document pending, as new; return the payloads that it no longer has."""
        ...

    async def create_missing(self, number: int, ids: Sequence[str], stage: str) -> int:
        """Create those documents that do not exist; return how many."""
        ...

    async def payload(self, number: int, document_id: str) -> bytes | None:
        """Return the payload of a document, empty where it has none; None without a document."""
        ...

    async def is_held(self, number: int, document_id: str, lease: int) -> bool:
        """Tell whether a claim still holds a document."""
        ...

    async def claim(
        self,
        number: int,
        *,
        stage: str,
        claim_stage: str,
        limit: int,
        worker: str,
        lease_s: int,
        prefix: str,
    ) -> Claimed:
        """Claim documents; those whose lease has run out are free again."""
        ...

    async def heartbeat(self, number: int, ids: Sequence[str], guard: Guard) -> int:
        """Renew leases; return how many."""
        ...

    async def move(self, number: int, ids: Sequence[str], stage: str, guard: Guard) -> int:
        """Move documents to a stage of the queue; return how many."""
        ...

    async def settle(
        self, number: int, ids: Sequence[str], stage: str, reason: str, guard: Guard
    ) -> Sequence[float]:
        """Settle documents; return for how long each had been in its stage."""
        ...

    async def fail_attempts(
        self, number: int, ids: Sequence[str], reason: str, guard: Guard
    ) -> Sequence[bool]:
        """Let documents wait and be tried again, or give them up; tell of each that failed
        whether it was given up.
        """
        ...

    async def expire(self, number: int) -> int:
        """Free documents whose lease has run out; return how many."""
        ...

    async def failed(self, number: int, *, after: str, limit: int) -> Sequence[FailedDocument]:
        """Return the documents that were given up, by id."""
        ...

    async def figures(self, numbers: Sequence[int]) -> Mapping[int, Figures]:
        """Count the documents of pipelines, in a time that does not depend on how many wait."""
        ...

    async def fold(self, numbers: Sequence[int]) -> None:
        """Sum up what was noted of pipelines, which keeps :meth:`figures` short."""
        ...


class Chunks(Protocol):
    """Chunk bodies: durable in the object store, near in the cache.

    Every method may raise what an object store raises.
    """

    async def put(self, pipeline: Pipeline, chunks: Sequence[Chunk]) -> bytes:
        """Store the chunks of a document; return the payload that names them."""
        ...

    async def get(self, pipeline: Pipeline, payload: bytes) -> Sequence[Chunk] | None:
        """Return chunks; None when the store has lost them."""
        ...

    async def delete(self, pipeline: Pipeline, payloads: Sequence[bytes]) -> None:
        """Delete chunks that no document has any more; failing to is no error."""
        ...


class TargetRows(Protocol):
    """The rows that pipelines write, by way of the gateway."""

    async def write(self, namespace: str, distance: Distance, rows: Sequence[bytes]) -> None:
        """Upsert rows, each a serialized ``layer.common.v1.Row``.

        Raises:
            InvalidRequestError: The store refuses them.
            UnavailableError: ``GATEWAY_DOWN``.
        """
        ...

    async def is_indexing(self, namespace: str) -> bool:
        """Tell whether the store is still indexing rows; False when that is not known."""
        ...


class Transitions(Protocol):
    """Counts what documents go through."""

    def moved(self, pipeline: Pipeline, from_stage: str, to_stage: str, count: int) -> None: ...

    def stayed(self, stage: str, seconds: Sequence[float]) -> None:
        """Count how long documents were in a stage."""
        ...

    def show(
        self, figures: Mapping[PipelineId, Figures], windows: Mapping[PipelineId, bool]
    ) -> None:
        """Replace the figures of all pipelines."""
        ...
