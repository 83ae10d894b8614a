"""Objects in S3, or in anything that speaks its API, through boto3 on threads."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from prometheus_client import CollectorRegistry

from layer_kit import clock
from layer_kit.clock import EpochMilliseconds
from layer_kit.configuration import ConfigurationError
from layer_kit.errors import UpstreamError
from layer_objects import keys
from layer_objects.conditions import object_changed, object_exists, object_not_found
from layer_objects.opening import S3Settings
from layer_objects.port import (
    LIST_LIMIT_MAX,
    OBJECT_BYTES_MAX,
    Object,
    ObjectInfo,
    ObjectPage,
    iter_keys,
)
from layer_objects.threads import OperationThreads

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import PutObjectRequestTypeDef

CONFLICT_ATTEMPTS_MAX: Final = 4
"""S3 asks to repeat a conditional put that met another one in the same moment."""

WRITE_TOKEN: Final = "layer-write"  # noqa: S105 -- the name of an object's metadata field

_MISSING: Final = frozenset({"404", "NoSuchKey"})
_NOT_MET: Final = frozenset({"412", "PreconditionFailed"})
_CONFLICT: Final = frozenset({"409", "ConditionalRequestConflict"})
_OUT_OF_RANGE: Final = frozenset({"416", "InvalidRange"})


class S3ObjectStore:
    """An :class:`~layer_objects.port.ObjectStore` below ``prefix`` in ``bucket``."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        settings: S3Settings,
        *,
        registry: CollectorRegistry | None = None,
        epoch_milliseconds: EpochMilliseconds = clock.epoch_milliseconds,
        new_token: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._bucket = bucket
        self._base = f"{prefix}/" if prefix else ""
        self._epoch_milliseconds = epoch_milliseconds
        self._new_token = new_token
        self._s3 = _connect(settings)
        self._threads = OperationThreads(
            settings.threads_max, settings.operation_timeout_s, registry
        )

    async def put(
        self,
        key: str,
        body: bytes,
        *,
        content_type: str = "application/octet-stream",
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        self._check_key(key)
        keys.check_body(body)
        keys.check_conditions(if_match, if_absent=if_absent)
        return await self._threads.run(
            "put", self._put, key, body, content_type, if_match=if_match, if_absent=if_absent
        )

    async def get(self, key: str) -> Object | None:
        self._check_key(key)
        return await self._threads.run("get", self._get, key)

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        self._check_key(key)
        keys.check_range(start, length)
        return await self._threads.run("get_range", self._get_range, key, start, length)

    async def head(self, key: str) -> ObjectInfo | None:
        self._check_key(key)
        return await self._threads.run("head", self._head, key)

    async def list(
        self, prefix: str = "", *, after: str = "", limit: int = LIST_LIMIT_MAX
    ) -> ObjectPage:
        keys.check_prefix(prefix)
        keys.check_after(after)
        keys.check_limit(limit)
        return await self._threads.run("list", self._list, prefix, after, limit)

    def iter_keys(self, prefix: str = "") -> AsyncIterator[str]:
        return iter_keys(self, prefix)

    async def delete(self, key: str) -> None:
        self._check_key(key)
        await self._threads.run("delete", self._delete, key)

    async def delete_prefix(self, prefix: str) -> int:
        keys.check_prefix(prefix, may_be_empty=False)
        deleted_count = 0
        after: str | None = ""
        while after is not None:
            page = await self.list(prefix, after=after)
            if page.objects:
                await self._threads.run("delete_many", self._delete_many, page.objects)
            deleted_count += len(page.objects)
            after = page.next_after
        return deleted_count

    async def aclose(self) -> None:
        self._threads.close()
        self._s3.close()

    def _check_key(self, key: str) -> None:
        keys.check_key(key)
        keys.check_prefix(self._base + key)

    def _put(
        self, key: str, body: bytes, content_type: str, *, if_match: str | None, if_absent: bool
    ) -> ObjectInfo:
        token = self._new_token()
        request: PutObjectRequestTypeDef = {
            "Bucket": self._bucket,
            "Key": self._base + key,
            "Body": body,
            "ContentType": content_type,
        }
        if if_absent:
            request["IfNoneMatch"] = "*"
            request["Metadata"] = {WRITE_TOKEN: token}
        elif if_match is not None:
            request["IfMatch"] = if_match
            request["Metadata"] = {WRITE_TOKEN: token}
        with _store_errors(key):
            try:
                etag = self._put_through_conflicts(request)
            except ClientError as error:
                is_gone = if_match is not None and _code(error) in _MISSING
                if _code(error) not in _NOT_MET and not is_gone:
                    raise
                if (own_etag := self._etag_if_ours(key, token, error)) is None:
                    raise (object_exists(key) if if_absent else object_changed(key)) from error
                etag = own_etag
        return ObjectInfo(
            key=key, etag=etag, size_bytes=len(body), modified_ms=self._epoch_milliseconds()
        )

    def _put_through_conflicts(self, request: PutObjectRequestTypeDef) -> str:
        attempts_left = CONFLICT_ATTEMPTS_MAX
        while True:
            attempts_left -= 1
            try:
                return self._s3.put_object(**request)["ETag"]
            except ClientError as error:
                if _code(error) not in _CONFLICT or not attempts_left:
                    raise

    def _etag_if_ours(self, key: str, token: str, error: ClientError) -> str | None:
        """Return the etag when what was refused repeated a put that had in fact succeeded."""
        if not error.response["ResponseMetadata"].get("RetryAttempts"):
            return None
        try:
            head = self._s3.head_object(Bucket=self._bucket, Key=self._base + key)
        except ClientError as missing:
            if _code(missing) in _MISSING:
                return None
            raise
        return head["ETag"] if head["Metadata"].get(WRITE_TOKEN) == token else None

    def _get(self, key: str) -> Object | None:
        with _store_errors(key):
            try:
                answer = self._s3.get_object(Bucket=self._bucket, Key=self._base + key)
            except ClientError as error:
                if _code(error) in _MISSING:
                    return None
                raise
            with contextlib.closing(answer["Body"]) as stream:
                if answer["ContentLength"] > OBJECT_BYTES_MAX:
                    raise keys.too_large(answer["ContentLength"])
                info = ObjectInfo(
                    key=key,
                    etag=answer["ETag"],
                    size_bytes=answer["ContentLength"],
                    modified_ms=round(answer["LastModified"].timestamp() * 1000),
                )
                return Object(info=info, body=stream.read())

    def _get_range(self, key: str, start: int, length: int) -> bytes:
        with _store_errors(key):
            try:
                answer = self._s3.get_object(
                    Bucket=self._bucket,
                    Key=self._base + key,
                    Range=f"bytes={start}-{start + length - 1}",
                )
            except ClientError as error:
                if _code(error) in _MISSING:
                    raise object_not_found(key) from error
                if _code(error) in _OUT_OF_RANGE:
                    raise keys.range_invalid(start) from error
                raise
            with contextlib.closing(answer["Body"]) as stream:
                return stream.read()

    def _head(self, key: str) -> ObjectInfo | None:
        with _store_errors(key):
            try:
                answer = self._s3.head_object(Bucket=self._bucket, Key=self._base + key)
            except ClientError as error:
                if _code(error) in _MISSING:
                    return None
                raise
            return ObjectInfo(
                key=key,
                etag=answer["ETag"],
                size_bytes=answer["ContentLength"],
                modified_ms=round(answer["LastModified"].timestamp() * 1000),
            )

    def _list(self, prefix: str, after: str, limit: int) -> ObjectPage:
        with _store_errors(prefix):
            answer = self._s3.list_objects_v2(
                Bucket=self._bucket,
                Prefix=self._base + prefix,
                StartAfter=self._base + after if after else "",
                MaxKeys=limit,
            )
        found = [
            ObjectInfo(
                key=entry["Key"].removeprefix(self._base),
                etag=entry["ETag"],
                size_bytes=entry["Size"],
                modified_ms=round(entry["LastModified"].timestamp() * 1000),
            )
            for entry in answer.get("Contents", [])
        ]
        is_last = not answer["IsTruncated"] or not found
        return ObjectPage(objects=found, next_after=None if is_last else found[-1].key)

    def _delete(self, key: str) -> None:
        with _store_errors(key):
            self._s3.delete_object(Bucket=self._bucket, Key=self._base + key)

    def _delete_many(self, objects: Sequence[ObjectInfo]) -> None:
        with _store_errors(objects[0].key):
            answer = self._s3.delete_objects(
                Bucket=self._bucket,
                Delete={
                    "Objects": [{"Key": self._base + info.key} for info in objects],
                    "Quiet": True,
                },
            )
        if errors := answer.get("Errors"):
            raise _failed(str(errors[0].get("Key")), str(errors[0].get("Code")))


def _connect(settings: S3Settings) -> S3Client:
    config = Config(
        connect_timeout=settings.connect_timeout_s,
        read_timeout=settings.read_timeout_s,
        retries={"mode": "standard", "total_max_attempts": settings.attempts_max},
        max_pool_connections=settings.threads_max,
        s3={"addressing_style": "path" if settings.endpoint else "auto"},
        # Other makers' servers do not know the checksums that AWS has added.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        return boto3.session.Session().client(
            "s3",
            endpoint_url=settings.endpoint,
            region_name=settings.region,
            aws_access_key_id=settings.access_key_id,
            aws_secret_access_key=settings.secret_access_key,
            config=config,
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(f"object store: {error}") from error


def _code(error: ClientError) -> str:
    return error.response["Error"]["Code"]


def _failed(key: str, cause: str) -> UpstreamError:
    return UpstreamError(
        "OBJECT_STORE_FAILED", f"The object store failed on {key!r}: {cause}.", key=key, cause=cause
    )


@contextlib.contextmanager
def _store_errors(key: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        raise _failed(key, _code(error)) from error
    except BotoCoreError as error:
        raise _failed(key, str(error)) from error
