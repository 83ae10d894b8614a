from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uniseg.sentencebreak import SentenceBreak, sentence_break
from uniseg.sentencebreak import sentences as unicode_sentences

from layer_vectorstore.domain.sentences import sentence_spans

TELLING = "aAbB1 ,;.?!()\"'\n\r\t\u0085\u2028\u0308\u00ad日。é—"
# Between a full stop and a small letter uniseg overlooks characters without a property (SB8).
ANY = st.characters().filter(lambda c: sentence_break(c) is not SentenceBreak.OTHER)


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@settings(max_examples=400, deadline=None)
@given(st.text(alphabet=TELLING, max_size=14) | st.text(alphabet=ANY, max_size=14))
def test_sentences_are_those_of_the_unicode_annex(text: str) -> None:
    assert cut(text) == list(unicode_sentences(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("no end", ["no end"]),
        ("He asked, “Why?” She left.", ["He asked, “Why?” ", "She left."]),
        (
            "U.S. is 3.4 etc. or so. Yes...\r\nNew",
            ["U.S. is 3.4 etc. or so. ", "Yes...\r\n", "New"],
        ),
        ("Wait.… what? It is.", ["Wait.… what? ", "It is."]),
        ("日本。語です。はい", ["日本。", "語です。", "はい"]),
    ],
)
def test_abbreviations_and_numbers_end_no_sentence(text: str, expected: list[str]) -> None:
    assert cut(text) == expected


@pytest.mark.parametrize("part", ["a. ", "A.", ".1", "?!", ") . ", "a.,1 "])
def test_time_grows_with_the_text_alone(part: str) -> None:
    assert "".join(cut(part * 100_000)) == part * 100_000
