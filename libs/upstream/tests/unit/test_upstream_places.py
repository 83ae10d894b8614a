"""Memory that is used again is nobody else's."""

from __future__ import annotations

import random

import pytest

from layer_upstream.places import SPARES_MAX, Places
from layer_upstream.response import UpstreamResponse


@pytest.mark.parametrize("size_bytes", [1, 99, 100, 101, 5000])
def test_what_was_given_back_is_taken_again_at_any_size(size_bytes: int) -> None:
    places = Places()
    first = places.take(100)
    assert first == bytes(100)
    places.give_back(first)
    again = places.take(size_bytes)
    assert again is first
    assert len(again) == size_bytes
    assert places.take(size_bytes) is not first


def test_what_somebody_still_sends_is_not_taken_again() -> None:
    places = Places()
    sent, other = places.take(100), places.take(100)
    looked_at = memoryview(sent)
    places.give_back(other)
    places.give_back(sent)
    assert places.take(100) is other
    assert places.take(100) is not sent
    assert looked_at == bytes(100)


def test_no_more_than_a_few_are_kept() -> None:
    places = Places()
    made = [places.take(10) for _ in range(SPARES_MAX + 3)]
    for place in made:
        places.give_back(place)
    found = [places.take(10) for _ in made]
    assert sum(any(one is place for place in made) for one in found) == SPARES_MAX


def test_an_answer_that_was_passed_on_is_empty_and_gives_back_what_it_was_received_in() -> None:
    places = Places()
    place = places.take(random.Random(2).randrange(1, 99))  # noqa: S311 -- any size will do
    answer = UpstreamResponse(200, (), (b"abc", place), None, places)
    answer.passed_on()
    assert answer.body == b""
    answer.passed_on()
    assert places.take(5) is place
    assert places.take(5) is not place
