"""What a snapshot says, the hash that names it, and its stored text, by the worked examples."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layer_kit.errors import UpstreamError
from layer_snapshots.domain.content import (
    Content,
    Counting,
    Field,
    SkippedField,
    ValueCount,
    body_of,
    canonical,
    read_body,
    write_body,
)
from layer_snapshots_testing.client import TOOLS, TOOLS_SHA, WATERMARK_MS

CANONICAL = (
    '{"fields":[{"name":"kind","values":[{"n":1,"v":"drill"},{"n":1,"v":"râpe"},'
    '{"n":3,"v":"saw"}]},{"name":"rating","values":[{"n":1,"v":"4"},{"n":3,"v":"5"}]},'
    '{"name":"tags","values":[{"n":2,"v":"hand"},{"n":2,"v":"metal"},{"n":2,"v":"wood"}]}],'
    '"fields_skipped":[],"row_count":5}'
)
VALUES = st.text(max_size=4) | st.integers(-3, 3) | st.booleans()
ROWS = st.lists(
    st.fixed_dictionaries({}, optional={"a": VALUES, "b": st.lists(VALUES, max_size=3)}),
    max_size=30,
)


def counted(rows: Any, *fields: str, page_size: int = 2) -> Content:
    counting = Counting(fields)
    for start in range(0, max(len(rows), 1), page_size):
        page = rows[start : start + page_size]
        counting.add(
            len(page),
            [
                (msgspec.json.encode([row[name] for row in page if name in row]), "")
                for name in counting.fields
            ],
        )
    return counting.content()


def test_the_worked_example_has_its_canonical_text_and_hash() -> None:
    content = counted(TOOLS, "tags", "kind", "rating")

    assert canonical(content).decode() == CANONICAL
    assert len(canonical(content)) == 277
    assert content.sha == TOOLS_SHA


def test_a_skipped_field_is_a_part_of_the_hash() -> None:
    content = Content(
        fields=[Field("kind", [ValueCount("saw", 20_000)])],
        fields_skipped=[SkippedField(name="serial", distinct_observed=20_000, cap=10_000)],
        row_count=20_000,
    )
    assert content.sha == "e0c8ed907b5098c62f42d190ca4f082351d8ae68c6dfe05a2ad6d61384353414"


def test_a_body_is_stored_with_two_spaces_and_in_the_order_of_the_contract() -> None:
    body = body_of("tools", WATERMARK_MS, counted(TOOLS, "tags", "kind", "rating"))

    text = write_body(body)

    stored = json.loads(text)
    assert list(stored) == [
        *("namespace", "watermark_ms", "sha", "row_count", "fields", "fields_skipped")
    ]
    assert [list(field) for field in stored["fields"]] == [["name", "values"]] * 3
    assert list(stored["fields"][0]["values"][0]) == ["v", "n"]
    assert text.decode() == json.dumps(stored, indent=2, ensure_ascii=False)
    assert read_body(text).body.sha == TOOLS_SHA


@given(ROWS)
def test_counts_are_those_of_counting_by_hand(rows: list[dict[str, Any]]) -> None:
    content = counted(rows, "a", "b", page_size=7)

    for field in content.fields:
        expected: Counter[str] = Counter()
        for row in rows:
            value = row.get(field.name, [])
            elements = value if isinstance(value, list) else [value]
            expected.update({e if isinstance(e, str) else json.dumps(e) for e in elements})
        assert [(one.v, one.n) for one in field.values] == sorted(expected.items())
    assert content.row_count == len(rows)


@given(ROWS)
def test_the_canonical_text_is_that_of_any_json_library(rows: list[dict[str, Any]]) -> None:
    content = counted(rows, "a", "b")
    expected = json.dumps(
        msgspec.to_builtins(content), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    assert canonical(content).decode() == expected


def test_a_field_of_too_many_values_is_skipped_and_told_near_enough() -> None:
    rows = [{"serial": f"s-{n}", "kind": "saw"} for n in range(30_000)]
    content = counted(rows, "serial", "kind", page_size=1000)

    assert content.fields == [Field("kind", [ValueCount("saw", 30_000)])]
    [skipped] = content.fields_skipped
    assert (skipped.name, skipped.reason, skipped.cap) == ("serial", "exceeded_cap", 10_000)
    assert skipped.distinct_observed == pytest.approx(30_000, rel=0.03)

    random.Random(3).shuffle(rows)  # noqa: S311 -- the same each time
    assert counted(rows, "serial", "kind", page_size=1000).sha == content.sha


def test_as_many_values_as_are_allowed_are_counted_exactly() -> None:
    content = counted([{"serial": n} for n in range(10_000)], "serial", page_size=1000)
    assert not content.fields_skipped
    assert len(content.fields[0].values) == 10_000


def test_a_field_that_no_row_has_is_an_empty_histogram() -> None:
    assert counted([], "kind").fields == [Field("kind", [])]


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"\xff", b'{"namespace":1}'])
def test_what_is_no_snapshot_is_said_to_be_none(text: bytes) -> None:
    with pytest.raises(UpstreamError) as refused:
        read_body(text)
    assert refused.value.reason == "SNAPSHOT_UNREADABLE"
