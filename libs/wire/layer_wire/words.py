"""Cuts text into words by the rules of Unicode Standard Annex 29, as the store's tokenizers do.

``uniseg`` knows the property of each character, but walks a text at some 8 characters a
millisecond. Here each character becomes a letter for its property, and one pattern over those
letters is the whole annex, a hundred times as fast.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Final

from uniseg.emoji import extended_pictographic
from uniseg.wordbreak import WordBreak, word_break

# The annex's rules for ASCII alone, which is most text: letters and digits run together, and
# some punctuation joins two letters or two digits.
_ASCII_WORD: Final = re.compile(
    r"[A-Za-z0-9_]+(?:(?:(?<=[A-Za-z])['.:](?=[A-Za-z])|(?<=[0-9])[',.;](?=[0-9]))[A-Za-z0-9_]+)*"
)

_CLASSES: Final = {
    WordBreak.ALETTER: "A",
    WordBreak.HEBREW_LETTER: "H",
    WordBreak.NUMERIC: "N",
    WordBreak.KATAKANA: "K",
    WordBreak.EXTENDNUMLET: "E",
    WordBreak.MIDLETTER: "L",
    WordBreak.MIDNUM: "M",
    WordBreak.MIDNUMLET: "B",
    WordBreak.SINGLE_QUOTE: "Q",
    WordBreak.DOUBLE_QUOTE: "D",
    WordBreak.EXTEND: "X",
    WordBreak.FORMAT: "X",
    WordBreak.ZWJ: "Z",
    WordBreak.REGIONAL_INDICATOR: "R",
    WordBreak.WSEGSPACE: "S",
    WordBreak.CR: "C",
    WordBreak.LF: "C",
    WordBreak.NEWLINE: "C",
    WordBreak.OTHER: "O",
}
_PICTOGRAPHS: Final = {"O": "P", "A": "G"}
"""What stands for a character that is a pictograph besides, and so may follow a joiner (WB3c)."""


class _Properties(dict[int, str]):
    """The letter of each code point met so far."""

    def __missing__(self, code_point: int) -> str:
        letter = _CLASSES[word_break(chr(code_point))]
        if letter in _PICTOGRAPHS and is_emoji(chr(code_point)):
            letter = _PICTOGRAPHS[letter]
        self[code_point] = letter
        return letter


_PROPERTIES: Final = _Properties()

IS_POSSESSIVE_RIGHT: Final = sys.version_info >= (3, 11, 5)
"""Whether this CPython matches possessive quantifiers of groups as it should."""


def segment_pattern(*, is_possessive: bool) -> re.Pattern[str]:
    """Return the annex: what matches one segment of a text whose characters are their properties.

    No part has a use for what another took: what one gives back is never what the next one needs.
    So the quantifiers of groups may be possessive or not, and time is linear either way; those that
    are need no memory that grows with a word.
    """
    p = "+" if is_possessive else ""
    x = "[XZ]*+"  # WB4
    letters = rf"""(?:
        [AG]++{x} (?:[LBQ]{x}(?=[AGH]))?{p}     # WB5, WB6, WB7, WB9
      | H{x} (?: [LBQ]{x}(?=[AGH])
               | D{x}(?=H)                      # WB7b, WB7c
               | (?!Q{x}(?![AGH])) )
      | N++{x} (?:[MBQ]{x}(?=N))?{p}            # WB8, WB10, WB11, WB12
    )+{p}"""
    katakana = rf"(?:K++{x})+{p}"  # WB13
    joiners = rf"(?:E++{x})"  # WB13a, WB13b
    last_quoted = rf"H{x}Q{x}"  # WB7a
    word = rf"""
        (?=[AGHNKE]) {joiners}*{p} (?:(?:{letters}|{katakana}) {joiners}+{p})*{p}
        (?:{letters}(?:{last_quoted})?{p} | {katakana} | {last_quoted})?{p}
    """
    return re.compile(
        rf"""
        C                                       # WB3a, WB3b
      | (?: {word} | R{x}R | S++ | . ) {x}      # WB15, WB16, WB3d
        (?:(?<=Z) (?: P | (?=G){word} ) {x})*{p}  # WB3c
        """,
        re.VERBOSE | re.DOTALL,
    )


_SEGMENT: Final = segment_pattern(is_possessive=IS_POSSESSIVE_RIGHT)


def find_words(text: str) -> list[str]:
    """Return the words of a text, in order: what :func:`iter_words` yields, without places."""
    if text.isascii():
        words: list[str] = _ASCII_WORD.findall(text)
        return [word for word in words if word.strip("_")] if "_" in text else words
    return [word for _, word in iter_words(text)]


def iter_words(text: str) -> Iterator[tuple[int, str]]:
    """Yield each word with the index of its first character, in order.

    Only what holds a letter, a digit, an ideograph or an emoji is a word.
    """
    if text.isascii():
        for match in _ASCII_WORD.finditer(text):
            word = match[0]
            if word.strip("_"):
                yield match.start(), word
        return
    for match in _SEGMENT.finditer(text.translate(_PROPERTIES)):
        start = match.start()
        word = text[start : match.end()]
        if word.isalnum() or any(c.isalnum() or is_emoji(c) for c in word):
            yield start, word


def is_emoji(character: str) -> bool:
    """Tell whether a character is pictographic."""
    return not character.isascii() and bool(extended_pictographic(character))
