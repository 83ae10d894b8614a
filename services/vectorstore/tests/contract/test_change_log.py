from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from layer_kit.errors import PayloadTooLargeError
from layer_vectorstore.adapters import sqlite_log
from layer_vectorstore.adapters.change_codec import decode_change, encode_change
from layer_vectorstore.adapters.memory_log import MemoryChangeLog
from layer_vectorstore.adapters.sqlite_log import SqliteChangeLog
from layer_vectorstore.domain.attribute_types import find_type
from layer_vectorstore.domain.changes import Change, Delete, Patch, Put, Settings, Step
from layer_vectorstore.domain.schema import AttributeSchema, FullTextSearch, Schema
from layer_vectorstore.domain.vectors import Metric
from layer_vectorstore.ports import ChangeLog

WAIT_S = 10


@pytest.fixture(params=["sqlite", "memory"])
def change_log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ChangeLog]:
    if request.param == "memory":
        yield MemoryChangeLog()
        return
    opened = SqliteChangeLog.open(tmp_path, CollectorRegistry())
    yield opened
    opened.close()


def schema() -> Schema:
    types = {"id": "uint", "s": "string", "v": "[2]f32", "m": "[][2]f32", "sp": "{}f16"}
    attributes = {
        name: AttributeSchema(type=found)
        for name, text in types.items()
        if (found := find_type(text)) is not None
    }
    attributes["s"] = AttributeSchema(
        type=attributes["s"].type, filterable=True, full_text_search=FullTextSearch(b=0.5)
    )
    return Schema(attributes)


def settings(moment_ms: int = 1) -> Settings:
    return Settings(
        schema=schema(),
        metric=Metric.EUCLIDEAN,
        created_at_ms=moment_ms,
        updated_at_ms=2,
        replicas=3,
        parent="p",
    )


def change(moment_ms: int = 1) -> Change:
    return Change(settings=settings(moment_ms), steps=[Delete([moment_ms])])


def test_a_change_survives_its_encoding() -> None:
    columns: dict[str, Any] = {
        "s": ["x", None],
        "v": np.array([[1.5, 2], [3, 4]], dtype=np.float32),
        "m": [np.ones((3, 2), dtype=np.float32), np.zeros((1, 2), dtype=np.float32)],
        "sp": [{"f32": 1.0}, None],
    }
    steps: list[Step] = [Put([1, 2**64 - 1], columns), Patch(["a"], {"s": ["y"]}), Delete([7])]

    decoded = decode_change(encode_change(Change(settings=settings(), steps=steps)))

    assert decoded.settings == settings()
    put, patch, delete = decoded.steps
    assert isinstance(put, Put)
    assert (put.ids, put.columns["s"], put.columns["sp"]) == (
        [1, 2**64 - 1],
        ["x", None],
        [{"f32": 1.0}, None],
    )
    np.testing.assert_array_equal(put.columns["v"], columns["v"])
    for stored, given in zip(put.columns["m"], columns["m"], strict=True):
        np.testing.assert_array_equal(stored, given)
    assert (patch, delete) == tuple(steps[1:])


def test_changes_come_back_in_order(change_log: ChangeLog) -> None:
    stream, other = change_log.create("ns"), change_log.create("other")
    for moment in (1, 2, 3):
        change_log.append(stream, change(moment)).result(WAIT_S)
        change_log.append(other, change(moment + 10)).result(WAIT_S)

    assert list(change_log.replay(stream)) == [change(1), change(2), change(3)]


def test_a_rewrite_replaces_what_was_there(change_log: ChangeLog) -> None:
    stream = change_log.create("ns")
    change_log.append(stream, change(1))
    change_log.rewrite(stream, [change(5), change(6)])
    change_log.append(stream, change(7)).result(WAIT_S)

    assert list(change_log.replay(stream)) == [change(5), change(6), change(7)]


def test_a_dropped_name_starts_anew(change_log: ChangeLog) -> None:
    stream = change_log.create("ns")
    change_log.append(stream, change(1)).result(WAIT_S)
    change_log.drop(stream).result(WAIT_S)
    fresh = change_log.create("ns")
    change_log.append(fresh, change(2)).result(WAIT_S)

    assert list(change_log.replay(fresh)) == [change(2)]


def test_a_name_belongs_to_its_newest_stream(change_log: ChangeLog) -> None:
    given_up = change_log.create("ns")
    change_log.append(given_up, change(1)).result(WAIT_S)
    fresh = change_log.create("ns")
    change_log.append(fresh, change(2)).result(WAIT_S)
    change_log.append(fresh, change(3)).result(WAIT_S)

    assert list(change_log.replay(fresh)) == [change(2), change(3)]


def test_what_was_written_to_a_newer_stream_is_there_after_a_restart(tmp_path: Path) -> None:
    first = SqliteChangeLog.open(tmp_path, CollectorRegistry())
    for moment in (1, 2):
        first.append(first.create("ns"), change(moment))
    first.close()

    second = SqliteChangeLog.open(tmp_path, CollectorRegistry())
    [found] = second.streams()
    assert (found.name, list(second.replay(found))) == ("ns", [change(2)])
    second.close()


def test_a_change_larger_than_sqlite_takes_is_refused_and_hurts_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_log, "CHANGE_BYTES_MAX", 10_000)
    log = SqliteChangeLog.open(tmp_path, CollectorRegistry())
    stream = log.create("ns")
    large = Change(settings=settings(), steps=[Delete(["x" * 64] * 1000)])

    with pytest.raises(PayloadTooLargeError, match="split it"):
        log.append(stream, large)
    log.append(stream, change(1)).result(WAIT_S)

    assert list(log.replay(stream)) == [change(1)]
    log.close()


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    first = SqliteChangeLog.open(tmp_path, CollectorRegistry())
    stream, gone = first.create("ns"), first.create("gone")
    first.append(stream, change(1))
    first.append(gone, change(1))
    first.drop(gone)
    first.close()

    second = SqliteChangeLog.open(tmp_path, CollectorRegistry())
    [found] = second.streams()
    assert (found.name, list(second.replay(found))) == ("ns", [change(1)])
    assert second.create("next").number > found.number
    second.close()


def test_nothing_may_follow_a_lost_change(tmp_path: Path) -> None:
    log = SqliteChangeLog.open(tmp_path, CollectorRegistry())
    stream = log.create("ns")
    stream.has_failed = True

    with pytest.raises(Exception, match="could not be made durable"):
        log.append(stream, change(1)).result(WAIT_S)
    log.close()
