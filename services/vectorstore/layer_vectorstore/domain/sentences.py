"""Cuts text into sentences by the rules of Unicode Standard Annex 29.

``uniseg`` knows the property of each character, but walks a text at a few characters a
millisecond. Here, as for words, each character becomes a letter for its property, and one pattern
over those letters finds where sentences end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from uniseg.sentencebreak import SentenceBreak, sentence_break

_CLASSES: Final = {
    SentenceBreak.CR: "R",
    SentenceBreak.LF: "F",
    SentenceBreak.SEP: "P",
    SentenceBreak.EXTEND: "X",
    SentenceBreak.FORMAT: "X",
    SentenceBreak.SP: "S",
    SentenceBreak.LOWER: "L",
    SentenceBreak.UPPER: "U",
    SentenceBreak.OLETTER: "O",
    SentenceBreak.NUMERIC: "N",
    SentenceBreak.ATERM: "A",
    SentenceBreak.SCONTINUE: "C",
    SentenceBreak.STERM: "T",
    SentenceBreak.CLOSE: "Q",
    SentenceBreak.OTHER: "-",
}


class _Properties(dict[int, str]):
    """The letter of each code point met so far."""

    def __missing__(self, code_point: int) -> str:
        letter = self[code_point] = _CLASSES[sentence_break(chr(code_point))]
        return letter


_PROPERTIES: Final = _Properties()

# Quantifiers are possessive: no part gives back what it took, so that time is linear.
_X: Final = "X*+"  # SB5
_PARAGRAPH_END: Final = "(?:RF|[RFP])"  # SB3, SB4
_CLOSING: Final = f"(?:Q{_X})*+(?:S{_X})*+{_PARAGRAPH_END}?+"  # SB9, SB10
_NOT_CONTINUED: Final = "(?<=[RFP])|(?![CTA])"  # SB8a
_NOT_LOWER: Final = "(?<=[RFP])|(?![CTA]|[XSNCQ-]*+L)"  # SB8
_END: Final = re.compile(
    rf"""
    (?P<abbreviation> [UL]{_X}A{_X}(?=U) )      # SB7
  | {_PARAGRAPH_END}
  | T{_X}{_CLOSING}(?:{_NOT_CONTINUED})         # SB11
  | A{_X}(?!N){_CLOSING}(?:{_NOT_LOWER})        # SB6, SB11
    """,
    re.VERBOSE,
)


def sentence_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each sentence starts and ends, with the space after it; together all of it."""
    start = 0
    for match in _END.finditer(text.translate(_PROPERTIES)):
        if match["abbreviation"] is None:
            yield start, match.end()
            start = match.end()
    if start < len(text):
        yield start, len(text)
