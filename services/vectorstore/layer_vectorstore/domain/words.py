"""Cuts text into words as each of the contract's tokenizers does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from layer_vectorstore.domain.schema import Tokenizer
from layer_wire import words

_IDEOGRAPHS: Final = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"
_RUN_WITHOUT_IDEOGRAPHS: Final = re.compile(rf"[{_IDEOGRAPHS}]|[^\W_{_IDEOGRAPHS}]+")
_RUN: Final = re.compile(r"[^\W_]+")


def find_words(text: str, tokenizer: Tokenizer) -> list[str]:
    """Return the words of a text, in order: what :func:`iter_words` yields, without places."""
    if tokenizer in ("word_v3", "word_v4"):
        return words.find_words(text)
    return [word for _, word in iter_words(text, tokenizer)]


def iter_words(text: str, tokenizer: Tokenizer) -> Iterator[tuple[int, str]]:
    """Yield each word with the index of its first character, in order.

    Only what holds a letter, a digit, an ideograph or an emoji is a word.
    """
    match tokenizer:
        case "word_v0" | "word_v1" | "word_v2":
            return _iter_runs(text, tokenizer)
        case _:
            return words.iter_words(text)


def _iter_runs(text: str, tokenizer: Tokenizer) -> Iterator[tuple[int, str]]:
    """The older tokenizers: runs of alphanumerics; ideographs and emoji as each sees them."""
    pattern = _RUN_WITHOUT_IDEOGRAPHS if tokenizer == "word_v2" else _RUN
    found = [(match.start(), match[0]) for match in pattern.finditer(text)]
    if tokenizer != "word_v0" and not text.isascii():
        found += [(i, c) for i, c in enumerate(text) if not c.isalnum() and words.is_emoji(c)]
        found.sort()
    yield from found
