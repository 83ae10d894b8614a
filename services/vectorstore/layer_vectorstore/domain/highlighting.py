"""Cuts the parts of a text that match a query out of it."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from layer_vectorstore.domain.analysis import Analyzer, Token
from layer_vectorstore.domain.ranking import Score
from layer_vectorstore.domain.sentences import sentence_spans

FragmentBy = Literal["none", "sentence", "paragraph", "word"]
Offsets = Literal["utf-8", "utf-16", "codepoints"]

FRAGMENTS_COUNT_MAX: Final = 100
PARAGRAPH_END: Final = "\n\n"

Span = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Highlight:
    attribute: str
    fragment_by: FragmentBy = "sentence"
    fragment_limit: int = 3
    include_offsets: Offsets | None = None
    rank: Score | None = None
    """What ranks the fragments; None leaves it to the query."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a query asked for: whole terms, and starts of terms."""

    terms: frozenset[str]
    prefixes: tuple[str, ...]

    def has(self, term: str) -> bool:
        return term in self.terms or term.startswith(self.prefixes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fragment:
    item: int
    span: Span
    matches: tuple[Span, ...]
    terms_count: int


def highlighted(
    value: str | list[str] | None, wanted: Wanted, analyzer: Analyzer, options: Highlight
) -> list[dict[str, Any]]:
    """Return the best fragments of a value in the order of the text.

    Those with more distinct terms are better, then those with more matches, then earlier ones.
    """
    if value is None:
        return []
    items = [value] if isinstance(value, str) else value
    matches: defaultdict[int, list[Token]] = defaultdict(list)
    for token in analyzer.tokens(value):
        if wanted.has(token.term):
            matches[token.item].append(token)
    fragments = [
        fragment
        for item, found in matches.items()
        for fragment in _matching(items[item], found, options.fragment_by)
    ]
    best = sorted(fragments, key=lambda f: (-f.terms_count, -len(f.matches)))
    chosen = sorted(best[: options.fragment_limit], key=lambda f: (f.item, f.span))
    return [_shown(fragment, items, options, is_array=items is value) for fragment in chosen]


def _matching(text: str, found: Sequence[Token], fragment_by: FragmentBy) -> Iterator[_Fragment]:
    """Yield the fragments of one text that have a match; ``found`` are all of it, in order."""
    starts = [token.start for token in found]
    spans: Iterable[Span] = (
        [(t.start, t.end) for t in found] if fragment_by == "word" else _spans(text, fragment_by)
    )
    for start, end in spans:
        inside = found[bisect_left(starts, start) : bisect_left(starts, end)]
        if inside:
            yield _Fragment(
                item=inside[0].item,
                span=(start, end),
                matches=tuple((token.start, token.end) for token in inside),
                terms_count=len({token.term for token in inside}),
            )


def _spans(text: str, fragment_by: FragmentBy) -> Iterator[Span]:
    spans: Iterable[Span]
    match fragment_by:
        case "paragraph":
            spans = _paragraph_spans(text)
        case "sentence":
            spans = sentence_spans(text)
        case _:
            spans = [(0, len(text))]
    for start, end in spans:
        yield start, start + len(text[start:end].rstrip())


def _paragraph_spans(text: str) -> Iterator[Span]:
    start = 0
    for part in text.split(PARAGRAPH_END):
        yield start, start + len(part)
        start += len(part) + len(PARAGRAPH_END)


def _shown(
    fragment: _Fragment, items: list[str], options: Highlight, *, is_array: bool
) -> dict[str, Any]:
    text = items[fragment.item]
    start, end = fragment.span
    shown: dict[str, Any] = {"text": text[start:end]}
    if options.include_offsets is not None:
        spans = [fragment.span, *fragment.matches]
        offsets = _offsets(text, {at for span in spans for at in span}, options.include_offsets)
        ranges = [[offsets[at] for at in span] for span in spans]
        shown["fragment_range"], *shown["match_ranges"] = ranges
    if is_array:
        shown["array_index"] = fragment.item
    return shown


def _offsets(text: str, indexes: set[int], encoding: Offsets) -> dict[int, int]:
    """Return where each index of a character is in the text's encoded form, in one pass."""
    result: dict[int, int] = {}
    before, total = 0, 0
    for index in sorted(indexes):
        part = text[before:index]
        match encoding:
            case "codepoints":
                total += len(part)
            case "utf-8":
                total += len(part.encode())
            case "utf-16":
                total += len(part.encode("utf-16-le")) // 2
        result[index], before = total, index
    return result
