"""Exports of history as files."""

from __future__ import annotations

import importlib
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from layer_cli.history.exports import GROUP_ROWS, ExportFormat, open_writer
from layer_kit.configuration import ConfigurationError

MOMENT_NS = 1_780_000_000_123_456_789
SHARED: dict[str, Any] = {"namespace": "films", "trace_id": "0" * 31 + "1", "tags": ["web"]}
SEARCH = SHARED | {
    "raw_query": "räd shoes",
    "stable_as_of": 1_780_000_000_000,
    "query": {"top_k": 3, "filters": ["kind", "Eq", "ü"]},
    "top_result_ids": ["a", "b"],
}
CLICK = SHARED | {"doc_id": "a", "source": "single", "served_from": "cache"}


def event(fields: dict[str, Any], number: int = 0) -> dict[str, Any]:
    return fields | {"timestamp": "(the edge's)", "timestamp_nanos": MOMENT_NS + number}


def read(path: Path) -> Any:
    return importlib.import_module("pyarrow.parquet").ParquetFile(path)


def test_searches_in_parquet_are_rows_with_typed_columns(tmp_path: Path) -> None:
    path = tmp_path / "searches.parquet"
    bare = event(SHARED | {"query": {}, "top_result_ids": [], "tags": []}, 1)
    with open_writer(ExportFormat.PARQUET, path, is_clicks=False) as writer:
        writer.write([event(SEARCH)])
        writer.write([bare])
    assert writer.count == 2
    with read(path) as file:
        first, second = file.read().to_pylist()
    moment = datetime.fromtimestamp(MOMENT_NS // 10**9, UTC) + timedelta(microseconds=123_456)
    assert (first.pop("timestamp"), first.pop("timestamp_nanos")) == (moment, MOMENT_NS)
    assert json.loads(first.pop("query")) == SEARCH["query"]
    assert first == {key: value for key, value in SEARCH.items() if key != "query"}
    assert (second["raw_query"], second["stable_as_of"], second["tags"]) == (None, None, [])


def test_clicks_in_parquet_come_in_groups_and_none_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "clicks.parquet"
    count = GROUP_ROWS + 500
    with open_writer(ExportFormat.PARQUET, path, is_clicks=True) as writer:
        for start in range(0, count, 500):
            writer.write([event(CLICK, number) for number in range(start, start + 500)])
    with read(path) as file:
        rows = file.read()
        assert file.num_row_groups == 2
    assert rows.column("timestamp_nanos").to_pylist() == [MOMENT_NS + n for n in range(count)]
    assert set(rows.column("doc_id").to_pylist()) == {"a"}


class _Broken(list[Any]):
    """A page that cannot be had."""

    def __iter__(self) -> Any:
        raise KeyError


def test_an_export_of_nothing_is_a_table_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "nothing.parquet"
    with open_writer(ExportFormat.PARQUET, path, is_clicks=False):
        pass
    with read(path) as file:
        assert file.metadata.num_rows == 0
        assert "raw_query" in file.schema_arrow.names


@pytest.mark.parametrize("format_", ExportFormat)
def test_an_export_that_fails_leaves_no_file(tmp_path: Path, format_: ExportFormat) -> None:
    path = tmp_path / "films"
    with pytest.raises(KeyError), open_writer(format_, path, is_clicks=False) as writer:
        writer.write(_Broken())
    assert list(tmp_path.iterdir()) == []


def test_without_pyarrow_parquet_is_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with (
        pytest.raises(ConfigurationError, match="pip install pyarrow"),
        open_writer(ExportFormat.PARQUET, tmp_path / "films", is_clicks=False),
    ):
        raise AssertionError("it was opened")
    assert list(tmp_path.iterdir()) == []
