"""Cuts text into words by the rules of Unicode Standard Annex 29."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from uniseg.emoji import extended_pictographic
from uniseg.wordbreak import words as unicode_words

from layer_vectorstore.domain.schema import Tokenizer

# The annex's rules for ASCII alone, which is most text: letters and digits run together, and
# some punctuation joins two letters or two digits. A test holds it against the full rules.
_ASCII_WORD: Final = re.compile(
    r"[A-Za-z0-9_]+(?:(?:(?<=[A-Za-z])['.:](?=[A-Za-z])|(?<=[0-9])[',.;](?=[0-9]))[A-Za-z0-9_]+)*"
)
_IDEOGRAPHS: Final = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"
_RUN_WITHOUT_IDEOGRAPHS: Final = re.compile(rf"[{_IDEOGRAPHS}]|[^\W_{_IDEOGRAPHS}]+")
_RUN: Final = re.compile(r"[^\W_]+")


def find_words(text: str, tokenizer: Tokenizer) -> list[str]:
    """Return the words of a text, in order: what :func:`iter_words` yields, without places."""
    if tokenizer in ("word_v3", "word_v4") and text.isascii():
        words: list[str] = _ASCII_WORD.findall(text)
        return [word for word in words if word.strip("_")] if "_" in text else words
    return [word for _, word in iter_words(text, tokenizer)]


def iter_words(text: str, tokenizer: Tokenizer) -> Iterator[tuple[int, str]]:
    """Yield each word with the index of its first character, in order.

    Only what holds a letter, a digit, an ideograph or an emoji is a word.
    """
    match tokenizer:
        case "word_v0" | "word_v1" | "word_v2":
            yield from _iter_runs(text, tokenizer)
        case _ if text.isascii():
            for match in _ASCII_WORD.finditer(text):
                word = match[0]
                if word.strip("_"):
                    yield match.start(), word
        case _:
            start = 0
            for word in unicode_words(text):
                if _is_word_like(word):
                    yield start, word
                start += len(word)


def _iter_runs(text: str, tokenizer: Tokenizer) -> Iterator[tuple[int, str]]:
    """The older tokenizers: runs of alphanumerics; ideographs and emoji as each sees them."""
    pattern = _RUN_WITHOUT_IDEOGRAPHS if tokenizer == "word_v2" else _RUN
    found = [(match.start(), match[0]) for match in pattern.finditer(text)]
    if tokenizer != "word_v0" and not text.isascii():
        found += [(i, c) for i, c in enumerate(text) if not c.isalnum() and _is_emoji(c)]
        found.sort()
    yield from found


def _is_word_like(word: str) -> bool:
    return any(character.isalnum() or _is_emoji(character) for character in word)


def _is_emoji(character: str) -> bool:
    return not character.isascii() and bool(extended_pictographic(character))
