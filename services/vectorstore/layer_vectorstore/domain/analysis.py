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
from layer_vectorstore.domain.words import find_words, iter_words

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
        self._steps = _Steps(options)
        self._terms = _Terms(self._steps)

    def terms(self, value: str | list[str] | None) -> list[str]:
        """Return the terms of a stored value or a query, in order."""
        if value is None:
            return []
        if self._options.tokenizer == "pre_tokenized_array":
            return [text for text in value if self._steps.is_short(text)]
        known = self._known_terms()
        found: list[str] = []
        for text in [value] if isinstance(value, str) else value:
            words = find_words(text, self._options.tokenizer)
            found.extend(filter(None, map(known.__getitem__, words)))
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
                if self._steps.is_short(text)
            ]
        known = self._known_terms()
        found: list[Token] = []
        position = 0
        for item, text in enumerate(items):
            for start, word in iter_words(text, self._options.tokenizer):
                if term := known[word]:
                    found.append(Token(term, position, start, start + len(word), item))
                position += 1
        return found

    def split_prefix(self, value: str | list[str]) -> tuple[list[str], str | None]:
        """Return the terms before the last word, and the last word as a prefix of terms.

        The prefix is neither stemmed nor a stop word: it is the start of a word to come.
        """
        if self._options.tokenizer == "pre_tokenized_array":
            texts = list(value)
            return texts[:-1], texts[-1] if texts else None
        texts = [value] if isinstance(value, str) else value
        found = [word for text in texts for word in find_words(text, self._options.tokenizer)]
        if not found:
            return [], None
        known = self._known_terms()
        terms = [term for word in found[:-1] if (term := known[word])]
        return terms, self._steps.folded(self._steps.cased(found[-1]))

    def _known_terms(self) -> _Terms:
        if len(self._terms) > WORDS_REMEMBERED_MAX:
            # Another dict, since other threads may be reading this one.
            self._terms = _Terms(self._steps)
        return self._terms


class _Terms(dict[str, str | None]):
    """Remembers the term of each word; None for a word that is dropped."""

    def __init__(self, steps: _Steps) -> None:
        super().__init__()
        self._steps = steps

    def __missing__(self, word: str) -> str | None:
        term = self[word] = self._steps.term(word)
        return term


class _Steps:
    """What happens to one word."""

    def __init__(self, options: FullTextSearch) -> None:
        self._options = options
        self._is_stop_word = _stop_word_test(options)
        self._fold = _ascii_folding() if options.ascii_folding else None

    def term(self, word: str) -> str | None:
        if not self.is_short(word):
            return None
        term = self.cased(word)
        if self._is_stop_word(term):
            return None
        if self._options.stemming:
            # A stemmer may not be shared by threads; each word comes here once, so one is made.
            term = Stemmer.Stemmer(self._options.language, 0).stemWord(term)
        return self.folded(term)

    def cased(self, word: str) -> str:
        return word if self._options.case_sensitive else word.lower()

    def folded(self, term: str) -> str:
        if self._fold is None or term.isascii():
            return term
        folded = self._fold(term)
        return folded if self._options.case_sensitive else folded.lower()

    def is_short(self, word: str) -> bool:
        # Counted in bytes, of which no character has more than four.
        limit = self._options.max_token_length
        return len(word) * 4 <= limit or len(word.encode()) <= limit


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
