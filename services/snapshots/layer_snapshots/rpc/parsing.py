"""Requests to values, checked; what is past here is not checked again."""

from __future__ import annotations

import re
from typing import Final

from layer.snapshots.v1 import snapshots_pb2
from layer_kit.errors import InvalidRequestError
from layer_kit.names import Namespace, parse_namespace
from layer_messages.filters import filter_json
from layer_snapshots.application.activity import Position
from layer_snapshots.application.counting_jobs import JobRequest
from layer_snapshots.domain.checkpoints import Checkpoint, parse_label
from layer_snapshots.domain.jobs import Job, Source
from layer_snapshots.domain.keys import WATERMARK_MS_MAX, SnapshotName, parse_sha
from layer_snapshots.domain.limits import (
    REQUEST_ID_LENGTH_MAX,
    ROWS_PER_PAGE_DEFAULT,
    ROWS_PER_PAGE_MAX,
    WATERMARKS_MAX,
)
from layer_snapshots.domain.policy import INTERVAL_DEFAULT, NEVER, Policy, is_field

SOURCES: Final = {
    snapshots_pb2.SNAPSHOT_SOURCE_UNSPECIFIED: Source.AUTO,
    snapshots_pb2.SNAPSHOT_SOURCE_AUTO: Source.AUTO,
    snapshots_pb2.SNAPSHOT_SOURCE_STORED: Source.STORED,
    snapshots_pb2.SNAPSHOT_SOURCE_CACHE: Source.CACHE,
    snapshots_pb2.SNAPSHOT_SOURCE_ORIGIN: Source.ORIGIN,
}
_NAME: Final = re.compile(r"([0-9]{13})-([0-9a-f]{7})")
_POSITION: Final = re.compile(r"([0-9]{13})~([A-Za-z0-9\-_.]{1,128})~([0-9a-f]{7})")
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9\-_.]{1,128}")
_AGE: Final = re.compile(r"([0-9]{13})~([A-Za-z0-9\-_.]{1,128})")


def parse_watermarks(
    request: snapshots_pb2.RecordWatermarksRequest,
) -> list[tuple[Namespace, int]]:
    """Check a batch of watermarks.

    Raises:
        InvalidRequestError: ``TOO_MANY_WATERMARKS``, ``WATERMARK_INVALID``, ``NAMESPACE_INVALID``.
    """
    if len(request.watermarks) > WATERMARKS_MAX:
        raise InvalidRequestError(
            "TOO_MANY_WATERMARKS",
            f"{len(request.watermarks)} watermarks; the limit is {WATERMARKS_MAX}.",
            count=len(request.watermarks),
            count_max=WATERMARKS_MAX,
        )
    for one in request.watermarks:
        if not 0 < one.watermark_ms <= WATERMARK_MS_MAX:
            raise InvalidRequestError(
                "WATERMARK_INVALID", "watermark_ms is not a time of this age.", field="watermark_ms"
            )
    return [(parse_namespace(one.namespace), one.watermark_ms) for one in request.watermarks]


def parse_job(request: snapshots_pb2.CreateSnapshotJobRequest) -> JobRequest:
    """Check what is to be counted.

    Raises:
        InvalidRequestError: ``NAMESPACE_INVALID``, ``FIELD_INVALID``, ``FILTER_INVALID``,
            ``VALUE_INVALID``, ``REQUEST_ID_INVALID``, ``PAGE_SIZE_NEGATIVE``.
    """
    namespace = parse_namespace(request.namespace)
    if not is_field(request.field):
        raise InvalidRequestError(
            "FIELD_INVALID", "field is not the name of an attribute to count.", field="field"
        )
    if len(request.request_id) > REQUEST_ID_LENGTH_MAX:
        raise InvalidRequestError(
            "REQUEST_ID_INVALID",
            f"request_id is over {REQUEST_ID_LENGTH_MAX} characters.",
            field="request_id",
        )
    has_filter = request.HasField("filter")
    if has_filter:
        filter_json(request.filter, "filter")
    return JobRequest(
        namespace=namespace,
        field=request.field,
        source=SOURCES.get(request.source, Source.AUTO),
        filter=request.filter.SerializeToString(deterministic=True) if has_filter else b"",
        page_size=page_size(request.page_size, ROWS_PER_PAGE_DEFAULT, ROWS_PER_PAGE_MAX),
        request_id=request.request_id,
    )


def parse_policy(policy: snapshots_pb2.SnapshotPolicy) -> Policy:
    """Read a policy; what it says is checked where it is set."""
    return Policy(
        facetFields=tuple(policy.facet_fields),
        interval=policy.interval_text or INTERVAL_DEFAULT,
        retention=policy.retention_text or NEVER,
    )


def parse_reference(reference: snapshots_pb2.SnapshotReference) -> tuple[str, str]:
    """Return the SHA-256, or the label, of a snapshot; the other is empty.

    Raises:
        InvalidRequestError: ``SNAPSHOT_MISSING``, ``SHA_INVALID``, ``LABEL_INVALID``.
    """
    match reference.WhichOneof("kind"):
        case "sha":
            return parse_sha(reference.sha), ""
        case "checkpoint_label":
            return "", parse_label(reference.checkpoint_label)
        case _:
            raise InvalidRequestError(
                "SNAPSHOT_MISSING", "old and new each name a snapshot, or a checkpoint."
            )


def page_size(asked: int, default: int, most: int) -> int:
    """Return how many entries a page has.

    Raises:
        InvalidRequestError: ``PAGE_SIZE_NEGATIVE``.
    """
    if asked < 0:
        raise InvalidRequestError(
            "PAGE_SIZE_NEGATIVE", "page_size is not negative.", field="page_size"
        )
    return min(asked or default, most)


def name_token(name: SnapshotName) -> str:
    return f"{name.watermark_ms:013}-{name.short_sha}"


def parse_name_token(token: str) -> SnapshotName:
    """Read a page token; this and the others raise ``PAGE_TOKEN_INVALID``."""
    found = _NAME.fullmatch(token)
    if found is None:
        raise _token_invalid()
    return SnapshotName(int(found[1]), found[2])


def position_token(position: Position) -> str:
    return f"{position.watermark_ms:013}~{position.namespace}~{position.short_sha}"


def parse_position(token: str) -> Position:
    found = _POSITION.fullmatch(token)
    if found is None:
        raise _token_invalid()
    return Position(int(found[1]), parse_namespace(found[2]), found[3])


def parse_namespace_token(token: str) -> Namespace:
    if _NAMESPACE.fullmatch(token) is None:
        raise _token_invalid()
    return parse_namespace(token)


def checkpoint_token(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.watermark_ms:013}~{checkpoint.label}"


def parse_checkpoint_token(token: str) -> tuple[int, str]:
    """Return what checkpoints are sorted by, of the last one of a page."""
    found = _AGE.fullmatch(token)
    if found is None:
        raise _token_invalid()
    return -int(found[1]), found[2]


def job_token(job: Job) -> str:
    return f"{job.created_ms:013}~{job.id}"


def parse_job_token(token: str) -> tuple[int, str]:
    found = _AGE.fullmatch(token)
    if found is None:
        raise _token_invalid()
    return int(found[1]), found[2]


def _token_invalid() -> InvalidRequestError:
    return InvalidRequestError(
        "PAGE_TOKEN_INVALID", "page_token is not one of an answer.", field="page_token"
    )
