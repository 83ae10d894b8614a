"""Turns text into the terms that full-text search indexes and asks for.

Order of the steps: length limit, lower case, stop words, stemming, folding to ASCII. A word that
a step drops still takes up its position, so that phrases keep their distances.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import Stemmer
from tantivy import Filter, TextAnalyzerBuilder
from tantivy import Tokenizer as TantivyTokenizer

from layer_vectorstore.domain.schema import FullTextSearch
from layer_vectorstore.domain.words import iter_words

WORDS_REMEMBERED_MAX: Final = 200_000
"""Distinct words of one configuration whose terms are kept; past it all are forgotten."""

LANGUAGES_WITH_STOP_WORDS: Final = frozenset(
    [
        "danish",
        "dutch",
        "english",
        "finnish",
        "french",
        "german",
        "hungarian",
        "italian",
        "norwegian",
        "portuguese",
        "russian",
        "spanish",
        "swedish",
    ]
)


@dataclass(frozen=True, slots=True)
class Token:
    term: str
    position: int
    """Counts words, dropped ones too, from the start of the value."""
    start: int
    end: int
    """Character offsets within ``item``."""
    item: int
    """Index in an array of strings; 0 for a string."""


class Analyzer:
    """The pipeline of one full-text configuration. Get one from :func:`analyzer_of`."""

    def __init__(self, options: FullTextSearch) -> None:
        self._options = options
        self._term_of: dict[str, str | None] = {}
        self._is_stop_word = _stop_word_test(options)
        self._fold = _ascii_folding() if options.ascii_folding else None

    def terms(self, value: str | list[str] | None) -> list[str]:
        """Return the terms of a stored value or a query, in order."""
        if value is None:
            return []
        if self._options.tokenizer == "pre_tokenized_array":
            return [text for text in value if self._is_short(text)]
        found: list[str] = []
        term_of, tokenizer = self._term_of, self._options.tokenizer
        for text in [value] if isinstance(value, str) else value:
            for _, word in iter_words(text, tokenizer):
                term = term_of[word] if word in term_of else self._remember(word)
                if term is not None:
                    found.append(term)
        return found

    def tokens(self, value: str | list[str] | None) -> list[Token]:
        """Return the terms with where they stand: what phrases and highlights need."""
        if value is None:
            return []
        items = [value] if isinstance(value, str) else value
        if self._options.tokenizer == "pre_tokenized_array":
            return [
                Token(text, index, 0, len(text), index)
                for index, text in enumerate(items)
                if self._is_short(text)
            ]
        found: list[Token] = []
        position = 0
        for item, text in enumerate(items):
            for start, word in iter_words(text, self._options.tokenizer):
                term = self._term_of[word] if word in self._term_of else self._remember(word)
                if term is not None:
                    found.append(Token(term, position, start, start + len(word), item))
                position += 1
        return found

    def split_prefix(self, value: str | list[str]) -> tuple[list[str], str | None]:
        """Return the terms before the last word, and the last word as a prefix of terms.

        The prefix is neither stemmed nor a stop word: it is the start of a word to come.
        """
        if self._options.tokenizer == "pre_tokenized_array":
            words = list(value)
        else:
            texts = [value] if isinstance(value, str) else value
            words = [
                word for text in texts for _, word in iter_words(text, self._options.tokenizer)
            ]
        if not words:
            return [], None
        terms = (self._analyzed(word) for word in words[:-1])
        return [term for term in terms if term is not None], self._cased(words[-1])

    def _analyzed(self, word: str) -> str | None:
        if self._options.tokenizer == "pre_tokenized_array":
            return word
        return self._term_of[word] if word in self._term_of else self._remember(word)

    def _remember(self, word: str) -> str | None:
        if len(self._term_of) >= WORDS_REMEMBERED_MAX:
            # A new dict, since other threads may be reading the old one.
            self._term_of = {}
        term = self._term_of[word] = self._normalized(word)
        return term

    def _normalized(self, word: str) -> str | None:
        if not self._is_short(word):
            return None
        term = word if self._options.case_sensitive else word.lower()
        if self._is_stop_word(term):
            return None
        if self._options.stemming:
            # A stemmer object may not be used by two threads; words are remembered, so making
            # one per new word is rare enough.
            term = Stemmer.Stemmer(self._options.language, 0).stemWord(term)
        return self._folded(term)

    def _cased(self, word: str) -> str:
        if self._options.tokenizer == "pre_tokenized_array":
            return word
        return self._folded(word if self._options.case_sensitive else word.lower())

    def _folded(self, term: str) -> str:
        if self._fold is None or term.isascii():
            return term
        folded = self._fold(term)
        return folded if self._options.case_sensitive else folded.lower()

    def _is_short(self, word: str) -> bool:
        return len(word) <= self._options.max_token_length


@lru_cache(maxsize=256)
def analyzer_of(options: FullTextSearch) -> Analyzer:
    """Return the one analyzer of a configuration."""
    return Analyzer(options)


def _stop_word_test(options: FullTextSearch) -> Callable[[str], bool]:
    if not options.remove_stopwords or options.language not in LANGUAGES_WITH_STOP_WORDS:
        return lambda _term: False
    analyzer = (
        TextAnalyzerBuilder(TantivyTokenizer.raw())
        .filter(Filter.stopword(options.language))
        .build()
    )
    return lambda term: not analyzer.analyze(term)


def _ascii_folding() -> Callable[[str], str]:
    analyzer = TextAnalyzerBuilder(TantivyTokenizer.raw()).filter(Filter.ascii_fold()).build()
    return lambda term: "".join(analyzer.analyze(term))
