"""Pipelines over either transport, in one form for both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

from layer_testing.edge_calls import EdgeCaller
from layer_testing.gateway_calls import KEY
from layer_testing.namespace_transports import RefusedError


class Piece(NamedTuple):
    """A chunk."""

    id: str
    text: str | None = None
    metadata: Mapping[str, object] | None = None


class Made(NamedTuple):
    """A pipeline."""

    id: str
    namespace: str
    metric: str


class Taken(NamedTuple):
    """What a claim gave."""

    ids: Sequence[str]
    token: int


class Lost(NamedTuple):
    """A document that was given up."""

    id: str
    reason: str
    attempts: int


class Vector(NamedTuple):
    """A row to write, with one vector or several, and texts beside them."""

    id: str
    vector: Sequence[float] = ()
    vectors: Sequence[Sequence[float]] = ()
    attributes: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How much work a pipeline has."""

    state: str
    counts: Mapping[str, int]
    reasons: Mapping[str, int]
    pending: int
    processing: int
    failed: int
    per_minute: float
    window_s: int


class PipelineTransport(Protocol):
    """One way to pipelines. Every call raises ``RefusedError``."""

    async def create(self, name: str, namespace: str, metric: str = "") -> Made: ...

    async def all(self) -> Sequence[Made]: ...

    async def delete(self, name: str) -> None: ...

    async def work(self, name: str) -> Work: ...

    async def stage(self, name: str, document: str, pieces: Sequence[Piece]) -> Sequence[str]:
        """Stage a document; return the ids of its chunks."""
        ...

    async def chunks(self, name: str, document: str) -> Sequence[Piece]: ...

    async def claim(
        self,
        name: str,
        worker: str,
        *,
        stage: str = "pending",
        to: str = "embedding",
        limit: int = 100,
        lease_s: int = 900,
        prefix: str = "",
    ) -> Taken: ...

    async def heartbeat(
        self,
        name: str,
        ids: Sequence[str],
        worker: str,
        *,
        stage: str = "embedding",
        token: int = 0,
    ) -> int: ...

    async def move(self, name: str, ids: Sequence[str], stage: str, **guards: Any) -> int:
        """Move documents.

        Args:
            guards: ``from_stage``, ``worker_id``, ``lease_token``, ``create_missing``, ``reason``.
        """
        ...

    async def write(
        self, name: str, document: str, rows: Sequence[Vector], token: int = 0
    ) -> None: ...

    async def lost(self, name: str, *, limit: int = 100, after: str = "") -> tuple[list[Lost], str]:
        """Return documents that were given up, and where the next page begins."""
        ...


class PipelinesOverHttp:
    """The HTTP edge."""

    def __init__(self, address: str) -> None:
        self._edge = EdgeCaller(address, key=KEY)

    async def create(self, name: str, namespace: str, metric: str = "") -> Made:
        body = {"id": name, "target_namespace": namespace, "distance_metric": metric or None}
        return _made(await self._call("POST", "", body))

    async def all(self) -> Sequence[Made]:
        return [*map(_made, (await self._call("GET", ""))["pipelines"])]

    async def delete(self, name: str) -> None:
        assert (await self._call("DELETE", f"/{name}"))["status"]

    async def work(self, name: str) -> Work:
        found = await self._call("GET", f"/{name}/status")
        assert found["pipeline_id"] == name
        return Work(
            state=found["status"],
            counts=found["counts"],
            reasons=found["failed_reasons"],
            pending=found["pending_count"],
            processing=found["processing_count"],
            failed=found["failed_count"],
            per_minute=found["indexed_rate_per_min"],
            window_s=found["rate_window_seconds"],
        )

    async def stage(self, name: str, document: str, pieces: Sequence[Piece]) -> Sequence[str]:
        body = {"chunks": [piece._asdict() for piece in pieces]}
        found = await self._call("PUT", f"/{name}/documents/{quote(document, safe='')}", body)
        assert (found["pipeline_id"], found["document_id"]) == (name, document)
        assert (found["stage"], found["chunk_count"]) == ("pending", len(pieces))
        return list(found["chunk_ids"])

    async def chunks(self, name: str, document: str) -> Sequence[Piece]:
        found = await self._call("GET", f"/{name}/documents/{quote(document, safe='')}/chunks")
        return [Piece(one["id"], one.get("text"), one.get("metadata")) for one in found]

    async def claim(
        self,
        name: str,
        worker: str,
        *,
        stage: str = "pending",
        to: str = "embedding",
        limit: int = 100,
        lease_s: int = 900,
        prefix: str = "",
    ) -> Taken:
        body = {
            "worker_id": worker,
            "stage": stage,
            "claim_stage": to,
            "limit": limit,
            "lease_seconds": lease_s,
            "document_id_prefix": prefix or None,
        }
        found = await self._call("POST", f"/{name}/claim", body)
        told = (found["pipeline_id"], found["stage"], found["claim_stage"], found["worker_id"])
        assert told == (name, stage, to, worker)
        return Taken(found["documents"], found["lease_token"])

    async def heartbeat(
        self,
        name: str,
        ids: Sequence[str],
        worker: str,
        *,
        stage: str = "embedding",
        token: int = 0,
    ) -> int:
        body = {"document_ids": ids, "worker_id": worker, "stage": stage, "lease_token": token}
        found = await self._call("POST", f"/{name}/documents/heartbeat", body)
        assert (found["pipeline_id"], found["stage"]) == (name, stage)
        return int(found["updated"])

    async def move(self, name: str, ids: Sequence[str], stage: str, **guards: Any) -> int:
        body = {"document_ids": ids, "stage": stage, **guards}
        found = await self._call("POST", f"/{name}/documents/stage", body)
        assert (found["pipeline_id"], found["stage"]) == (name, stage)
        return int(found["updated"])

    async def write(self, name: str, document: str, rows: Sequence[Vector], token: int = 0) -> None:
        vectors = [
            {
                "id": row.id,
                "vector": row.vector or None,
                "vectors": row.vectors or None,
                "attributes": row.attributes,
            }
            for row in rows
        ]
        path = f"/{name}/documents/{quote(document, safe='')}/vectors"
        await self._call("PUT", path, {"vectors": vectors, "lease_token": token})

    async def lost(self, name: str, *, limit: int = 100, after: str = "") -> tuple[list[Lost], str]:
        path = f"/{name}/documents/failed?limit={limit}&cursor={quote(after)}"
        found = await self._call("GET", path)
        documents = [Lost(one["id"], one["reason"], one["attempts"]) for one in found["documents"]]
        return documents, found["next_cursor"] or ""

    async def _call(self, method: str, path: str, body: object = b"") -> Any:
        answer = await self._edge(method, f"/v2/pipelines{path}", body)
        if answer.status != HTTPStatus.OK:
            raise RefusedError(answer.json["error"])
        return answer.json


def _made(found: Mapping[str, Any]) -> Made:
    assert found["created_at"].endswith("Z")
    return Made(found["id"], found["target_namespace"], found["distance_metric"])
