"""Whatever a filter is evaluated over, cached rows or the store, it keeps the same rows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from random import Random
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from layer_kit.errors import UnsupportedError
from layer_testing.processes import ServiceProcess, launch
from layer_wire import ids as wire_ids
from layer_wire.row_filters import RowFilter, compile_filter
from layer_wire.rows import query_answer, row_id, split_row

Row = dict[str, Any]

ROW_COUNT = 60
TYPES = {
    "id": "uint",
    "s": "string",
    "n": "int",
    "u": "uint",
    "f": "float",
    "b": "bool",
    "g": "uuid",
    "t": "datetime",
    "tags": "[]string",
    "nums": "[]int",
    "with space é": "string",
}
UUIDS = ("00000000-0000-0000-0000-00000000000a", "f0000000-0000-0000-0000-000000000000")
VALUES: dict[str, list[Any]] = {
    "s": ["", "a", "b", "ab", "é", "z", "Z", "\U0001f600", "\uffee"],
    "n": [-(2**63), -1, 0, 1, 2, 2**53 + 1, 2**63 - 1],
    "u": [0, 1, 2, 2**63, 2**64 - 1],
    "f": [-1.5, 0.0, 0.25, 1, 2.0, 2**53 + 1, 1e300],
    "b": [True, False],
    "g": list(UUIDS),
    "t": ["2024-01-01T00:00:00Z", "2025-06-01T12:00:00.5Z"],
    "tags": [[], ["a"], ["b", "a"], ["a", "b"], ["c", "c"]],
    "nums": [[], [0], [1, 2], [2, 1], [3]],
    "with space é": ["x", "y"],
}
ODD = [None, True, 0, 1, 1.0, 1.5, -1, 2**64, 1e300, "a", "1", UUIDS[0].upper(), [], ["a"], [None]]
SAFE = frozenset(TYPES) - {"t"}


def some_rows() -> list[Row]:
    """Return rows in which every value of an attribute, and its absence, occurs."""
    random = Random(5)  # noqa: S311 -- to be repeatable
    rows: list[Row] = [{"id": 0}, {"id": 2**64 - 1, "s": None, "n": 1.0}]
    for at in range(1, ROW_COUNT):
        drawn = {name: random.choice([*values, None]) for name, values in VALUES.items()}
        rows.append({"id": at, **{k: v for k, v in drawn.items() if v is not None}})
    return rows


@st.composite
def conditions(draw: st.DrawFn) -> list[Any]:
    name = draw(st.sampled_from(sorted(TYPES)))
    values = st.sampled_from(VALUES.get(name, list(range(8))))
    operator = draw(
        st.sampled_from(["Eq", "NotEq", "In", "NotIn", "Lt", "Lte", "Gt", "Gte", "Contains"])
    )
    if operator in ("In", "NotIn") and draw(st.integers(0, 9)):
        item = values if not name.endswith("s") or name == "s" else values.map(_first)
        return [name, operator, draw(st.lists(item | st.none(), max_size=3))]
    return [name, operator, draw(values if draw(st.integers(0, 3)) else st.sampled_from(ODD))]


def _first(values: Any) -> Any:
    return values[0] if isinstance(values, list) and values else None


filters = st.recursive(
    conditions(),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["And", "Or"]), st.lists(inner, max_size=3)).map(list),
        inner.map(lambda child: ["Not", child]),
    ),
    max_leaves=4,
)


@dataclass(frozen=True)
class Store:
    """The embedded store with one namespace, and copies of its rows."""

    http: httpx.Client
    copies: list[tuple[bytes, bytes]]

    def answer(self, filter_: Any) -> set[int] | None:
        """Return the ids that the store keeps; None when it refuses the filter."""
        answer = self.http.post(
            "/v2/namespaces/rows/query",
            json={"rank_by": ["id", "asc"], "top_k": 1000, "filters": filter_},
        )
        if answer.status_code != 200:
            return None
        return {row["id"] for row in answer.json()["rows"]}

    def kept(self, filter_: RowFilter) -> set[int]:
        ids, bodies = zip(*self.copies, strict=True)
        return {int(id_[1:]) for id_ in compress(ids, filter_.matches(ids, bodies))}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with asyncio.Runner() as runner:
        process = runner.run(_start(tmp_path_factory.mktemp("store")))
        base = f"http://{process.addresses['http']}"
        try:
            with httpx.Client(base_url=base, timeout=10) as http:
                rows = some_rows()
                body = {"upsert_rows": rows, "schema": TYPES}
                http.post("/v2/namespaces/rows", json=body).raise_for_status()
                yield Store(http, _copies(http, rows))
        finally:
            runner.run(process.stop())


async def _start(directory: Path) -> ServiceProcess:
    process = await launch(
        "layer_vectorstore",
        LAYER_VECTORSTORE_HTTP_ADDRESS="127.0.0.1:0",
        LAYER_VECTORSTORE_DATA_DIRECTORY=str(directory),
    )
    await process.read_addresses()
    return process


def _copies(http: httpx.Client, written: list[Row]) -> list[tuple[bytes, bytes]]:
    """Return rows as a fetch caches them, and beside them as a write mirrors them."""
    body = {"rank_by": ["id", "asc"], "top_k": 1000, "include_attributes": True}
    answer = http.post("/v2/namespaces/rows/query", json=body).raise_for_status()
    read = [
        (wire_ids.canonical(row_id(row)), split_row(row)[0])
        for row in query_answer.decode(answer.content).rows
    ]
    mirrored = [
        (b"u%d" % row["id"], msgspec.json.encode({k: v for k, v in row.items() if k != "id"}))
        for row in written
        if not {"t", "g"} & row.keys()  # these read back in another form: no write mirrors them
    ]
    return read + mirrored


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(filter_=filters)
def test_a_supported_filter_keeps_what_the_store_keeps(store: Store, filter_: Any) -> None:
    try:
        compiled = compile_filter(msgspec.json.encode(filter_), TYPES)
    except UnsupportedError:
        reject()
    assert store.kept(compiled) == store.answer(filter_)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), name=st.sampled_from(sorted(SAFE - {"tags", "nums", "b", "g", "id"})))
def test_plain_filters_are_supported(store: Store, data: st.DataObject, name: str) -> None:
    value = st.sampled_from(VALUES[name])
    operator = data.draw(st.sampled_from(["Eq", "NotEq", "Lt", "Lte", "Gt", "Gte"]))
    members = data.draw(st.lists(value | st.none(), max_size=3))
    filter_ = [
        "And",
        [
            ["Not", [name, operator, data.draw(value)]],
            ["Or", [[name, "NotIn", members], [name, "Eq", None]]],
            ["id", "Gte", data.draw(st.integers(0, 9))],
        ],
    ]
    compiled = compile_filter(msgspec.json.encode(filter_), TYPES)
    assert store.kept(compiled) == store.answer(filter_)
