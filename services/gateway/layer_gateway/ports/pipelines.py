"""What the doors need of the runtime service for pipelines, in the words of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from layer_wire import pipelines as wire

Answer = dict[str, object]
"""The body of an answer."""


class Pipelines(Protocol):
    """Pipelines and their documents.

    Every method raises ``NotFoundError`` (``PIPELINES_OFF``) where there is no runtime service or
    it has no database, and ``UnavailableError`` when either is away; those that name a pipeline
    raise ``NotFoundError`` (``PIPELINE_NOT_FOUND``).
    """

    async def create(self, body: wire.CreatePipeline) -> Answer:
        """Create a pipeline.

        Raises:
            AlreadyExistsError: ``PIPELINE_EXISTS``.
        """
        ...

    async def list(self) -> Answer:
        """Return all pipelines by id."""
        ...

    async def delete(self, pipeline_id: str) -> None:
        """Delete a pipeline with its documents and chunks."""
        ...

    async def status(self, pipeline_id: str) -> Answer:
        """Return how much work a pipeline has."""
        ...

    async def stage(self, pipeline_id: str, document_id: str, body: wire.StageDocument) -> Answer:
        """Store the chunks of a document and make it pending."""
        ...

    async def chunks(self, pipeline_id: str, document_id: str) -> Sequence[Answer]:
        """Return the chunks of a document.

        Raises:
            NotFoundError: ``DOCUMENT_NOT_FOUND``.
        """
        ...

    async def claim(self, pipeline_id: str, body: wire.ClaimDocuments) -> Answer:
        """Claim documents for a worker."""
        ...

    async def heartbeat(self, pipeline_id: str, body: wire.HeartbeatDocuments) -> Answer:
        """Renew leases."""
        ...

    async def move(self, pipeline_id: str, body: wire.MoveDocuments) -> Answer:
        """Move documents to a stage, or create them."""
        ...

    async def write_vectors(
        self, pipeline_id: str, document_id: str, body: wire.WriteVectors
    ) -> int:
        """Write rows that have vectors, and settle their document; return how many."""
        ...

    async def write_rows(self, pipeline_id: str, document_id: str, body: wire.WriteRows) -> int:
        """Write rows as they are, and settle their document; return how many."""
        ...

    async def failed(self, pipeline_id: str, *, limit: int, page_token: str) -> Answer:
        """Return the documents that were given up, with why."""
        ...
