"""Rows for scans to look at, filters to select them by, and what each filter means for a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

ROWS_COUNT = 1200
EARLY, LATE = 50, 1000
"""Numbers of rows near either end."""
MIDDLE_RATING = 1.5
KINDS = ("saw", "drill", "râpe")
SCHEMA = {
    "text": {"type": "string", "full_text_search": True, "fuzzy": True},
    "rating": {"type": "float"},
}

Row = dict[str, Any]
Test = Callable[[Row], bool]


def row_of(number: int) -> Row:
    """Return a row; some attributes are missing from some."""
    row: Row = {
        "id": f"row-{number:05}",
        "n": number,
        "kind": KINDS[number % 3],
        "tags": [f"t{number % 7}", "all", f"t{number % 5}"],
        "text": "hand saw" if number % 4 == 0 else "power drill",
        "vector": [float(number), 0.0],
    }
    if number % 2:
        row["rating"] = number % 6 / 2
    return row


ROWS = [row_of(number) for number in range(ROWS_COUNT)]
FILTERS: dict[str, tuple[Any, Test]] = {
    "all rows": (None, lambda _: True),
    "equal": (["kind", "Eq", "saw"], lambda row: row["kind"] == "saw"),
    "one of some": (["n", "In", [3, 5, 9999]], lambda row: row["n"] in (3, 5)),
    "not, which a missing value matches": (
        ["rating", "NotEq", 1],
        lambda row: row.get("rating") != 1,
    ),
    "below, which a missing value matches": (
        ["rating", "Lt", MIDDLE_RATING],
        lambda row: row.get("rating", 0) < MIDDLE_RATING,
    ),
    "an element of a list": (["tags", "In", ["t3"]], lambda row: "t3" in row["tags"]),
    "an id": (["id", "Lt", "row-00100"], lambda row: row["id"] < "row-00100"),
    "nested": (
        ["And", [["Or", [["kind", "Eq", "saw"], ["n", "Gte", LATE]]], ["Not", ["n", "Lt", EARLY]]]],
        lambda row: (row["kind"] == "saw" or row["n"] >= LATE) and row["n"] >= EARLY,
    ),
    "only the store knows": (["kind", "Glob", "s*"], lambda row: row["kind"].startswith("s")),
    "nothing": (["n", "Gt", 10**6], lambda _: False),
}


def leaf(name: str, operator: str, operand: Any, test: Callable[[Any], bool]) -> tuple[Any, Test]:
    return [name, operator, operand], lambda row: test(row.get(name))


@st.composite
def conditions(draw: st.DrawFn) -> tuple[Any, Test]:
    """Draw a comparison, and what it means for a row: a missing value is below all others."""
    number = draw(st.integers(-1, ROWS_COUNT))
    half = draw(st.integers(0, 6)) / 2
    kind = draw(st.sampled_from([*KINDS, "hoe"]))
    numbers = draw(st.lists(st.integers(0, 40), max_size=4))
    tag = draw(st.sampled_from(["t1", "t6", "all", "none"]))
    drawn: tuple[Any, Test] = draw(
        st.sampled_from(
            [
                leaf("n", "Lt", number, lambda n: n < number),
                leaf("n", "Gte", number, lambda n: n >= number),
                leaf("n", "In", numbers, lambda n: n in numbers),
                leaf("n", "NotIn", numbers, lambda n: n not in numbers),
                leaf("kind", "Eq", kind, lambda found: found == kind),
                leaf("kind", "NotEq", kind, lambda found: found != kind),
                leaf("rating", "Eq", None, lambda found: found is None),
                leaf("rating", "Lte", half, lambda found: found is None or found <= half),
                leaf("rating", "Gt", half, lambda found: found is not None and found > half),
                leaf("tags", "In", [tag], lambda found: tag in found),
            ]
        )
    )
    return drawn


def joined(operator: str, parts: list[tuple[Any, Test]]) -> tuple[Any, Test]:
    rule = all if operator == "And" else any
    return [operator, [part for part, _ in parts]], lambda row: rule(t(row) for _, t in parts)


CONDITIONS = st.recursive(
    conditions(),
    lambda inner: st.one_of(
        st.builds(joined, st.sampled_from(["And", "Or"]), st.lists(inner, min_size=1, max_size=3)),
        inner.map(lambda part: (["Not", part[0]], lambda row: not part[1](row))),
    ),
    max_leaves=5,
)


def values_of(rows: list[Row], field: str) -> list[dict[str, Any]]:
    """Count values as the contract has it: elements once a row, numbers as JSON."""
    counts: Counter[str] = Counter()
    for row in rows:
        value = row.get(field, [])
        elements = value if isinstance(value, list) else [value]
        counts.update({one if isinstance(one, str) else str(one) for one in elements})
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [{"v": value, "n": n} for value, n in ordered]
