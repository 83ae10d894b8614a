"""Approximate indexes on disk, so that a restart need not build them again.

A file is a mere copy: what it was made of is in the change log. A digest of the vectors says for
which rows it is good, and another of the graph that no byte of it has changed; an index that is
not exactly that is built anew.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import numpy as np
import structlog

from layer_vectorstore.domain.approximate import ApproximateIndex, Graphs
from layer_vectorstore.domain.vector_columns import DenseColumn
from layer_vectorstore.domain.vectors import Metric

log = structlog.get_logger(__name__)

FORMAT: Final = b"layer-index-1\n"
LENGTH_BYTES: Final = 8
READ_BYTES: Final = 1 << 20
_FILE_NAME: Final = re.compile(r"([0-9]+)-[0-9a-f]{32}\.index")


@dataclass(frozen=True, slots=True)
class IndexKey:
    stream_number: int
    column_name: str

    @property
    def file_name(self) -> str:
        # A digest, because a name may hold any character.
        name = hashlib.blake2b(self.column_name.encode(), digest_size=16).hexdigest()
        return f"{self.stream_number}-{name}.index"


class _Trailer(msgspec.Struct, frozen=True):
    """Stands after the graph, followed by its own length and the format."""

    metric: str
    dimensions: int
    slots_count: int
    rows_count: int
    left_out: bytes
    """The slots that are in no graph, as little-endian 64-bit integers."""
    vectors_digest: bytes
    graph_digest: bytes
    graph_bytes: int


class IndexFiles:
    """Used by one thread at a time, except :meth:`drop`."""

    def __init__(self, directory: Path, graphs: Graphs) -> None:
        self._directory = directory
        self._graphs = graphs

    def keep_only(self, stream_numbers: Container[int]) -> None:
        """Delete what streams left behind that are gone, and what a crash left unfinished."""
        try:
            self._directory.mkdir(exist_ok=True)
            for path in self._directory.iterdir():
                match = _FILE_NAME.fullmatch(path.name)
                if match is None or int(match[1]) not in stream_numbers:
                    path.unlink()
        except OSError:
            # A disk that is full or broken must not keep the store from serving reads.
            log.exception("index_files_not_tidied")

    def drop(self, stream_number: int) -> None:
        """Delete the files of one stream."""
        for path in self._directory.glob(f"{stream_number}-*.index"):
            path.unlink(missing_ok=True)

    def save(self, key: IndexKey, column: DenseColumn, index: ApproximateIndex) -> None:
        """Put an index on disk in place of an earlier state of it.

        Raises:
            OSError: When it cannot be written.
        """
        path = self._directory / key.file_name
        unfinished = path.with_suffix(".unfinished")
        try:
            # The whole process stands still meanwhile, about a millisecond per 1000 rows: that
            # is why an index is saved seldom.
            index.graph.save(unfinished)
            with unfinished.open("r+b") as file:
                graph_digest, graph_bytes = _digest(file, unfinished.stat().st_size)
                trailer = msgspec.msgpack.encode(
                    _Trailer(
                        metric=index.metric,
                        dimensions=column.dimensions,
                        slots_count=index.slots_count,
                        rows_count=index.rows_count,
                        left_out=index.left_out.astype("<i8").tobytes(),
                        vectors_digest=_vectors_digest(column, index.slots_count),
                        graph_digest=graph_digest,
                        graph_bytes=graph_bytes,
                    )
                )
                file.seek(0, os.SEEK_END)
                file.write(trailer + len(trailer).to_bytes(LENGTH_BYTES, "little") + FORMAT)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    def load(self, key: IndexKey, column: DenseColumn, metric: Metric) -> ApproximateIndex | None:
        """Return the index of a column; None when there is none that is good for its rows."""
        path = self._directory / key.file_name
        try:
            with path.open("rb") as file:
                trailer = _read_trailer(file)
                if trailer is None or not _is_good(trailer, file, column, metric):
                    log.info("index_file_outdated", file=path.name)
                    return None
            graph = self._graphs.load(path, column.dimensions, metric)
        except FileNotFoundError:
            return None
        except Exception:
            # Whatever is wrong with the file, the rows are elsewhere.
            log.exception("index_file_unreadable", file=path.name)
            return None
        left_out = np.frombuffer(trailer.left_out, dtype="<i8").astype(np.int64)
        return ApproximateIndex.restored(
            graph,
            metric,
            slots_count=trailer.slots_count,
            rows_count=trailer.rows_count,
            left_out=left_out,
        )


def _read_trailer(file: BinaryIO) -> _Trailer | None:
    end = LENGTH_BYTES + len(FORMAT)
    file_bytes = file.seek(0, os.SEEK_END)
    if file_bytes < end:
        return None
    file.seek(-end, os.SEEK_END)
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    if file.read() != FORMAT or length > file_bytes - end:
        return None
    file.seek(-end - length, os.SEEK_END)
    return msgspec.msgpack.decode(file.read(length), type=_Trailer)


def _is_good(trailer: _Trailer, file: BinaryIO, column: DenseColumn, metric: Metric) -> bool:
    return (
        (trailer.metric, trailer.dimensions) == (metric, column.dimensions)
        and trailer.slots_count <= column.slots_count
        and trailer.vectors_digest == _vectors_digest(column, trailer.slots_count)
        and trailer.graph_digest == _digest(file, trailer.graph_bytes)[0]
    )


def _vectors_digest(column: DenseColumn, slots_count: int) -> bytes:
    return hashlib.blake2b(column.values(slice(0, slots_count)).data, digest_size=32).digest()


def _digest(file: BinaryIO, size_bytes: int) -> tuple[bytes, int]:
    """Return the digest of a file's first bytes, and how many there were."""
    digest, done_bytes = hashlib.blake2b(digest_size=32), 0
    file.seek(0)
    while part := file.read(min(READ_BYTES, size_bytes - done_bytes)):
        digest.update(part)
        done_bytes += len(part)
    return digest.digest(), done_bytes
