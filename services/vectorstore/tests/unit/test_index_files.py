"""Indexes outlive a restart, and no file is ever believed that is not exactly theirs."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layer_vectorstore.adapters.usearch_graph import UsearchGraph

ROWS_COUNT = 3000
DIMENSIONS = 8
VECTORS = np.random.default_rng(1).normal(size=(ROWS_COUNT, DIMENSIONS)).astype(np.float32)


def body_of(first_id: int, count: int) -> dict[str, Any]:
    vectors = VECTORS[first_id : first_id + count]
    return {
        "distance_metric": "cosine_distance",
        "upsert_columns": {
            "id": list(range(first_id, first_id + count)),
            "vector": base64.b64encode(vectors.tobytes()).decode(),
        },
    }


@pytest.fixture
def store(new_store: Callable[..., Any]) -> Any:
    found = new_store(index_rows_min=1000)
    found.write(body_of(0, 2000))
    found.finish_indexes()
    found.write({"deletes": [3, 5]})
    return found


def file_of(store: Any) -> Path:
    [path] = store.index_directory.glob("*.index")
    assert isinstance(path, Path)
    return path


def restarted(store: Any) -> dict[str, float]:
    """Restart, ask for one row, and return what became of the index."""
    store.restart()
    assert nearest_id(store, 7) == 7
    store.finish_indexes()
    assert nearest_id(store, 8) == 8
    names = ("index_loads_total", "index_builds_total", "index_rows_total", "index_failures_total")
    return {name: store.metrics.get_sample_value(f"layer_vectorstore_{name}") for name in names}


def nearest_id(store: Any, number: int) -> int:
    rank = ["vector", "ANN", VECTORS[number].tolist()]
    return int(store.query({"rank_by": rank, "limit": 1})["rows"][0]["id"])


def test_a_restart_takes_the_index_from_its_file(store: Any) -> None:
    counts = restarted(store)

    assert (counts["index_loads_total"], counts["index_rows_total"]) == (1, 0)
    index = store.queries.registry.get("ns").latest.columns["vector"].index
    assert (index.is_ready, index.rows_count) == (True, 2000)
    assert 3 not in {nearest_id(store, number) for number in range(10)}


def test_rows_that_the_file_lacks_are_added_after_a_restart(store: Any) -> None:
    saved_bytes = file_of(store).stat().st_size
    store.write(body_of(2000, 100))
    store.finish_indexes()
    assert file_of(store).stat().st_size == saved_bytes

    assert restarted(store)["index_rows_total"] == 100
    assert nearest_id(store, 2050) == 2050


def test_an_index_that_has_grown_much_is_saved_again(store: Any) -> None:
    store.write(body_of(2000, 1000))
    store.finish_indexes()

    assert restarted(store)["index_rows_total"] == 0


def test_a_file_of_other_rows_is_not_believed(store: Any) -> None:
    saved = file_of(store).read_bytes()
    store.manage.delete("ns")
    store.write(body_of(500, 2000))
    store.finish_indexes()
    file_of(store).write_bytes(saved)

    store.restart()
    assert nearest_id(store, 2100) == 2100
    store.finish_indexes()
    assert store.metrics.get_sample_value("layer_vectorstore_index_loads_total") == 0
    assert nearest_id(store, 2100) == 2100


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:1000] + b"\xff" + data[1001:], id="a changed byte"),
        pytest.param(lambda data: data[:-100], id="a lost end"),
        pytest.param(lambda data: data[100:], id="a lost start"),
        pytest.param(lambda data: data + b"x", id="something after the end"),
        pytest.param(lambda _data: b"", id="nothing"),
        pytest.param(lambda _data: b"\x00" * 5000, id="zeros"),
    ],
)
def test_a_damaged_file_is_built_anew(store: Any, damage: Callable[[bytes], bytes]) -> None:
    path = file_of(store)
    path.write_bytes(damage(path.read_bytes()))

    counts = restarted(store)
    assert (counts["index_loads_total"], counts["index_failures_total"]) == (0, 0)
    assert counts["index_rows_total"] == 1998
    assert restarted(store)["index_loads_total"] == 1


def test_files_go_with_their_namespace(store: Any) -> None:
    (store.index_directory / "17-unfinished").write_bytes(b"left by a crash")
    file = file_of(store)
    file.with_name(file.name.replace("1-", "99-", 1)).write_bytes(file.read_bytes())
    store.restart()
    assert [path.name for path in store.index_directory.iterdir()] == [file.name]

    store.manage.delete("ns")
    assert list(store.index_directory.iterdir()) == []


def test_a_disk_that_takes_no_index_leaves_it_in_memory(
    new_store: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(UsearchGraph, "save", full)
    store = new_store(index_rows_min=1000)
    store.write(body_of(0, 2000))
    store.finish_indexes()

    assert store.metrics.get_sample_value("layer_vectorstore_index_save_failures_total") == 1
    assert store.queries.registry.get("ns").latest.columns["vector"].index.is_ready
    assert nearest_id(store, 9) == 9
    assert list(store.index_directory.iterdir()) == []
