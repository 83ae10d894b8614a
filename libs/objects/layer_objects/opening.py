"""From a URL to a store, the only place that knows both adapters."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from prometheus_client import CollectorRegistry

from layer_kit.configuration import ConfigurationError
from layer_objects.file_store import FileObjectStore
from layer_objects.port import ObjectStore


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """How to reach S3.

    Attributes:
        endpoint: URL of an S3 API that is not AWS, spoken to in path style; None for AWS.
        region: None leaves it to the usual AWS variables and files.
        access_key_id: None, as ``secret_access_key``, leaves both to AWS's default chain.
        connect_timeout_s: Of one attempt.
        read_timeout_s: Longest silence in one attempt.
        attempts_max: Tries of one request, the first included.
        operation_timeout_s: All tries and the pauses between them.
        threads_max: Operations at once, and connections kept.
    """

    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 30.0
    attempts_max: int = 3
    operation_timeout_s: float = 60.0
    threads_max: int = 16


def open_object_store(
    url: str,
    *,
    s3: S3Settings | None = None,
    registry: CollectorRegistry | None = None,
) -> ObjectStore:
    """Open ``file:///folder`` or ``s3://bucket[/prefix]``.

    Args:
        registry: Where ``layer_s3_op_duration_seconds`` goes; it may be given to one store only.

    Raises:
        ConfigurationError: When the URL is neither, the folder cannot be made, or S3 settings are
            not usable.
    """
    parsed = urlsplit(url)
    path = unquote(parsed.path)
    if parsed.scheme == "file" and parsed.netloc in {"", "localhost"} and path.startswith("/"):
        return FileObjectStore(Path(path), registry=registry)
    if parsed.scheme == "s3" and parsed.netloc:
        # boto3 takes 0.2 s and 30 MB to import, which a process on a folder need not pay.
        from layer_objects.s3_store import S3ObjectStore  # noqa: PLC0415

        return S3ObjectStore(parsed.netloc, path.strip("/"), s3 or S3Settings(), registry=registry)
    raise ConfigurationError(f"object store {url!r} is neither file:///folder nor s3://bucket")
