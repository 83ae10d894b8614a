"""Whatever is written, rows, filters and orders are those of a slow, obviously right model."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

Row = dict[str, Any]

SCHEMA = {
    "id": "uint",
    "s": "string",
    "n": "int",
    "u": "uint",
    "f": "float",
    "b": "bool",
    "t": "datetime",
    "tags": "[]string",
    "nums": "[]int",
}
SCALARS = ("s", "n", "u", "f", "b", "t")
MOMENTS = ("1969-12-31T23:59:59.999", "1970-01-01T00:00:00.000", "2024-01-02T03:04:05.678")
ARRAYS = ("tags", "nums")

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "s": st.sampled_from(["", "a", "b", "ab", "é", "z", "Z"]),
    "n": st.integers(-3, 3) | st.sampled_from([-(2**63), 2**63 - 1]),
    "u": st.integers(0, 3) | st.just(2**64 - 1),
    "f": st.sampled_from([-1.5, 0.0, 0.25, 2.0]),
    "b": st.booleans(),
    # As they are shown, so that the model need not know about dates.
    "t": st.sampled_from([f"{moment}000000Z" for moment in MOMENTS]),
    "tags": st.lists(st.sampled_from(["a", "b", "c"]), max_size=3),
    "nums": st.lists(st.integers(0, 3), max_size=3),
}
IDS = st.integers(0, 7)


@st.composite
def attributes(draw: st.DrawFn) -> Row:
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True))
    return {name: draw(st.none() | VALUES[name]) for name in names}


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    ids = draw(st.lists(IDS, unique=True, max_size=4))
    return [{"id": document_id, **draw(attributes())} for document_id in ids]


@st.composite
def conditions(draw: st.DrawFn) -> list[Any]:
    kind = draw(st.sampled_from(["scalar", "order", "null", "array", "id", "any"]))
    match kind:
        case "scalar":
            name = draw(st.sampled_from(SCALARS))
            operator = draw(st.sampled_from(["Eq", "NotEq", "In", "NotIn"]))
            value = VALUES[name]
            operand = draw(st.lists(value, max_size=3) if operator.endswith("In") else value)
            return [name, operator, operand]
        case "order":
            name = draw(st.sampled_from(SCALARS))
            operator = draw(st.sampled_from(["Lt", "Lte", "Gt", "Gte"]))
            return [name, operator, draw(VALUES[name])]
        case "null":
            name = draw(st.sampled_from(SCALARS + ARRAYS))
            operators = ["Eq", "NotEq"] + (["Lt", "Lte", "Gt", "Gte"] if name in SCALARS else [])
            return [name, draw(st.sampled_from(operators)), None]
        case "array":
            name = draw(st.sampled_from(ARRAYS))
            operator = draw(st.sampled_from(["Contains", "NotContains", "ContainsAny", "Eq", "In"]))
            operand = draw(VALUES[name])
            if operator in ("Contains", "NotContains"):
                operand = draw(st.sampled_from(["a", "b"] if name == "tags" else [0, 1]))
            return [name, operator, operand]
        case "any":
            operator = draw(st.sampled_from(["AnyLt", "AnyLte", "AnyGt", "AnyGte"]))
            return ["nums", operator, draw(st.integers(0, 3))]
        case _:
            return ["id", draw(st.sampled_from(["Eq", "Gt", "Lte", "NotEq"])), draw(IDS)]


filters = st.recursive(
    conditions(),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["And", "Or"]), st.lists(inner, max_size=3)).map(list),
        inner.map(lambda child: ["Not", child]),
    ),
    max_leaves=4,
)


def holds(node: list[Any], row: Row) -> bool:
    match node:
        case ["And", [*children]]:
            return all(holds(child, row) for child in children)
        case ["Or", [*children]]:
            return any(holds(child, row) for child in children)
        case ["Not", child]:
            return not holds(child, row)
        case _:
            name, operator, operand = node
            return condition_holds(name, operator, operand, row)


def condition_holds(name: str, operator: str, operand: Any, row: Row) -> bool:
    if operator.startswith("Not"):
        return not condition_holds(name, operator.removeprefix("Not"), operand, row)
    value = row.get(name)
    match operator:
        case "Eq":
            return bool(value == operand)
        case "In":
            items = value if isinstance(value, list) else [value]
            return any(item is not None and item in operand for item in items)
        case "Contains":
            return operand in (value or [])
        case "ContainsAny":
            return any(item in operand for item in value or [])
        case "Lt" | "Lte" | "Gt" | "Gte":
            return in_order(operator, value, operand)
        case _:
            compare = operator.removeprefix("Any")
            return any(in_order(compare, item, operand) for item in value or [])


def in_order(operator: str, left: Any, right: Any) -> bool:
    """Compare with a missing value lowest of all."""
    a, b = (left is not None, left), (right is not None, right)
    if a[0] == b[0] is False:
        return operator in ("Lte", "Gte")
    if a[0] != b[0]:
        return (a[0] < b[0]) == operator.startswith("Lt")
    outcomes = {"Lt": left < right, "Lte": left <= right, "Gt": left > right, "Gte": left >= right}
    return bool(outcomes[operator])


class Model:
    """Rows in a dict, changed the way the contract words it."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}

    def write(self, body: dict[str, Any]) -> Counter[str]:
        counts: Counter[str] = Counter()
        if node := body.get("delete_by_filter"):
            for key in [key for key, row in self.rows.items() if holds(node, row)]:
                counts["rows_deleted"] += 1
                del self.rows[key]
        if patch := body.get("patch_by_filter"):
            for row in [row for row in self.rows.values() if holds(patch["filters"], row)]:
                counts["rows_patched"] += 1
                merge(row, patch["patch"])
        return counts + self.write_by_id(body)

    def write_by_id(self, body: dict[str, Any]) -> Counter[str]:
        counts: Counter[str] = Counter()
        for row in body["upsert_rows"]:
            stored = self.rows.get(row["id"])
            if stored is None or may_change(stored, body.get("upsert_condition"), row):
                self.rows[row["id"]] = {k: v for k, v in row.items() if v is not None}
                counts["rows_upserted"] += 1
        for row in body["patch_rows"]:
            stored = self.rows.get(row["id"])
            if stored is not None and may_change(stored, body.get("patch_condition"), row):
                merge(stored, row)
                counts["rows_patched"] += 1
        for key in body["deletes"]:
            stored = self.rows.get(key)
            if stored is not None and may_change(stored, body.get("delete_condition"), {}):
                counts["rows_deleted"] += 1
                del self.rows[key]
        return counts


def may_change(stored: Row, condition: list[Any] | None, written: Row) -> bool:
    return condition is None or holds(resolved(condition, written), stored)


def merge(row: Row, patch: Row) -> None:
    row.update(patch)
    for name in [name for name, value in row.items() if value is None]:
        del row[name]


def resolved(node: list[Any], row: Row) -> list[Any]:
    match node:
        case ["And" | "Or" as combine, [*children]]:
            return [combine, [resolved(child, row) for child in children]]
        case ["Not", child]:
            return ["Not", resolved(child, row)]
        case [name, operator, {"$ref_new": reference}]:
            return [name, operator, row.get(reference)]
        case _:
            return node


@st.composite
def references(draw: st.DrawFn) -> list[Any]:
    """A condition that compares what is stored with what the write would put there."""
    name = draw(st.sampled_from(["n", "s", "u", "t"]))
    operator = draw(st.sampled_from(["Lt", "Lte", "Gt", "Gte", "Eq", "NotEq"]))
    return [name, operator, {"$ref_new": name}]


write_conditions = st.recursive(
    references() | conditions() | st.just(["id", "Eq", None]),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["And", "Or"]), st.lists(inner, max_size=2)).map(list),
        inner.map(lambda child: ["Not", child]),
    ),
    max_leaves=3,
)


@st.composite
def writes(draw: st.DrawFn) -> dict[str, Any]:
    body: dict[str, Any] = {}
    written = draw(rows())
    split = draw(st.integers(0, len(written)))
    body["upsert_rows"], body["patch_rows"] = written[:split], written[split:]
    used = {row["id"] for row in written}
    body["deletes"] = [
        key for key in draw(st.lists(IDS, unique=True, max_size=2)) if key not in used
    ]
    for kind in ("upsert", "patch", "delete"):
        if draw(st.booleans()):
            body[f"{kind}_condition"] = draw(write_conditions)
    if draw(st.booleans()):
        body["delete_by_filter"] = draw(conditions())
    if draw(st.booleans()):
        body["patch_by_filter"] = {"filters": draw(conditions()), "patch": draw(attributes())}
    return body


@settings(max_examples=120, deadline=None)
@given(st.lists(writes(), min_size=1, max_size=5), st.lists(filters, max_size=4), st.booleans())
def test_writes_and_filters_agree_with_the_model(
    new_store: Callable[..., Any],
    requests: list[dict[str, Any]],
    asked: list[list[Any]],
    restarts: bool,  # noqa: FBT001 -- drawn by Hypothesis
) -> None:
    store, model = new_store(), Model()
    store.write({"create_namespace": True, "schema": SCHEMA})

    for body in requests:
        counts = model.write(body)
        answer = store.write(body)
        for kind in ("rows_upserted", "rows_patched", "rows_deleted"):
            assert answer.get(kind, 0) == counts[kind]
        if restarts:
            store.restart()

    assert store.rows() == [model.rows[key] for key in sorted(model.rows)]
    for node in asked:
        expected = [key for key in sorted(model.rows) if holds(node, model.rows[key])]
        assert store.ids(node) == expected
        assert store.query({"aggregate_by": {"n": ["Count"]}, "filters": node}) == {
            "aggregations": {"n": len(expected)}
        }


@settings(max_examples=80, deadline=None)
@given(
    rows(),
    st.lists(st.tuples(st.sampled_from(SCALARS), st.sampled_from(["asc", "desc"])), min_size=1),
    st.integers(1, 5),
    st.integers(0, 3),
)
def test_orders_by_attributes_agree_with_the_model(
    new_store: Callable[..., Any],
    written: list[Row],
    keys: list[tuple[str, str]],
    limit: int,
    offset: int,
) -> None:
    store = new_store()
    store.write({"create_namespace": True, "schema": SCHEMA, "upsert_rows": written})

    def compare(a: Row, b: Row) -> int:
        for name, direction in keys:
            left, right = a.get(name), b.get(name)
            if left == right:
                continue
            is_before = in_order("Lt", left, right)
            return -1 if is_before == (direction == "asc") else 1
        return int(a["id"]) - int(b["id"])

    ordered = sorted(written, key=functools.cmp_to_key(compare))
    found = store.ids(rank_by=[list(key) for key in keys], limit=limit, offset=offset)

    assert found == [row["id"] for row in ordered][offset : offset + limit]
