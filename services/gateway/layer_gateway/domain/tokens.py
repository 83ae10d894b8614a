"""Tokens of a search text: what the fuzzy legs of a hybrid search look for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from layer_wire.words import find_words

TOKENS_COUNT_MAX: Final = 15
TOKEN_LENGTH_MIN: Final = 2
TOKEN_BYTES_MAX: Final = 39
"""The store's own tokenizers drop longer words."""

ENGLISH_STOP_WORDS: Final = frozenset(
    """a an and are as at be but by for if in into is it no not of on or such that the their then
    there these they this to was will with""".split()  # noqa: SIM905 -- readable as words
)
"""The list that the store's full-text search drops for English."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchTokens:
    """What a search looks for word by word, and how much of it was left out."""

    tokens: tuple[str, ...]
    dropped_count: int
    """Tokens past the first ``TOKENS_COUNT_MAX``."""
    stopped_count: int
    """Tokens that are stop words."""

    @property
    def are_all_stopped(self) -> bool:
        """Tell whether there was nothing but stop words."""
        return not self.tokens and self.stopped_count > 0


def tokens_of(text: str) -> list[str]:
    """Return the distinct tokens of a text in order: lower-case words of some length."""
    return list(dict.fromkeys(token for word in find_words(text) if _fits(token := word.lower())))


def search_tokens(text: str, stop_words: Collection[str]) -> SearchTokens:
    """Return the first tokens of a search text that are no stop words."""
    found = tokens_of(text)
    kept = [token for token in found if token not in stop_words]
    return SearchTokens(
        tokens=tuple(kept[:TOKENS_COUNT_MAX]),
        dropped_count=max(0, len(kept) - TOKENS_COUNT_MAX),
        stopped_count=len(found) - len(kept),
    )


def _fits(token: str) -> bool:
    return len(token) >= TOKEN_LENGTH_MIN and len(token.encode()) <= TOKEN_BYTES_MAX
