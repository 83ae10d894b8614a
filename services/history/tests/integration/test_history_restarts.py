"""The service over its restarts: kills, stops, and what is left of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from layer.history.v1 import history_pb2
from layer_history_testing.client import MOMENT_NS, NAMESPACE, click, lines_under, query
from layer_kit.errors import InvalidRequestError, PreconditionError, UnavailableError
from layer_testing.edge_calls import eventually


async def test_an_acknowledged_event_survives_a_kill(start: Any) -> None:
    async with start() as (history, process):
        await history.append(*(query(MOMENT_NS + n) for n in range(500)))
        await process.kill()
    async with start() as (history, _):
        assert await history.all_queries() == [MOMENT_NS + n for n in reversed(range(500))]


async def test_an_event_sent_twice_is_listed_once(start: Any) -> None:
    async with start(LAYER_HISTORY_FLUSH_INTERVAL_S="0.05") as (history, process):
        await history.append(query(), click(), click())
        await process.terminate()
    async with start() as (history, _):
        await history.append(query(), click(), click(document_id="b"))
        assert await history.queries() == [MOMENT_NS]
        assert await history.clicks() == [(MOMENT_NS, "a"), (MOMENT_NS, "b")]


async def test_a_stop_brings_everything_to_the_object_store(
    start: Any, tmp_path: Path, data: Path
) -> None:
    async with start() as (history, process):
        await history.append(query())
        assert await process.terminate() == 0
    assert len(lines_under(tmp_path / "store" / "objects", "search-history")) == 1
    assert list((data / "log").iterdir()) == list((data / "bundles").iterdir()) == []


async def test_an_open_stream_does_not_delay_the_stop(start: Any) -> None:
    async with start(LAYER_HISTORY_SHUTDOWN_GRACE_S="600") as (history, process):
        call = history.stub.AppendEvents()
        await call.write(
            history_pb2.AppendEventsRequest(events=[query(namespace=NAMESPACE)], batch_number=3)
        )
        assert (await call.read()).batch_number == 3
        assert await process.terminate() == 0


async def test_pages_cover_every_event_once(start: Any) -> None:
    moments = [MOMENT_NS + n * 10**9 for n in range(25)]
    async with start() as (history, process):
        await history.append(*map(query, moments[::2]))
        await process.terminate()
    async with start() as (history, _):
        await history.append(*map(query, moments[1::2]))
        assert await history.all_queries(page_size=4) == moments[::-1]


async def test_a_policy_outlives_the_process_and_a_bad_one_changes_nothing(start: Any) -> None:
    async with start() as (history, process):
        await history.set_policy(query_retention_s=60)
        with pytest.raises(PreconditionError) as no_key:
            await history.set_policy(raw_query_redaction=history_pb2.REDACTION_HASH)
        with pytest.raises(InvalidRequestError) as bad_pattern:
            await history.set_policy(redaction_patterns=["("])
        await process.kill()
    async with start() as (history, _):
        assert (await history.policy()).query_retention_s == 60
    assert (no_key.value.reason, bad_pattern.value.reason) == ("HASH_KEY_MISSING", "POLICY_INVALID")
    assert "b'" not in bad_pattern.value.message


async def test_nothing_is_kept_while_it_is_not_known_what_may_be(start: Any) -> None:
    away = {
        "S3_BUCKET": "b",
        "S3_ENDPOINT": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "LAYER_HISTORY_OBJECTS_DIRECTORY": "",
    }
    async with start(**away) as (history, _):
        with pytest.raises(UnavailableError) as refused:
            await history.append(query())
    assert refused.value.reason == "POLICIES_UNKNOWN"
    async with start() as (history, _):
        await history.append(query())
    async with start(**away) as (history, _):
        await history.append(query(MOMENT_NS + 1))


async def test_what_has_expired_is_not_read_and_then_removed(start: Any, tmp_path: Path) -> None:
    async with start() as (history, process):
        await history.append(query(), click())
        await process.terminate()
    assert lines_under(tmp_path / "store" / "objects", "search-history")
    async with start(LAYER_HISTORY_MAINTENANCE_INTERVAL_S="0.1") as (history, _):
        await history.set_policy(query_retention_s=3600)
        assert await history.queries() == []

        async def is_removed() -> bool:
            return not lines_under(tmp_path / "store" / "objects", "search-history")

        await eventually(is_removed)
        assert await history.clicks() == [(MOMENT_NS, "a")]


async def test_damaged_files_do_not_stay_for_ever(start: Any, data: Path) -> None:
    folder = data / "damaged"
    folder.mkdir(parents=True)
    (folder / "old.log").write_bytes(b"what somebody typed")
    async with start(
        LAYER_HISTORY_MAINTENANCE_INTERVAL_S="0.1", LAYER_HISTORY_DAMAGED_RETENTION_S="0"
    ):

        async def is_removed() -> bool:
            return not any(folder.iterdir())

        await eventually(is_removed)


async def test_a_deleted_namespace_has_no_history_left(start: Any, tmp_path: Path) -> None:
    async with start() as (history, process):
        await history.append(query(), click(), query(namespace="other"))
        await process.terminate()
    async with start() as (history, process):
        await history.append(query(MOMENT_NS + 1))
        await history.set_policy(query_retention_s=60)
        assert await history.delete() == 2
        assert await history.queries() == []
        assert await history.clicks() == []
        await history.append(query(MOMENT_NS + 2))  # one that was still on its way
        assert await history.queries() == []
        assert (await history.policy()).query_retention_s == 0
        await process.kill()
    async with start() as (history, process):
        assert await history.queries() == []
        assert await history.queries("other") == [MOMENT_NS]
        await process.terminate()
    assert not lines_under(tmp_path / "store" / "objects", f"search-history/{NAMESPACE}")


async def test_namespaces_whose_names_are_nearly_no_folders_are_kept_too(start: Any) -> None:
    async with start() as (history, process):
        await history.append(query(namespace="..."), query(namespace="..a"))
        await process.terminate()
    async with start() as (history, _):
        assert await history.queries("...") == await history.queries("..a") == [MOMENT_NS]
