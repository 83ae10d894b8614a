from __future__ import annotations

import shutil
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from layer_vectorstore.adapters.index_builder import BackgroundIndexBuilder
from layer_vectorstore.adapters.index_files import IndexFiles
from layer_vectorstore.adapters.memory_log import MemoryChangeLog
from layer_vectorstore.adapters.usearch_graph import UsearchGraphs
from layer_vectorstore.application.freshness import Freshness
from layer_vectorstore.application.managing import ManageNamespaces
from layer_vectorstore.application.querying import QueryNamespace
from layer_vectorstore.application.registry import Registry
from layer_vectorstore.application.writing import WriteLimits, WriteNamespace
from layer_vectorstore.domain.query_parsing import parse_query_request
from layer_vectorstore.domain.write_parsing import parse_write_request
from layer_vectorstore.domain.writing import ByFilterLimits
from layer_vectorstore.http.answers import write_answer
from layer_vectorstore.ports import ChangeLog

Json = dict[str, Any]

INDEX_WAIT_S_MAX = 30


class Store:
    """The store without HTTP: JSON bodies in, JSON answers out, and a clock to move."""

    def __init__(self, change_log: ChangeLog | None = None, **limits: int) -> None:
        self.now_ms = 1_700_000_000_000
        self.change_log = change_log or MemoryChangeLog()
        self.freshness = Freshness()
        self._limits = WriteLimits(
            by_filter=ByFilterLimits(
                deleted_rows_max=limits.get("deleted_rows_max", 1000),
                patched_rows_max=limits.get("patched_rows_max", 1000),
            ),
            namespace_bytes_max=limits.get("namespace_bytes_max", 1 << 30),
        )
        self._memory_bytes_max = limits.get("memory_bytes_max", 1 << 30)
        self.index_directory = _directory_of(self)
        self._index_rows_min = limits.get("index_rows_min", 200_000)
        self.restart()

    def restart(self) -> None:
        self.metrics = CollectorRegistry()
        self._background = ThreadPoolExecutor(1)
        files = IndexFiles(self.index_directory, UsearchGraphs())
        files.keep_only({stream.number for stream in self.change_log.streams()})
        index_builder = BackgroundIndexBuilder(
            self._background,
            UsearchGraphs(),
            files,
            self.metrics,
            rows_min=self._index_rows_min,
            namespace_bytes_max=self._limits.namespace_bytes_max,
        )
        registry = Registry(self.change_log, index_builder, memory_bytes_max=self._memory_bytes_max)
        self.writes = WriteNamespace(
            registry=registry,
            freshness=self.freshness,
            limits=self._limits,
            now_ms=lambda: self.now_ms,
        )
        self.queries = QueryNamespace(
            registry=registry,
            freshness=self.freshness,
            now_ms=lambda: self.now_ms,
            random=Random(7),  # noqa: S311
        )
        self.manage = ManageNamespaces(
            registry=registry,
            write=self.writes,
            freshness=self.freshness,
            now_ms=lambda: self.now_ms,
        )

    def finish_indexes(self) -> None:
        """Wait until no build of an index runs or waits."""
        # The builds share one thread, so what is submitted last also ends last.
        self._background.submit(lambda: None).result(INDEX_WAIT_S_MAX)

    def write(self, body: Mapping[str, Any], name: str = "ns") -> Json:
        request = parse_write_request(_as_json(body))
        outcome = self.writes(name, request)
        return write_answer(outcome, 1, returns_ids=request.returns_ids)

    def upsert(self, *rows: Mapping[str, Any], **fields: Any) -> Json:
        return self.write({"upsert_rows": list(rows), **fields})

    def query(self, body: Mapping[str, Any], name: str = "ns") -> Json:
        return self.queries.query(name, parse_query_request(_as_json(body))).answer.body

    def rows(self, **fields: Any) -> list[Json]:
        """Return all rows in order of id, or those of a query."""
        body = {"rank_by": ["id", "asc"], "limit": 10_000, "include_attributes": True} | fields
        rows: list[Json] = self.query(body)["rows"]
        return rows

    def ids(self, filters: Any = None, **fields: Any) -> list[Any]:
        return [row["id"] for row in self.rows(filters=filters, **fields)]


def _directory_of(store: Store) -> Path:
    """Return a directory that lives as long as the store."""
    path = mkdtemp()
    weakref.finalize(store, shutil.rmtree, path, ignore_errors=True)
    return Path(path)


def _as_json(body: Mapping[str, Any]) -> Any:
    return msgspec.json.decode(msgspec.json.encode(body))


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture(scope="session")
def new_store() -> Callable[..., Store]:
    return Store
