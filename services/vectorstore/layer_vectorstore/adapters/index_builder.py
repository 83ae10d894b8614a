"""Builds approximate indexes in the background, one at a time."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

import numpy as np
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from layer_vectorstore.adapters.index_files import IndexFiles, IndexKey
from layer_vectorstore.domain.approximate import ApproximateIndex, Graphs
from layer_vectorstore.domain.attribute_types import Kind
from layer_vectorstore.domain.columns import Mask
from layer_vectorstore.domain.schema import Schema
from layer_vectorstore.domain.table import TableView
from layer_vectorstore.domain.vector_columns import DenseColumn
from layer_vectorstore.domain.vectors import Metric
from layer_vectorstore.ports import Stream

log = structlog.get_logger(__name__)

THREAD_NICENESS: Final = 5
"""Of the thread that builds: about a third of a core that queries want too."""

CHUNK_ROWS: Final = 32
"""Rows added while searches wait: a few milliseconds."""

TAIL_FRACTION_MAX: Final = 0.05
"""Share of ``rows_min`` that may wait for the index; a search of so few rows costs little."""


SAVED_GROWTH_MIN: Final = 1.2
"""By how much an index has grown before it is saved again; a restart adds what is missing."""


@dataclass(frozen=True, slots=True)
class _Build:
    key: IndexKey
    live: Mask
    metric: Metric


def yield_to_queries() -> None:
    """Make the calling thread one that others are run before, where threads have priorities."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), THREAD_NICENESS)


class BackgroundIndexBuilder:
    """Implements ``ports.IndexBuilder``."""

    def __init__(
        self,
        executor: Executor,
        graphs: Graphs,
        files: IndexFiles,
        registry: CollectorRegistry,
        *,
        rows_min: int,
        namespace_bytes_max: int,
    ) -> None:
        """Start idle.

        Args:
            executor: Of one thread, so that one build runs at a time.
            graphs: Makes the graphs.
            files: Keeps the indexes over restarts.
            registry: Of the metrics.
            rows_min: Live rows from which on a column gets an index.
            namespace_bytes_max: What a namespace may hold with its indexes.
        """
        self._executor = executor
        self._graphs = graphs
        self._files = files
        self._rows_min = rows_min
        self._namespace_bytes_max = namespace_bytes_max
        self._saved_rows: weakref.WeakKeyDictionary[ApproximateIndex, int] = (
            weakref.WeakKeyDictionary()
        )
        self._lock = threading.Lock()
        self._scheduled: weakref.WeakSet[DenseColumn] = weakref.WeakSet()
        self._wanted: weakref.WeakKeyDictionary[DenseColumn, _Build] = weakref.WeakKeyDictionary()
        self._is_stopping = False
        self._unfinished = Gauge(
            "layer_vectorstore_index_builds_unfinished",
            "Builds of approximate indexes that run or wait for their turn.",
            registry=registry,
        )
        self._builds = Counter(
            "layer_vectorstore_index_builds_total", "Builds that finished.", registry=registry
        )
        self._failures = Counter(
            "layer_vectorstore_index_failures_total", "Builds that failed.", registry=registry
        )
        self._loads = Counter(
            "layer_vectorstore_index_loads_total",
            "Indexes taken from their file instead of being built.",
            registry=registry,
        )
        self._save_failures = Counter(
            "layer_vectorstore_index_save_failures_total",
            "Indexes that could not be put on disk.",
            registry=registry,
        )
        self._rows = Counter(
            "layer_vectorstore_index_rows_total", "Rows added to indexes.", registry=registry
        )

    def consider(self, stream: Stream, view: TableView) -> None:
        if len(view.live) < self._rows_min or view.metric is None or not self._has_room(view):
            return
        for name in view.schema.vectors:
            column = view.columns[name]
            if isinstance(column, DenseColumn) and self._is_worth_building(column, view):
                key = IndexKey(stream.number, name)
                self._schedule(column, _Build(key, view.live, view.metric))

    def drop(self, stream: Stream) -> None:
        self._files.drop(stream.number)

    def bytes_max(self, schema: Schema, metric: Metric | None, rows_count: int) -> int:
        if rows_count < self._rows_min or metric is None:
            return 0
        return sum(
            self._graphs.bytes_max(rows_count, found.type.dimensions, metric)
            for found in schema.vectors.values()
            if found.type.kind is Kind.DENSE
        )

    def stop(self) -> None:
        """End the running build soon and start no other."""
        self._is_stopping = True

    def _has_room(self, view: TableView) -> bool:
        """Return whether the index fits; without one searches stay exact."""
        index_bytes = self.bytes_max(view.schema, view.metric, view.rows_count)
        return view.logical_bytes + index_bytes <= self._namespace_bytes_max

    def _is_worth_building(self, column: DenseColumn, view: TableView) -> bool:
        index = column.index
        if index is None or not index.is_ready:
            return view.rows_count >= self._rows_min
        return len(view.live) - index.slots_count > TAIL_FRACTION_MAX * self._rows_min

    def _schedule(self, column: DenseColumn, build: _Build) -> None:
        """Run a build, after the one that runs if there is one; of several only the last."""
        with self._lock:
            if self._is_stopping:
                return
            self._wanted[column] = build
            if column in self._scheduled:
                return
            self._scheduled.add(column)
            self._unfinished.inc()
            self._executor.submit(self._run, weakref.ref(column))

    def _run(self, reference: weakref.ref[DenseColumn]) -> None:
        while (build := self._next_build(reference)) is not None:
            try:
                if self._fill(reference, build):
                    self._builds.inc()
            except Exception:
                # A background edge: searches stay exact, and a later write tries again.
                self._failures.inc()
                log.exception("index_build_failed")
        self._unfinished.dec()

    def _next_build(self, reference: weakref.ref[DenseColumn]) -> _Build | None:
        column = reference()
        if column is None:
            return None
        with self._lock:
            build = None if self._is_stopping else self._wanted.pop(column, None)
            if build is None:
                self._scheduled.discard(column)
            return build

    def _fill(self, reference: weakref.ref[DenseColumn], build: _Build) -> bool:
        """Add all live rows that the index lacks; return False when that became pointless."""
        column = reference()
        if column is None:
            return False
        index = column.index
        if index is None:
            index = column.index = self._loaded_or_new(column, build)
        start = index.slots_count
        slots = np.flatnonzero(build.live[start:]) + start
        index.leave_out(np.flatnonzero(~build.live[start:]) + start)
        for first in range(0, len(slots), CHUNK_ROWS):
            # Held only while it is read, so that a namespace that is let go ends its build.
            del column
            column = reference()
            if column is None or self._is_stopping:
                return False
            chunk = slots[first : first + CHUNK_ROWS]
            index.add(chunk, column.values(chunk))
            self._rows.inc(len(chunk))
        index.finish(len(build.live))
        self._save(reference, build.key, index)
        return True

    def _loaded_or_new(self, column: DenseColumn, build: _Build) -> ApproximateIndex:
        index = self._files.load(build.key, column, build.metric)
        if index is None:
            return ApproximateIndex(self._graphs.new(column.dimensions, build.metric), build.metric)
        self._loads.inc()
        self._saved_rows[index] = index.rows_count
        return index

    def _save(
        self, reference: weakref.ref[DenseColumn], key: IndexKey, index: ApproximateIndex
    ) -> None:
        """Put the index on disk when it has grown enough since it was there last."""
        column = reference()
        saved_rows = self._saved_rows.get(index, 0)
        if column is None or index.rows_count < SAVED_GROWTH_MIN * max(saved_rows, 1):
            return
        try:
            self._files.save(key, column, index)
        except (OSError, RuntimeError):
            # Searches have their index all the same; the next growth tries again.
            self._save_failures.inc()
            log.exception("index_save_failed")
        self._saved_rows[index] = index.rows_count
