"""Files that history is exported to. A failed export leaves no file behind that looks whole."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Final, Protocol

from layer_cli.history.pages import Event
from layer_kit.configuration import ConfigurationError

STDOUT: Final = Path("-")
GROUP_ROWS: Final = 10_000


class ExportFormat(StrEnum):
    """``jsonl`` for everything, ``parquet`` for tables."""

    JSONL = "jsonl"
    PARQUET = "parquet"


class Writer(Protocol):
    """Takes pages of events."""

    count: int

    def write(self, page: Sequence[Event]) -> None: ...


@contextlib.contextmanager
def open_writer(format_: ExportFormat, path: Path, *, is_clicks: bool) -> Iterator[Writer]:
    """Write to ``path``, which appears once everything is written.

    Raises:
        ConfigurationError: It cannot be written, or pyarrow is not installed.
    """
    if path == STDOUT:
        if format_ is not ExportFormat.JSONL:
            raise ConfigurationError("only jsonl can be written to stdout; name a --file")
        yield JsonLines(sys.stdout)
        return
    partial = path.with_name(f"{path.name}.partial")
    try:
        with contextlib.ExitStack() as stack:
            yield _opened(format_, partial, stack, is_clicks=is_clicks)
        partial.replace(path)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


class JsonLines:
    """One event a line, as the gateway tells it."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self.count = 0

    def write(self, page: Sequence[Event]) -> None:
        for event in page:
            self._file.write(json.dumps(event, ensure_ascii=False, separators=(",", ":")) + "\n")
        self.count += len(page)


class Parquet:
    """Row groups of ``GROUP_ROWS``; summaries of queries are text of JSON: their keys differ."""

    def __init__(self, arrow: Any, writer: Any, schema: Any) -> None:
        self._arrow = arrow
        self._writer = writer
        self._schema = schema
        self._rows: list[Event] = []
        self.count = 0

    def write(self, page: Sequence[Event]) -> None:
        self._rows += map(_row, page)
        self.count += len(page)
        if len(self._rows) >= GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered, less than a row group at the end."""
        if self._rows:
            self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []


def _opened(
    format_: ExportFormat, path: Path, stack: contextlib.ExitStack, *, is_clicks: bool
) -> Writer:
    if format_ is ExportFormat.JSONL:
        return JsonLines(stack.enter_context(path.open("w", encoding="utf-8")))
    try:
        # Not a dependency of ours: 150 MB that most installations do without.
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise ConfigurationError("--format parquet needs `pip install pyarrow`") from error
    schema = _schema(arrow, is_clicks=is_clicks)
    writer = stack.enter_context(parquet.ParquetWriter(path, schema, compression="zstd"))
    export = Parquet(arrow, writer, schema)
    stack.callback(export.flush)
    return export


def _schema(arrow: Any, *, is_clicks: bool) -> Any:
    text, texts, number = arrow.string(), arrow.list_(arrow.string()), arrow.int64()
    shared = {
        "timestamp": arrow.timestamp("us", tz="UTC"),
        "timestamp_nanos": number,
        "namespace": text,
        "trace_id": text,
        "tags": texts,
    }
    own = (
        {"doc_id": text, "source": text, "served_from": text}
        if is_clicks
        else {"raw_query": text, "stable_as_of": number, "query": text, "top_result_ids": texts}
    )
    return arrow.schema(list((shared | own).items()))


def _row(event: Event) -> Event:
    row = event | {"timestamp": event["timestamp_nanos"] // 1000}
    if "query" in row:
        row["query"] = json.dumps(row["query"], ensure_ascii=False, separators=(",", ":"))
    return row
