"""Histograms of values, against counting them one by one."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layer_kit.errors import UpstreamError
from layer_wire.facets import Facet

SCALARS = st.one_of(
    st.text(max_size=4), st.integers(-(2**63), 2**64 - 1), st.booleans(), st.floats(-1e9, 1e9)
)
VALUES = st.lists(st.one_of(SCALARS, st.lists(SCALARS, max_size=4)), max_size=30)


def facet(type_: str = "", *, distinct_max: int = 1000, bytes_max: int = 10**6) -> Facet:
    return Facet(type_, distinct_max=distinct_max, bytes_max=bytes_max)


def raws(*values: Any) -> list[bytes]:
    return [json.dumps(value).encode() for value in values]


def test_strings_count_as_they_are_and_all_else_as_json_text() -> None:
    counted = facet()

    counted.add(raws("5", 5, {"a": 1}, "râpe", None, *(n > 1 for n in (1, 2))))

    assert counted.counts == {
        "5": 2,
        '{"a":1}': 1,
        "râpe": 1,
        "null": 1,
        "true": 1,
        "false": 1,
    }


def test_each_element_of_a_list_counts_once_per_row() -> None:
    counted = facet()

    counted.add(raws(["wood", "hand", "wood"], [], ["wood"]))

    assert counted.ordered() == [("wood", 2), ("hand", 1)]


@pytest.mark.parametrize(("type_", "text"), [("int", "3"), ("[]float", "3.0"), ("uint", "3")])
def test_a_number_of_a_known_type_is_one_value_however_it_is_spelled(type_: str, text: str) -> None:
    counted = facet(type_)

    counted.add([b"3", b"3.0", b"[3.0]"])

    assert counted.counts == {text: 3}


def test_equal_counts_are_ordered_by_value() -> None:
    counted = facet()

    counted.add(raws("b", "a", "c", "c"))

    assert counted.ordered() == [("c", 2), ("a", 1), ("b", 1)]


@given(st.lists(VALUES, max_size=4))
def test_counts_are_those_of_counting_one_by_one(pages: list[list[Any]]) -> None:
    counted, expected = facet(), Counter[str]()

    for page in pages:
        counted.add(raws(*page))
        for value in page:
            elements = value if isinstance(value, list) else [value]
            texts = {one if isinstance(one, str) else json.dumps(one) for one in elements}
            expected.update({json.dumps(json.loads(t)) if _is_number(t) else t for t in texts})

    assert not counted.is_truncated
    assert {_same(text): n for text, n in counted.counts.items()} == {
        _same(text): n for text, n in expected.items()
    }
    assert counted.distinct_count == len(counted.counts)


def _is_number(text: str) -> bool:
    try:
        return isinstance(json.loads(text), int | float)
    except ValueError:
        return False


def _same(text: str) -> Any:
    """Return a number for the text of one: floats have more than one spelling."""
    return json.loads(text) if _is_number(text) else text


def test_values_beyond_the_bound_are_left_out_and_estimated() -> None:
    counted = facet(distinct_max=100)

    for start in range(0, 20_000, 500):
        counted.add(raws(*(f"value-{n}" for n in range(start, start + 500)), "value-0"))

    assert counted.is_truncated
    assert len(counted.counts) == 100
    assert counted.counts["value-0"] == 41
    assert counted.distinct_count == pytest.approx(20_000, rel=0.03)


def test_long_values_are_bounded_by_their_bytes() -> None:
    counted = facet(bytes_max=1000)

    counted.add(raws(*(f"{n:0300}" for n in range(5)), "x"))

    assert counted.is_truncated
    assert sum(map(len, counted.counts)) <= 1000
    assert counted.counts["x"] == 1


@pytest.mark.parametrize("value", [b"", b"1,2", b"[", b"nul"])
def test_what_is_not_one_value_of_json_is_refused(value: bytes) -> None:
    with pytest.raises(UpstreamError) as refused:
        facet().add([value])

    assert refused.value.reason == "UPSTREAM_UNREADABLE"


def test_an_estimate_does_not_depend_on_the_order_of_the_values() -> None:
    values = [f"value-{n}" for n in range(40_000)]
    ascending, descending = facet(distinct_max=100), facet(distinct_max=10_000)

    ascending.add(raws(*values))
    descending.add(raws(*reversed(values)))

    assert ascending.distinct_count == descending.distinct_count


def test_the_empty_text_is_a_value_like_any_other_to_an_estimate() -> None:
    counted = facet(distinct_max=1)
    counted.add(raws("", "a", ""))
    assert counted.distinct_count == 2


def test_a_list_of_values_is_counted_as_it_is() -> None:
    counted = facet()
    assert counted.add_list(b'["saw", ["wood", "wood"], 5]') == 3
    assert counted.counts == {"saw": 1, "wood": 1, "5": 1}
