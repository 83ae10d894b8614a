"""The oracle itself: what it lets pass and what it does not."""

from __future__ import annotations

import pytest

from layer_kit.names import Namespace
from tests.chaos.checker import Attributes, History, Row

ROW = Row(Namespace("books"), "1")
BOTH = ("left", "right")


def put(history: History, operation: int) -> None:
    history.apply(ROW, operation, dict.fromkeys(BOTH, operation), is_whole=True)


def patch(history: History, operation: int) -> None:
    history.apply(ROW, operation, {"left": operation}, is_whole=False)


def is_explained(history: History, seen: Attributes | None, *names: str) -> bool:
    return history.is_explained(ROW, seen, names or BOTH, began=history.now())


def test_only_the_newest_acknowledged_put_is_right() -> None:
    history = History()
    for operation in (1, 2):
        put(history, operation)
        history.acknowledge(operation)

    assert is_explained(history, {"left": 2, "right": 2})
    assert not is_explained(history, {"left": 1, "right": 1})
    assert not is_explained(history, None)


@pytest.mark.parametrize("seen", [{"left": 1, "right": 1}, {"left": 2, "right": 2}])
def test_a_put_that_nobody_was_told_of_may_be_seen_or_not(seen: Attributes) -> None:
    history = History()
    put(history, 1)
    history.acknowledge(1)
    put(history, 2)

    assert is_explained(history, seen)
    assert not is_explained(history, {"left": 2, "right": 1})


def test_an_acknowledged_patch_is_there_whatever_it_was_put_upon() -> None:
    history = History()
    put(history, 1)
    history.acknowledge(1)
    put(history, 2)
    patch(history, 3)
    history.acknowledge(3)

    assert is_explained(history, {"left": 3, "right": 1})
    assert is_explained(history, {"left": 3, "right": 2})
    assert not is_explained(history, {"left": 2, "right": 2})


def test_what_was_acknowledged_after_the_fetch_began_does_not_bind_it() -> None:
    history = History()
    put(history, 1)
    began = history.now()
    history.acknowledge(1)

    assert history.is_explained(ROW, None, BOTH, began=began)
    assert not is_explained(history, None)


def test_a_projection_says_nothing_of_other_attributes() -> None:
    history = History()
    put(history, 1)
    patch(history, 2)
    history.acknowledge(1)
    history.acknowledge(2)

    assert is_explained(history, {"right": 1}, "right")
    assert not is_explained(history, {"left": 1}, "left")


def test_a_write_that_comes_again_after_its_acknowledgement_does_not_bind() -> None:
    history = History()
    history.apply(ROW, 1, None, is_whole=True)
    history.acknowledge(1)
    put(history, 2)
    history.acknowledge(2)
    history.apply(ROW, 1, None, is_whole=True)

    assert is_explained(history, {"left": 2, "right": 2})
    assert is_explained(history, None)
