"""Words are those of Unicode Standard Annex 29."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from uniseg.emoji import extended_pictographic
from uniseg.wordbreak import words as unicode_words

from layer_wire import words
from layer_wire.words import find_words, iter_words

OF_EACH_PROPERTY = "aéאב1٣アー_‿:·;,.'\"\u0301\u00ad\u200d🇩🇪 \u3000\r\n\u2028日ก😀©Ⓜ!-\U0001f3fd"


def words_by_the_library(text: str) -> list[tuple[int, str]]:
    found, start = [], 0
    for segment in unicode_words(text):
        if any(c.isalnum() or (c > "\x7f" and extended_pictographic(c)) for c in segment):
            found.append((start, segment))
        start += len(segment)
    return found


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet=OF_EACH_PROPERTY, max_size=10) | st.text(max_size=12))
@example("א'1")
@example("א'ב")
@example('א"ב')
@example("a\u200d😀b")
@example("ア\u200dⓂa😀\u200dⓂ_1")
@example("\u200d😀")
@example("_ア_a1.5")
@example("🇩🇪🇫🇷🇩")
@example("\r\u0301a\n")
def test_words_are_those_of_the_unicode_library(text: str) -> None:
    expected = words_by_the_library(text)
    assert list(iter_words(text)) == expected
    assert find_words(text) == [word for _, word in expected]


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=OF_EACH_PROPERTY, max_size=10))
@example("Can't STOP 3.14 é")
def test_words_are_the_same_where_possessive_quantifiers_cannot_be_relied_on(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words, "_SEGMENT", words.segment_pattern(is_possessive=False))
        assert list(iter_words(text)) == words_by_the_library(text)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="abZ019_'.:;, -\"\r\n@", max_size=12))
def test_ascii_is_cut_as_unicode_does(text: str) -> None:
    assert list(iter_words(text)) == words_by_the_library(text)


@pytest.mark.parametrize("part", ["א'", "a.", "1,", "_", "ア", "a\u0301", "😀\u200d", "🇩", " "])
def test_a_long_text_of_one_kind_is_cut_like_a_short_one(part: str) -> None:
    assert find_words(f"é {part * 40}") == [
        word for _, word in words_by_the_library(f"é {part * 40}")
    ]
    assert find_words(f"é {part * 50_000}")[0] == "é"
