"""Reading an object around its vector says the same as reading all of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layer_kit.errors import LayerError, MalformedRequestError
from layer_wire.jsontext import decode_object, decode_object_around_numbers

VECTOR = [at / 1000 for at in range(-300, 300)]
ELSEWHERE = [1.5] * 300

text = st.text(max_size=8) | st.sampled_from(["vector", '"', "[1,2", json.dumps(VECTOR), "]"])
leaves = st.none() | st.booleans() | st.integers() | text
values = st.recursive(
    leaves | st.just(VECTOR) | st.just(ELSEWHERE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
separators = st.sampled_from([(",", ":"), (", ", ": ")])


@given(st.dictionaries(text, values, max_size=4), separators)
def test_an_object_reads_the_same_around_its_vector(
    fields: dict[str, object], separators: tuple[str, str]
) -> None:
    body = json.dumps(fields, separators=separators).encode()

    found = decode_object_around_numbers(body)

    assert {name: bytes(value) for name, value in found.items()} == {
        name: bytes(value) for name, value in decode_object(body).items()
    }


@given(st.dictionaries(text, values, min_size=1, max_size=3), st.data())
def test_what_is_not_json_is_refused_in_the_same_words(
    fields: dict[str, object], data: st.DataObject
) -> None:
    body = json.dumps({**fields, "vector": VECTOR}).encode()
    cut = body[: data.draw(st.integers(0, len(body) - 1))]

    with pytest.raises(LayerError) as around:
        decode_object_around_numbers(cut)
    with pytest.raises(LayerError) as whole:
        decode_object(cut)

    assert around.value.message == whole.value.message


@pytest.mark.parametrize("end", [",", ", NaN", "e", "-", ", 1 2x"])
def test_a_list_that_does_not_end_in_a_number_is_read_and_refused(end: str) -> None:
    numbers = json.dumps(VECTOR)[:-1] + end
    with pytest.raises(MalformedRequestError, match="not JSON"):
        decode_object_around_numbers(f'{{"top_k": 1, "vector": {numbers}]}}'.encode())


@pytest.mark.parametrize("end", [", [1]", ", {}", ', "x"'])
def test_a_list_of_more_than_numbers_is_read_whole(end: str) -> None:
    body = f'{{"top_k": 1, "vector": {json.dumps(VECTOR)[:-1]}{end}]}}'.encode()
    assert decode_object_around_numbers(body) == decode_object(body)


def test_a_body_of_nothing_but_openings_is_refused_at_once() -> None:
    with pytest.raises(LayerError):
        decode_object_around_numbers(b"[1" * 1_000_000)
