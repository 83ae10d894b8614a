from __future__ import annotations

from typing import Any

import pytest

from layer_kit.errors import QuotaExceededError
from layer_vectorstore.domain.query_parsing import parse_query_request
from layer_vectorstore.http.answers import query_answer

BY_ID: dict[str, Any] = {"rank_by": ["id", "asc"], "limit": 9}
EVENTUAL = {"consistency": {"level": "eventual"}}


def test_an_index_lag_hides_fresh_rows_from_eventual_reads_alone(store: Any) -> None:
    store.freshness.index_lag_ms = 1000
    store.upsert({"id": 1})

    assert store.ids() == [1]
    assert store.query(BY_ID | EVENTUAL)["rows"] == []
    assert store.manage.metadata("ns")["index"] == {
        "status": "updating",
        "unindexed_bytes": 8,
        "unindexed_rows": 1,
    }
    store.now_ms += 1000
    assert store.query(BY_ID | EVENTUAL)["rows"] == [{"id": 1}]
    assert store.manage.metadata("ns")["index"] == {"status": "up-to-date"}


def test_too_many_unindexed_bytes_push_back(store: Any) -> None:
    store.freshness.index_lag_ms = 1000
    store.freshness.unindexed_bytes_max = 10
    store.upsert({"id": 1}, {"id": 2})

    with pytest.raises(QuotaExceededError):
        store.upsert({"id": 3})
    store.upsert({"id": 4}, disable_backpressure=True)
    store.now_ms += 1000
    store.upsert({"id": 5})


def test_strong_reads_are_refused_too_while_the_index_is_far_behind(store: Any) -> None:
    store.freshness.index_lag_ms = 1000
    store.freshness.unindexed_bytes_max = 10
    store.upsert({"id": 1}, {"id": 2})

    with pytest.raises(QuotaExceededError, match="16 bytes wait for the index, the limit is 10"):
        store.query(BY_ID)
    assert store.query(BY_ID | EVENTUAL)["rows"] == []
    store.now_ms += 1000
    assert len(store.query(BY_ID)["rows"]) == 2


def test_a_shorter_lag_holds_for_what_waits_already(store: Any) -> None:
    store.freshness.index_lag_ms = 86_400_000
    store.upsert({"id": 1})
    store.now_ms += 50
    assert store.query(BY_ID | EVENTUAL)["rows"] == []

    store.freshness.index_lag_ms = 50
    assert store.query(BY_ID | EVENTUAL)["rows"] == [{"id": 1}]
    assert store.manage.metadata("ns")["index"] == {"status": "up-to-date"}


def test_a_query_tells_the_last_write_that_it_could_see(store: Any) -> None:
    def last_seen(**fields: Any) -> Any:
        result = store.queries.query("ns", parse_query_request(BY_ID | fields))
        return query_answer(result, 1)["performance"].get("last_included_write_at")

    store.write({"create_namespace": True, "schema": {"id": "uint"}})
    store.freshness.index_lag_ms = 1000
    store.now_ms += 2000
    store.upsert({"id": 1})

    assert last_seen() == "2023-11-14T22:13:22.000Z"
    assert last_seen(**EVENTUAL) == "2023-11-14T22:13:20.000Z"
    store.now_ms += 1000
    assert last_seen(**EVENTUAL) == "2023-11-14T22:13:22.000Z"
    store.restart()
    assert last_seen() == "2023-11-14T22:13:22.000Z"
