"""Writes: checked, applied in memory, logged, and shown to readers once they are on disk."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import ForbiddenError
from layer_vectorstore.application.freshness import Freshness
from layer_vectorstore.application.registry import Entry, Registry
from layer_vectorstore.domain.changes import Change, Patch, Put, Settings, Step
from layer_vectorstore.domain.errors import RefusedError, namespace_missing
from layer_vectorstore.domain.limits import DOCUMENT_BYTES_MAX
from layer_vectorstore.domain.namespace import Namespace, rows_as_changes
from layer_vectorstore.domain.preparing import PreparedWrite, prepare
from layer_vectorstore.domain.schema import EMPTY
from layer_vectorstore.domain.sizes import largest_row_bytes, written_bytes
from layer_vectorstore.domain.table import Table, TableView
from layer_vectorstore.domain.write import WriteOutcome, WriteRequest
from layer_vectorstore.domain.writing import ByFilterLimits, carry_out


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteLimits:
    by_filter: ByFilterLimits
    namespace_bytes_max: int


@dataclass(frozen=True, slots=True)
class _Written:
    """A change that is applied and queued, not yet on disk."""

    entry: Entry
    namespace: Namespace
    durable: Future[None]
    version: int
    view: TableView
    rows_count: int
    written_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteNamespace:
    registry: Registry
    freshness: Freshness
    limits: WriteLimits
    now_ms: EpochMilliseconds

    def __call__(self, name: str, request: WriteRequest) -> WriteOutcome:
        """Carry out one write; when it returns, the write is on disk and seen by reads.

        Writers of one namespace take turns only until their change is queued for the disk, so
        that one sync can serve many of them.

        Raises:
            NotFoundError: ``NAMESPACE_NOT_FOUND``, for a write that does not create one.
            RefusedError: When the write cannot be done.
            ForbiddenError: ``NAMESPACE_READ_ONLY``.
            QuotaExceededError: ``UNINDEXED_TOO_MUCH``.
            UnavailableError: ``LOG_FAILED``.
        """
        source = request.copy_from or request.branch_from
        # Looked up before any lock is taken: two copies crossing each other must not wait.
        origin = None if source is None else self.registry.get(source)
        with self.registry.writing(name) as entry:
            if origin is not None:
                written, outcome = self._copy(name, entry, request, origin)
            else:
                written, outcome = self._write(name, entry, request)
        self._finish(written)
        return outcome

    def _write(
        self, name: str, entry: Entry | None, request: WriteRequest
    ) -> tuple[_Written, WriteOutcome]:
        namespace = entry.namespace if entry is not None else None
        before = self._settings_before(name, namespace, request)
        rows_count = 0
        if namespace is not None:
            self._refuse_when_not_writable(namespace, request)
            rows_count = namespace.table.rows_count
        prepared = prepare(request, before.schema, before.metric, rows_count=rows_count)
        if namespace is None and prepared.schema.id_type is None:
            raise RefusedError(
                "ID_TYPE_MISSING",
                "💔 a namespace without documents needs the type of `id` in schema",
            )
        if entry is None or namespace is None:
            entry = self.registry.add(name, before)
            namespace = entry.namespace
        assert namespace is not None, "a new entry has its namespace"
        try:
            self._refuse_when_too_large(namespace, prepared)
            steps, outcome = carry_out(prepared, namespace.table, self.limits.by_filter)
            settings = self._settings_after(before, prepared)
            written = self._log(entry, namespace, Change(settings=settings, steps=steps))
        except BaseException as error:
            # A refusal leaves the rows as they were; after anything else nobody knows.
            is_new = entry.version == 0 and not entry.is_visible
            if is_new or not isinstance(error, RefusedError):
                self.registry.forget(entry)
            raise
        outcome.written_bytes = written.written_bytes
        return written, outcome

    def _copy(
        self, name: str, entry: Entry | None, request: WriteRequest, origin: Namespace
    ) -> tuple[_Written, WriteOutcome]:
        """Copy all rows; a branch differs only in that it knows its parent."""
        view = origin.latest
        namespace = entry.namespace if entry is not None else None
        if namespace is not None:
            self._refuse_when_not_writable(namespace, request)
            if namespace.table.rows_count:
                raise RefusedError(
                    "COPY_TARGET_EXISTS",
                    f"💔 cannot copy into '{name}': the namespace is not empty",
                )
        now_ms = self.now_ms()
        settings = Settings(
            schema=view.schema,
            metric=view.metric,
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
            last_write_at_ms=now_ms,
            shards=request.shards,
            parent=origin.name if request.branch_from else None,
        )
        if entry is None or namespace is None:
            entry = self.registry.add(name, settings)
            namespace = entry.namespace
        assert namespace is not None, "a new entry has its namespace"
        changes = rows_as_changes(settings, view)
        try:
            _start_over(namespace, changes)
            # One operation of the log, so that a crash leaves all of the copy or nothing.
            durable = self.registry.change_log.rewrite(entry.stream, changes)
        except BaseException:
            self.registry.forget(entry)
            raise
        outcome = WriteOutcome(
            message="namespace cloned successfully",
            written_bytes=view.logical_bytes,
            has_queried=True,
            copied_rows_count=view.rows_count,
        )
        return self._queued(entry, namespace, durable, view.rows_count, view.logical_bytes), outcome

    def change_settings(self, name: str, settings: Settings) -> None:
        """Put new settings in force for a namespace whose writer the caller is."""
        with self.registry.writing(name) as entry:
            if entry is None or entry.namespace is None:
                raise namespace_missing(name)
            entry.namespace.table.change_schema(settings.schema, settings.metric)
            written = self._log(entry, entry.namespace, Change(settings=settings))
        self._finish(written)

    def _settings_before(
        self, name: str, namespace: Namespace | None, request: WriteRequest
    ) -> Settings:
        if namespace is not None:
            return namespace.settings
        has_rows = request.upserts is not None and len(request.upserts.ids) > 0
        if request.creates is False or not (has_rows or request.creates):
            raise namespace_missing(name)
        now_ms = self.now_ms()
        return Settings(
            schema=EMPTY, created_at_ms=now_ms, updated_at_ms=now_ms, shards=request.shards
        )

    def _settings_after(self, before: Settings, prepared: PreparedWrite) -> Settings:
        now_ms = self.now_ms()
        return replace(
            before,
            schema=prepared.schema,
            metric=prepared.metric,
            updated_at_ms=now_ms,
            last_write_at_ms=now_ms,
        )

    def _refuse_when_not_writable(self, namespace: Namespace, request: WriteRequest) -> None:
        if namespace.settings.read_only:
            raise ForbiddenError(
                "NAMESPACE_READ_ONLY", f"💔 namespace '{namespace.name}' is read-only"
            )
        if not request.ignores_backpressure:
            advice = "retry later or set disable_backpressure"
            self.freshness.refuse_when_behind(namespace, self.now_ms(), advice=advice)

    def _refuse_when_too_large(self, namespace: Namespace, prepared: PreparedWrite) -> None:
        """Refuse rows that would not fit, rather than run out of memory later."""
        table = namespace.table
        added_bytes = self._added_bytes(prepared, table)
        if not added_bytes:
            return
        # A request that is no larger than a row may be has no row that is.
        if prepared.upserts and added_bytes > DOCUMENT_BYTES_MAX:
            rows = Put(prepared.upserts.ids, prepared.upserts.columns)
            _refuse_large_rows(largest_row_bytes(rows, prepared.schema))
        rows_count = table.rows_count + (len(prepared.upserts.ids) if prepared.upserts else 0)
        index_bytes = max(
            table.index_bytes,
            self.registry.index_builder.bytes_max(prepared.schema, prepared.metric, rows_count),
        )
        if table.live_memory_bytes + added_bytes + index_bytes > self.limits.namespace_bytes_max:
            index = f", {index_bytes} of them for its index of vectors" if index_bytes else ""
            raise RefusedError(
                "NAMESPACE_TOO_LARGE",
                f"💔 namespace '{namespace.name}' would grow over the limit of "
                f"{self.limits.namespace_bytes_max} bytes that this server keeps per "
                f"namespace{index}",
            )

    def _added_bytes(self, prepared: PreparedWrite, table: Table) -> int:
        """Return how many bytes a write adds at most; what it replaces is not known yet."""
        steps: list[Step] = [Patch(patch.ids, patch.columns) for patch in prepared.patches]
        if prepared.upserts is not None:
            steps.append(Put(prepared.upserts.ids, prepared.upserts.columns))
        added_bytes = written_bytes(steps, prepared.schema)
        if prepared.patch_by_filter is not None:
            rows_count = min(table.rows_count, self.limits.by_filter.patched_rows_max)
            one = Patch((), prepared.patch_by_filter.columns)
            added_bytes += rows_count * written_bytes([one], prepared.schema)
        return added_bytes

    def _log(self, entry: Entry, namespace: Namespace, change: Change) -> _Written:
        namespace.settings = change.settings
        durable = self.registry.change_log.append(entry.stream, change)
        if namespace.is_worth_rebuilding(self.limits.namespace_bytes_max):
            durable = self._rebuild(entry, namespace)
        return self._queued(
            entry,
            namespace,
            durable,
            sum(len(step.ids) for step in change.steps),
            written_bytes(change.steps, change.settings.schema),
        )

    def _rebuild(self, entry: Entry, namespace: Namespace) -> Future[None]:
        """Give the memory and the disk of replaced rows back."""
        changes = rows_as_changes(namespace.settings, namespace.table.view())
        _start_over(namespace, changes)
        return self.registry.change_log.rewrite(entry.stream, changes)

    def _queued(
        self,
        entry: Entry,
        namespace: Namespace,
        durable: Future[None],
        rows_count: int,
        logical_bytes: int,
    ) -> _Written:
        entry.version += 1
        return _Written(
            entry,
            namespace,
            durable,
            entry.version,
            namespace.current_view(),
            rows_count,
            logical_bytes,
        )

    def _finish(self, written: _Written) -> None:
        self.registry.wait(written.entry, written.durable)
        now_ms = self.now_ms()
        written.namespace.publish(
            written.view,
            written.version,
            now_ms=now_ms,
            indexed_until_ms=self.freshness.indexed_until_ms(now_ms),
            rows_count=written.rows_count,
            written_bytes=written.written_bytes,
        )
        self.registry.index_builder.consider(written.entry.stream, written.view)


def _refuse_large_rows(row_bytes: int) -> None:
    if row_bytes > DOCUMENT_BYTES_MAX:
        raise RefusedError(
            "DOCUMENT_TOO_LARGE",
            f"💔 a document has {row_bytes} bytes, but can have at most {DOCUMENT_BYTES_MAX}",
        )


def _start_over(namespace: Namespace, changes: Sequence[Change]) -> None:
    """Replace the table by one that has only what ``changes`` write."""
    settings = changes[0].settings
    namespace.table = Table(settings.schema, settings.metric)
    for change in changes:
        namespace.replay(change)
    namespace.table.index_text()
