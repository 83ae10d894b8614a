"""The operators of filters, each on the same four rows."""

from __future__ import annotations

from typing import Any

EDITS = {
    "max_edit_distance": [
        {"min_query_chars": 3, "distance": 0},
        {"min_query_chars": 6, "distance": 1},
    ]
}


def test_conditions_nest(ns: Any) -> None:
    ns.write(
        upsert_rows=[
            {"id": at, "vector": [0.1, at / 10], "key1": key, "filename": name}
            for at, (key, name) in enumerate(
                [("one", "/src/a.tsx"), ("one", "/vendor/b.js"), ("one", "/src/c.py"),
                 ("one", "/src/d.js"), ("two", "/src/e.js")],
                start=1,
            )
        ],
        distance_metric="cosine_distance",
    )  # fmt: skip
    found = ns.query(
        rank_by=("vector", "ANN", [0.1, 0.1]),
        limit=10,
        exclude_attributes=["vector", "filename"],
        filters=(
            "And",
            (
                ("id", "In", [1, 2, 3, 4]),
                ("key1", "Eq", "one"),
                ("filename", "NotGlob", "/vendor/**"),
                ("Or", [("filename", "Glob", "**.tsx"), ("filename", "Glob", "**.js")]),
            ),
        ),
    )
    assert [row.id for row in found.rows] == [1, 4]
    assert "filename" not in found.rows[0].model_dump()
    assert found.rows[0]["key1"] == "one"


CONDITIONS: dict[str, tuple[Any, list[int]]] = {
    "equal": (("n", "Eq", 2), [2]),
    "missing": (("n", "Eq", None), [4]),
    "present": (("n", "NotEq", None), [1, 2, 3]),
    "another or none": (("n", "NotEq", 2), [1, 3, 4]),
    "one of": (("n", "In", [1, 3]), [1, 3]),
    "none of": (("n", "NotIn", [1, 3]), [2, 4]),
    "less or none": (("n", "Lt", 2), [1, 4]),
    "at most or none": (("n", "Lte", 2), [1, 2, 4]),
    "less than nothing": (("n", "Lt", None), []),
    "more": (("n", "Gt", 2), [3]),
    "at least": (("n", "Gte", 2), [2, 3]),
    "holds": (("tags", "Contains", "a"), [1, 2]),
    "does not hold": (("tags", "NotContains", "a"), [3, 4]),
    "holds one of": (("tags", "ContainsAny", ["b", "c"]), [2, 3]),
    "holds none of": (("tags", "NotContainsAny", ["b", "c"]), [1, 4]),
    "any less": (("scores", "AnyLt", 2), [1]),
    "any at most": (("scores", "AnyLte", 2), [1, 2]),
    "any more": (("scores", "AnyGt", 4), [3]),
    "any at least": (("scores", "AnyGte", 4), [2, 3]),
    "glob": (("path", "Glob", "/src/*.{ts,js}"), [1, 2]),
    "no glob": (("path", "NotGlob", "/src/**"), [3, 4]),
    "glob in any case": (("path", "IGlob", "/SRC/*"), [1, 2]),
    "no glob in any case": (("path", "NotIGlob", "/SRC/*"), [3, 4]),
    "regular expression": (("path", "Regex", "^/(src|lib)/[a-b]"), [1, 2]),
    "one edit": (("path", "Fuzzy", "vendro", EDITS), [3]),
    "no edit in a short query": (("path", "Fuzzy", "vendr", EDITS), []),
    "too short a query": (("path", "Fuzzy", "ve", EDITS), []),
    "in the case of the query": (("path", "Fuzzy", "VENDOR", EDITS), []),
    "in any case": (("path", "Fuzzy", "VENDOR", {**EDITS, "case_sensitive": False}), [3]),
    "id": (("id", "Gt", 2), [3, 4]),
    "not either": (("Not", ("Or", [("n", "Eq", 1), ("tags", "Contains", "b")])), [3, 4]),
}


def test_each_operator_of_filters(ns: Any, ids: Any) -> None:
    every_index = {"glob": True, "regex": True, "fuzzy": True, "filterable": True}
    ns.write(
        upsert_rows=[
            {"id": 1, "n": 1, "tags": ["a"], "scores": [1], "path": "/src/a.ts"},
            {"id": 2, "n": 2, "tags": ["a", "b"], "scores": [2, 4], "path": "/src/b.js"},
            {"id": 3, "n": 3, "tags": ["c"], "scores": [5], "path": "/vendor/c.js"},
            {"id": 4},
        ],
        schema={"path": {"type": "string", **every_index}},
    )
    found = {
        label: ids(ns.query(rank_by=("id", "asc"), limit=10, filters=condition))
        for label, (condition, _) in CONDITIONS.items()
    }
    assert found == {label: kept for label, (_, kept) in CONDITIONS.items()}
