"""Pipelines over HTTP: the bodies of `/v2/pipelines` (docs/reference/http.md, "Pipelines").

What can be left out can be null as well. Numbers are bounded here, so that a refusal names the
field; what only the runtime knows is checked there.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from layer_wire.jsontext import ABSENT, Raw

CLAIM_LIMIT_DEFAULT: Final = 100
IDS_COUNT_MAX: Final = 1000
ROWS_COUNT_MAX: Final = 10_000
CHUNKS_COUNT_MAX: Final = 10_000

Stage = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9\-_.]+$")]
WorkerId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
DocumentIds = Annotated[list[str], msgspec.Meta(max_length=IDS_COUNT_MAX)]
LeaseToken = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Distance = Literal["cosine_distance", "euclidean_squared"]


class Schedule(msgspec.Struct):
    """When a pipeline fires."""

    cron: Annotated[str, msgspec.Meta(max_length=256)] | None = None


class CreatePipeline(msgspec.Struct):
    """A pipeline to create."""

    id: str
    target_namespace: str
    distance_metric: Distance | None = None
    schedule: Schedule | None = None


class Chunk(msgspec.Struct):
    """A part of a document."""

    id: str
    text: str | None = None
    metadata: Raw = ABSENT


class StageDocument(msgspec.Struct):
    """The chunks of a document."""

    chunks: Annotated[list[Chunk], msgspec.Meta(max_length=CHUNKS_COUNT_MAX)]


class ClaimDocuments(msgspec.Struct):
    """Documents that a worker wants."""

    worker_id: WorkerId
    stage: Stage | None = None
    claim_stage: Stage | None = None
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None
    lease_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] | None = None
    document_id_prefix: str | None = None


class HeartbeatDocuments(msgspec.Struct):
    """Documents that a worker still works on."""

    document_ids: DocumentIds
    worker_id: WorkerId
    stage: Stage | None = None
    lease_token: LeaseToken | None = None


class MoveDocuments(msgspec.Struct):
    """Documents for another stage."""

    document_ids: DocumentIds
    stage: Stage
    from_stage: Stage | None = None
    worker_id: WorkerId | None = None
    create_missing: bool | None = None
    reason: Stage | None = None
    lease_token: LeaseToken | None = None


class Vector(msgspec.Struct):
    """A row of a chunk."""

    id: str
    vector: Raw = ABSENT
    vectors: Raw = ABSENT
    attributes: dict[str, Raw] | None = None


class WriteVectors(msgspec.Struct):
    """The rows of a document, each with its vector."""

    vectors: Annotated[list[Vector], msgspec.Meta(min_length=1, max_length=ROWS_COUNT_MAX)]
    lease_token: LeaseToken | None = None


class WriteRows(msgspec.Struct):
    """The rows of a document as a write has them: attributes beside the id."""

    rows: Annotated[list[dict[str, Raw]], msgspec.Meta(min_length=1, max_length=ROWS_COUNT_MAX)]
    lease_token: LeaseToken | None = None
