"""The documents of a pipeline by HTTP, through the gateway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from layer_sdk.connection import Connection
from layer_sdk.http import HttpClient
from layer_sdk.items import Chunk, Row
from layer_sdk.transport import Claim


class HttpDocuments:
    """The documents of one pipeline."""

    def __init__(self, to: Connection, pipeline_id: str) -> None:
        self._client = HttpClient(to)
        self._path = f"/v2/pipelines/{quote(pipeline_id, safe='')}"
        self._worker_id = to.worker_id

    async def claim(self, stage: str, claim_stage: str, limit: int, lease_s: int) -> Claim:
        body = {
            "stage": stage,
            "claim_stage": claim_stage,
            "limit": limit,
            "worker_id": self._worker_id,
            "lease_seconds": lease_s,
        }
        answer = await self._client.call("POST", f"{self._path}/claim", body)
        return Claim(answer["documents"], answer.get("lease_token", 0))

    async def heartbeat(self, claim: Claim, ids: Sequence[str], stage: str) -> int:
        body = {**self._held(claim, ids), "stage": stage}
        answer = await self._client.call("POST", f"{self._path}/documents/heartbeat", body)
        return int(answer["updated"])

    async def chunks(self, document_id: str) -> Sequence[Chunk]:
        found = await self._client.call("GET", f"{self._document(document_id)}/chunks")
        return [Chunk(one["id"], one.get("text"), one.get("metadata")) for one in found]

    async def write(self, claim: Claim, document_id: str, rows: Sequence[Row]) -> None:
        body = {"lease_token": claim.lease_token}
        if all(row.vector is not None or row.vectors is not None for row in rows):
            path = f"{self._document(document_id)}/vectors"
            await self._client.call("PUT", path, {**body, "vectors": [*map(_vector, rows)]})
        else:
            path = f"{self._document(document_id)}/rows"
            await self._client.call("PUT", path, {**body, "rows": [*map(_row, rows)]})

    async def move(
        self, claim: Claim, ids: Sequence[str], stage: str, *, from_stage: str, reason: str = ""
    ) -> int:
        body = {**self._held(claim, ids), "stage": stage, "from_stage": from_stage}
        if reason:
            body["reason"] = reason
        answer = await self._client.call("POST", f"{self._path}/documents/stage", body)
        return int(answer["updated"])

    async def aclose(self) -> None:
        await self._client.aclose()

    def _document(self, document_id: str) -> str:
        return f"{self._path}/documents/{quote(document_id, safe='')}"

    def _held(self, claim: Claim, ids: Sequence[str]) -> dict[str, Any]:
        return {
            "document_ids": list(ids),
            "worker_id": self._worker_id,
            "lease_token": claim.lease_token,
        }


def _vectors(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {"id": row.id}
    if row.vector is not None:
        found["vector"] = [float(component) for component in row.vector]
    if row.vectors is not None:
        found["vectors"] = [[float(one) for one in vector] for vector in row.vectors]
    return found


def _vector(row: Row) -> dict[str, Any]:
    return {**_vectors(row), "attributes": dict(row.attributes)}


def _row(row: Row) -> dict[str, Any]:
    return {**row.attributes, **_vectors(row)}
