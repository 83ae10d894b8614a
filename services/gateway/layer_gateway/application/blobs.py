"""Blobs: bytes kept under the hash of what they are (docs/reference/http.md, "Blobs").

They live in the object store. The cache holds copies of some, which need no care: what a blob is
named by cannot mean something else later.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from dataclasses import dataclass, field
from typing import Final

import structlog

from layer_gateway.ports.rows import RowCache
from layer_gateway.ports.warmth import RecordCache, RecordKind
from layer_kit.errors import (
    InvalidRequestError,
    LayerError,
    NotConfiguredError,
    NotFoundError,
    PayloadTooLargeError,
    PreconditionError,
)
from layer_kit.names import Namespace
from layer_objects import ObjectStore

log = structlog.get_logger(__name__)

BLOB_BYTES_MAX: Final = 10 * 1024 * 1024
HASHED_INLINE_BYTES_MAX: Final = 256 * 1024
"""Hashing more than this goes to a thread, so that other requests do not wait for it."""

COPIED_BYTES_MAX: Final = 1024 * 1024
"""Up to this size, a blob that was read from the object store is copied into the cache."""

COPYING_AT_ONCE_MAX: Final = 16

_SHA256: Final = re.compile("[0-9a-f]{64}")
_TYPES: Final = (
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
)
_SNIFFED_BYTES: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A blob, or what can be told of it without reading it all."""

    sha256: str
    content_type: str
    size_bytes: int
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blobs:
    """Keeps blobs in the object store; what is written once never changes."""

    objects: ObjectStore | None
    """None where the gateway was given no object store."""
    cache: RowCache
    records: RecordCache
    _copying: set[asyncio.Task[bool]] = field(default_factory=set)

    async def put(self, namespace: Namespace, body: bytes, *, is_warm: bool = False) -> Blob:
        """Keep ``body``; writing the same bytes again changes nothing.

        Args:
            is_warm: Whether to copy it into the cache, if that is there.

        Raises:
            InvalidRequestError: ``BLOB_EMPTY``.
            PayloadTooLargeError: ``BLOB_TOO_LARGE``.
            NotConfiguredError: ``NO_OBJECT_STORE``.
        """
        objects = self._configured()
        if not body:
            raise InvalidRequestError("BLOB_EMPTY", "The body is empty; a blob has 1 byte or more.")
        if len(body) > BLOB_BYTES_MAX:
            raise PayloadTooLargeError(
                "BLOB_TOO_LARGE",
                f"A blob has at most {BLOB_BYTES_MAX} bytes.",
                bytes_max=BLOB_BYTES_MAX,
            )
        if len(body) > HASHED_INLINE_BYTES_MAX:
            sha256 = await asyncio.to_thread(_hash, body)
        else:
            sha256 = _hash(body)
        content_type = _content_type(body)
        with contextlib.suppress(PreconditionError):  # the same bytes, by the same name
            await objects.put(
                blob_key(namespace, sha256), body, content_type=content_type, if_absent=True
            )
        if is_warm:
            await self.copy(namespace, sha256, body)
        return Blob(sha256=sha256, content_type=content_type, size_bytes=len(body), body=body)

    async def get(self, namespace: Namespace, sha256: str) -> Blob:
        """Read a blob, from the cache where that has it.

        Raises:
            InvalidRequestError: ``SHA256_INVALID``.
            NotFoundError: ``BLOB_NOT_FOUND``.
            NotConfiguredError: ``NO_OBJECT_STORE``.
        """
        key = _checked_key(namespace, sha256)
        objects = self._configured()
        body = await self._copy_of(namespace, sha256)
        if body is None:
            found = await objects.get(key)
            if found is None:
                raise _not_found(namespace, sha256)
            body = found.body
            self._copy_aside(namespace, sha256, body)
        return Blob(
            sha256=sha256,
            content_type=_content_type(body),
            size_bytes=len(body),
            body=body,
        )

    async def describe(self, namespace: Namespace, sha256: str) -> Blob:
        """Tell of a blob without its body; raises what :meth:`get` does."""
        key = _checked_key(namespace, sha256)
        objects = self._configured()
        found = await objects.head(key)
        if found is None:
            raise _not_found(namespace, sha256)
        beginning = await objects.get_range(key, 0, _SNIFFED_BYTES)
        content_type = _content_type(beginning)
        return Blob(sha256=sha256, content_type=content_type, size_bytes=found.size_bytes)

    async def copy(self, namespace: Namespace, sha256: str, body: bytes) -> bool:
        """Copy a blob into the cache; tell whether that was there to take it."""
        if not self.cache.is_available:
            return False
        try:
            await self.records.put(RecordKind.BLOB, namespace, sha256.encode(), body)
        except LayerError as error:
            log.info("blob_not_copied", namespace=namespace, sha256=sha256, reason=error.reason)
            return False
        return True

    async def _copy_of(self, namespace: Namespace, sha256: str) -> bytes | None:
        if not self.cache.is_available:
            return None
        try:
            return await self.records.get(RecordKind.BLOB, namespace, sha256.encode())
        except LayerError as error:
            log.info("blob_copy_unread", namespace=namespace, sha256=sha256, reason=error.reason)
            return None

    def _copy_aside(self, namespace: Namespace, sha256: str, body: bytes) -> None:
        """Copy a smaller blob while its reader goes on."""
        if len(body) <= COPIED_BYTES_MAX and len(self._copying) < COPYING_AT_ONCE_MAX:
            copying = asyncio.create_task(self.copy(namespace, sha256, body))
            self._copying.add(copying)
            copying.add_done_callback(self._copying.discard)

    def _configured(self) -> ObjectStore:
        if self.objects is None:
            raise NotConfiguredError(
                "NO_OBJECT_STORE",
                "This gateway has no object store for blobs; set S3_BUCKET, "
                "or LAYER_GATEWAY_OBJECTS_DIRECTORY.",
            )
        return self.objects


def blob_key(namespace: Namespace, sha256: str) -> str:
    """Return where the object store keeps a blob."""
    return f"blobs/{namespace}/{sha256}"


def blob_reference(namespace: Namespace, sha256: str) -> str:
    """Return what a row refers to a blob by."""
    return f"blob://{namespace}/{sha256}"


def _hash(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _content_type(body: bytes) -> str:
    for beginning, content_type in _TYPES:
        if beginning.match(body):
            return content_type
    return "application/octet-stream"


def _checked_key(namespace: Namespace, sha256: str) -> str:
    if not _SHA256.fullmatch(sha256):
        raise InvalidRequestError(
            "SHA256_INVALID",
            "A blob is named by the SHA-256 of its bytes, 64 lower-case hexadecimal digits.",
            field="sha256",
        )
    return blob_key(namespace, sha256)


def _not_found(namespace: Namespace, sha256: str) -> NotFoundError:
    return NotFoundError(
        "BLOB_NOT_FOUND",
        f"Namespace {namespace} has no blob {sha256}.",
        namespace=namespace,
        sha256=sha256,
    )
