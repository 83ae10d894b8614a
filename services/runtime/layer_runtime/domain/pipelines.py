"""Pipelines: documents that move through stages under leases, and the bounds of what names them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NewType

from layer_kit.errors import InvalidRequestError, NotFoundError
from layer_runtime.domain.names import has_control_characters

PipelineId = NewType("PipelineId", str)
"""An id that passed :func:`parse_pipeline_id`."""

PENDING: Final = "pending"
EMBEDDING: Final = "embedding"
INDEXED: Final = "indexed"
FAILED: Final = "failed"
SETTLED: Final = frozenset({INDEXED, FAILED})
"""The stages of what needs no more work. All others are of the queue."""

REPORTED: Final = "reported"
"""Why a document failed that a worker moved to ``failed``."""
WRITE_REFUSED: Final = "write_refused"
CHUNKS_LOST: Final = "chunks_lost"

ATTEMPTS_MAX: Final = 8
BACKOFF_S_INITIAL: Final = 1.0
BACKOFF_S_MAX: Final = 300.0
LEASE_S_DEFAULT: Final = 900
LEASE_S_MAX: Final = 86_400
CLAIM_LIMIT_DEFAULT: Final = 100
CLAIM_LIMIT_MAX: Final = 1000
IDS_MAX: Final = 1000
CREATED_IDS_MAX: Final = 10_000
"""Creating documents holds none of them, so that more fit into one call."""
DOCUMENT_ID_BYTES_MAX: Final = 512
RATE_WINDOW_S: Final = 60

_NAME: Final = re.compile(r"[A-Za-z0-9\-_.]{1,128}")
_STAGE: Final = re.compile(r"[A-Za-z0-9\-_.]{1,64}")


class Distance(StrEnum):
    """How vectors of the target namespace are compared."""

    COSINE = "cosine_distance"
    EUCLIDEAN = "euclidean_squared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A queue of documents whose chunks become rows of one namespace.

    Attributes:
        number: Another one for each pipeline that was ever created.
        cron: When it fires; empty for never.
        is_window_open: Whether a firing was lately, or there is still work since one.
    """

    number: int
    id: PipelineId
    target_namespace: str
    distance: Distance
    created_ms: int
    cron: str = ""
    fires_ms: int | None = None
    fired_ms: int | None = None
    is_window_open: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A part of a document. ``metadata`` is a JSON object as it came; empty means none."""

    id: str
    text: str | None
    metadata: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Where documents must be and who must hold them; None = wherever, whoever."""

    stage: str | None = None
    worker: str | None = None
    lease: int | None = None

    @property
    def holds_back_free(self) -> bool:
        """Tell whether only documents that someone holds can pass."""
        return self.worker is not None or self.lease is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What one claim got, and for how long each document had waited."""

    lease: int
    document_ids: Sequence[str] = ()
    waited_s: Sequence[float] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedDocument:
    """A document that was given up."""

    id: str
    reason: str
    attempt_count: int
    failed_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How many documents a pipeline has where."""

    stage_counts: Mapping[str, int] = field(default_factory=dict)
    leased_count: int = 0
    failed_reason_counts: Mapping[str, int] = field(default_factory=dict)
    indexed_recently: int = 0
    """In the last ``RATE_WINDOW_S`` seconds."""

    @property
    def open_count(self) -> int:
        """Documents that are neither indexed nor failed."""
        return sum(n for stage, n in self.stage_counts.items() if stage not in SETTLED)


def parse_pipeline_id(text: str) -> PipelineId:
    """Check an id: 1 to 128 of ``[A-Za-z0-9-_.]``.

    Raises:
        InvalidRequestError: ``PIPELINE_ID_INVALID``.
    """
    if _NAME.fullmatch(text) is None:
        shown = text[:128]
        raise InvalidRequestError(
            "PIPELINE_ID_INVALID",
            f"Pipeline {shown!r} is not 1 to 128 characters of [A-Za-z0-9-_.].",
            pipeline_id=shown,
        )
    return PipelineId(text)


def parse_stage(text: str, field_name: str) -> str:
    """Check the name of a stage.

    Raises:
        InvalidRequestError: ``STAGE_INVALID``.
    """
    if _STAGE.fullmatch(text) is None:
        raise InvalidRequestError(
            "STAGE_INVALID",
            f"{field_name} {text[:64]!r} is not 1 to 64 characters of [A-Za-z0-9-_.].",
            field=field_name,
        )
    return text


def parse_claimed_stage(text: str, field_name: str) -> str:
    """Check the name of a stage that documents are claimed from, or into.

    Raises:
        InvalidRequestError: ``STAGE_INVALID``.
    """
    if text in SETTLED:
        raise InvalidRequestError(
            "STAGE_INVALID",
            f"{field_name} {text!r} is where documents end; move them to another stage first.",
            field=field_name,
        )
    return parse_stage(text, field_name)


def parse_reason(text: str, stage: str, *, creates_missing: bool) -> str:
    """Check why documents failed; empty when they did not.

    Raises:
        InvalidRequestError: ``REASON_INVALID``.
    """
    if text and (_STAGE.fullmatch(text) is None or stage == INDEXED or creates_missing):
        raise InvalidRequestError(
            "REASON_INVALID",
            f"reason {text[:64]!r} is not 1 to 64 characters of [A-Za-z0-9-_.], or stands beside "
            f"create_missing or the stage {INDEXED!r}.",
            field="reason",
        )
    return text


def parse_document_id(text: str) -> str:
    """Check the id of a document: 1 to 512 bytes without control characters.

    Raises:
        InvalidRequestError: ``DOCUMENT_ID_INVALID``.
    """
    if not 1 <= len(text.encode()) <= DOCUMENT_ID_BYTES_MAX or has_control_characters(text):
        raise InvalidRequestError(
            "DOCUMENT_ID_INVALID",
            f"Document id {text[:64]!r} is not 1 to {DOCUMENT_ID_BYTES_MAX} bytes without control "
            "characters.",
            document_id=text[:64],
        )
    return text


def parse_document_ids(ids: Sequence[str], *, count_max: int = IDS_MAX) -> list[str]:
    """Check ids; return each once, in the order in which rows are locked.

    Raises:
        InvalidRequestError: ``TOO_MANY_IDS`` or ``DOCUMENT_ID_INVALID``.
    """
    if not 1 <= len(ids) <= count_max:
        raise InvalidRequestError(
            "TOO_MANY_IDS", f"document_ids are 1 to {count_max}, not {len(ids)}.", count=len(ids)
        )
    return sorted({parse_document_id(text) for text in ids}, key=str.encode)


def pipeline_not_found(pipeline_id: str) -> NotFoundError:
    return NotFoundError(
        "PIPELINE_NOT_FOUND", f"There is no pipeline {pipeline_id!r}.", pipeline_id=pipeline_id
    )


def document_not_found(document_id: str) -> NotFoundError:
    return NotFoundError(
        "DOCUMENT_NOT_FOUND",
        f"The pipeline has no document {document_id!r}.",
        document_id=document_id,
    )
