from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

Row = dict[str, Any]

SCHEMA = {
    "s": "string",
    "n": "int",
    "u": "uint",
    "f": "float",
    "b": "bool",
    "tags": "[]string",
    "nums": "[]float",
}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "s": st.sampled_from(["", "a", "ab", "é", "z", "Z"]),
    "n": st.integers(-2, 2) | st.sampled_from([-(2**63), 2**63 - 1]),
    "u": st.integers(0, 2) | st.just(2**64 - 1),
    "f": st.sampled_from([-1.5, 0.0, 1e-30, 0.1, 1e30]),
    "b": st.booleans(),
    "tags": st.lists(st.sampled_from(["a", "b", "c"]), max_size=4),
    "nums": st.lists(st.sampled_from([0.5, -2.0, 3.0]), max_size=4),
}
ARRAYS = ("tags", "nums")
SUMS = {"n": ["Sum", "n"], "u": ["Sum", "u"], "f": ["Sum", "f"]}

attributes = st.fixed_dictionaries({name: st.none() | found for name, found in VALUES.items()})
group_keys = st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=3, unique=True)


@settings(max_examples=150, deadline=None)
@given(st.lists(attributes, max_size=12), group_keys, st.integers(1, 8), st.booleans())
def test_groups_are_those_of_a_slow_model(
    new_store: Callable[..., Any],
    rows: list[Row],
    keys: list[str],
    limit: int,
    is_filtered: bool,  # noqa: FBT001
) -> None:
    store = new_store()
    store.write(
        {"schema": {"id": "uint", **SCHEMA}, "create_namespace": True}
        | {"upsert_rows": [{"id": number, **row} for number, row in enumerate(rows)]}
    )
    body = {
        "aggregate_by": {"count": ["Count"], **{f"sum_{k}": v for k, v in SUMS.items()}},
        "group_by": [
            {f"key_{name}": ["ForEachUnique", name]} if name in ARRAYS else name for name in keys
        ],
        "limit": limit,
        "filters": ["b", "Eq", True] if is_filtered else None,
    }

    kept = [row for row in rows if row["b"] or not is_filtered]
    assert store.query(body)["aggregation_groups"] == expected_groups(kept, keys)[:limit]


def expected_groups(rows: list[Row], keys: list[str]) -> list[Row]:
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        choices = [set(row[name] or []) if name in ARRAYS else [row[name]] for name in keys]
        for key in itertools.product(*choices):
            groups.setdefault(key, []).append(row)
    ordered = sorted(groups, key=lambda key: tuple((part is not None, part) for part in key))
    labels = [f"key_{name}" if name in ARRAYS else name for name in keys]
    return [
        dict(zip(labels, key, strict=True))
        | {"count": len(groups[key])}
        | {f"sum_{name}": total(groups[key], name) for name in SUMS}
        for key in ordered
    ]


def total(rows: list[Row], name: str) -> Any:
    values = [row[name] for row in rows if row[name] is not None]
    return math.fsum(values) if name == "f" else sum(values)
