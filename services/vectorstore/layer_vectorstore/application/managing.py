"""Looking at namespaces and changing what they are apart from their rows."""

from __future__ import annotations

import bisect
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import LayerError, NotFoundError
from layer_vectorstore.application.freshness import Freshness
from layer_vectorstore.application.registry import Registry
from layer_vectorstore.application.writing import WriteNamespace
from layer_vectorstore.domain.changes import Settings
from layer_vectorstore.domain.errors import RefusedError, namespace_missing
from layer_vectorstore.domain.schema import AttributeUpdate, Schema
from layer_vectorstore.domain.schema_parsing import metadata_schema_answer
from layer_vectorstore.domain.write import WriteOutcome, WriteRequest

OPERATIONS_KEPT_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class MetadataUpdate:
    """Fields that are None stay as they are."""

    replicas: int | None = None
    unpin: bool = False
    read_only: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A finished write that was asked for without waiting."""

    started_at_ms: int
    finished_at_ms: int
    outcome: WriteOutcome | LayerError


@dataclass(frozen=True, slots=True, kw_only=True)
class ManageNamespaces:
    registry: Registry
    write: WriteNamespace
    freshness: Freshness
    now_ms: EpochMilliseconds
    operations: OrderedDict[tuple[str, str], Operation] = field(default_factory=OrderedDict)

    def list_names(
        self, *, prefix: str, cursor: str, page_size: int
    ) -> tuple[list[str], str | None]:
        """Return a page of names in order, and the cursor of the next page if there is one."""
        names = [name for name in self.registry.names() if name.startswith(prefix)]
        start = bisect.bisect_right(names, cursor) if cursor else 0
        page = names[start : start + page_size]
        return page, page[-1] if start + page_size < len(names) else None

    def schema(self, name: str) -> Schema:
        """Return the schema that reads see.

        Raises:
            NotFoundError: ``NAMESPACE_NOT_FOUND``.
        """
        return self.registry.get(name).latest.schema

    def update_schema(self, name: str, updates: Mapping[str, AttributeUpdate]) -> Schema:
        """Merge ``updates`` into the schema of a namespace that exists.

        Raises:
            NotFoundError: ``NAMESPACE_NOT_FOUND``.
            RefusedError: When an attribute cannot change so.
        """
        self.write(name, WriteRequest(schema=updates))
        return self.schema(name)

    def metadata(self, name: str) -> dict[str, Any]:
        """Return what the metadata routes answer; counts are exact."""
        namespace = self.registry.get(name)
        view = namespace.latest
        settings = namespace.settings
        answer: dict[str, Any] = {
            "schema": metadata_schema_answer(view.schema, view.metric),
            "approx_row_count": view.rows_count,
            "approx_logical_bytes": view.logical_bytes,
            "created_at": timestamp(settings.created_at_ms),
            "updated_at": timestamp(settings.updated_at_ms),
            "encryption": {"mode": "default"},
            "index": {"status": "up-to-date"},
        }
        unindexed = namespace.unindexed(self.freshness.indexed_until_ms(self.now_ms()))
        if unindexed.rows_count:
            answer["index"] = {
                "status": "updating",
                "unindexed_bytes": unindexed.written_bytes,
                "unindexed_rows": unindexed.rows_count,
            }
        return answer | _optional_metadata(settings)

    def update_metadata(self, name: str, update: MetadataUpdate) -> dict[str, Any]:
        with self.registry.writing(name) as entry:
            if entry is None or entry.namespace is None:
                raise namespace_missing(name)
            settings = replace(entry.namespace.settings, updated_at_ms=self.now_ms())
            if update.unpin:
                settings = replace(settings, replicas=None)
            elif update.replicas is not None:
                settings = replace(settings, replicas=update.replicas)
            if update.read_only is not None:
                settings = replace(settings, read_only=update.read_only)
            self.write.change_settings(name, settings)
        return self.metadata(name)

    def delete(self, name: str) -> None:
        """Delete a namespace with all its rows; its name is free again at once."""
        with self.registry.writing(name) as entry:
            if entry is None or not entry.is_visible:
                raise namespace_missing(name)
            self.registry.wait(entry, self.registry.change_log.drop(entry.stream))
            self.registry.remove(name)
            self.registry.index_builder.drop(entry.stream)

    def start_copy(self, name: str, request: WriteRequest) -> str:
        """Copy at once, and keep the result for whoever asks with the returned token."""
        if request.copy_from is None:
            raise RefusedError("COPY_MISSING", "💔 only copy_from_namespace can be run as async")
        started_at_ms = self.now_ms()
        outcome: WriteOutcome | LayerError
        try:
            outcome = self.write(name, request)
        except LayerError as error:
            outcome = error
        token = uuid4().hex
        self.operations[name, token] = Operation(
            started_at_ms=started_at_ms, finished_at_ms=self.now_ms(), outcome=outcome
        )
        while len(self.operations) > OPERATIONS_KEPT_MAX:
            self.operations.popitem(last=False)
        return token

    def operation(self, name: str, token: str) -> Operation:
        """Return a finished operation.

        Raises:
            NotFoundError: ``OPERATION_NOT_FOUND``.
        """
        found = self.operations.get((name, token))
        if found is None:
            raise NotFoundError("OPERATION_NOT_FOUND", "🤷 operation was not found")
        return found


def timestamp(moment_ms: int) -> str:
    moment = datetime.fromtimestamp(moment_ms / 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment_ms % 1000:03d}Z"


def _optional_metadata(settings: Settings) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    if settings.last_write_at_ms is not None:
        answer["last_write_at"] = timestamp(settings.last_write_at_ms)
    if settings.replicas is not None:
        answer["pinning"] = {
            "replicas": settings.replicas,
            "status": {
                "updated_at": timestamp(settings.updated_at_ms),
                "ready_replicas": settings.replicas,
                "replicas": settings.replicas,
                "utilization": 0.0,
            },
        }
    if settings.shards is not None:
        answer["sharding"] = {"num_shards": settings.shards}
    if settings.read_only:
        answer["read_only"] = True
    if settings.parent is not None:
        answer["branching"] = {"parent": settings.parent}
    return answer
