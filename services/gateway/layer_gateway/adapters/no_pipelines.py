"""The gateway without a runtime service: there are no pipelines."""

from __future__ import annotations

from typing import NoReturn

from layer_kit.errors import NotFoundError
from layer_wire import pipelines as wire


def off() -> NotFoundError:
    """Return what says that pipelines are not offered here."""
    return NotFoundError(
        "PIPELINES_OFF",
        "This installation runs no pipelines: its gateway has no runtime service, or that has no "
        "database or no object store.",
    )


class NoPipelines:
    """Refuses all that concerns pipelines."""

    async def create(self, body: wire.CreatePipeline) -> NoReturn:
        raise off()

    async def list(self) -> NoReturn:
        raise off()

    async def delete(self, pipeline_id: str) -> NoReturn:
        raise off()

    async def status(self, pipeline_id: str) -> NoReturn:
        raise off()

    async def stage(self, pipeline_id: str, document_id: str, body: wire.StageDocument) -> NoReturn:
        raise off()

    async def chunks(self, pipeline_id: str, document_id: str) -> NoReturn:
        raise off()

    async def claim(self, pipeline_id: str, body: wire.ClaimDocuments) -> NoReturn:
        raise off()

    async def heartbeat(self, pipeline_id: str, body: wire.HeartbeatDocuments) -> NoReturn:
        raise off()

    async def move(self, pipeline_id: str, body: wire.MoveDocuments) -> NoReturn:
        raise off()

    async def write_vectors(
        self, pipeline_id: str, document_id: str, body: wire.WriteVectors
    ) -> NoReturn:
        raise off()

    async def write_rows(
        self, pipeline_id: str, document_id: str, body: wire.WriteRows
    ) -> NoReturn:
        raise off()

    async def failed(self, pipeline_id: str, *, limit: int, page_token: str) -> NoReturn:
        raise off()
