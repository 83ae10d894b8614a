"""What is remembered of texts, and what is not."""

from __future__ import annotations

import pytest

from layer_kit.remembering import remembered_if_short


def test_short_texts_are_remembered_and_long_ones_worked_out_each_time() -> None:
    calls: list[tuple[str, str | None]] = []

    @remembered_if_short(count_max=8, characters_max=4)
    def joined(first: str, second: str | None) -> str:
        calls.append((first, second))
        return f"{first}+{second}"

    for texts in (("ab", "cd"), ("abcd", None), ("ab", "cde"), ("abcde", None)):
        for _ in range(3):
            assert joined(*texts) == f"{texts[0]}+{texts[1]}"
    assert [calls.count(texts) for texts in dict.fromkeys(calls)] == [1, 1, 3, 3]


def test_no_more_results_are_remembered_than_that() -> None:
    calls: list[str] = []

    @remembered_if_short(count_max=2, characters_max=4)
    def kept(text: str) -> str:
        calls.append(text)
        return text

    for text in ("a", "b", "c", "c", "a"):
        kept(text)
    assert calls == ["a", "b", "c", "a"]


def test_errors_are_not_remembered() -> None:
    calls: list[str] = []

    @remembered_if_short(count_max=2, characters_max=4)
    def refused(text: str) -> str:
        calls.append(text)
        raise ValueError(text)

    for _ in range(2):
        with pytest.raises(ValueError, match="a"):
            refused("a")
    assert calls == ["a", "a"]
