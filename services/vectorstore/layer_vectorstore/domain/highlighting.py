"""Cuts the parts of a text that match a query out of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from uniseg.sentencebreak import sentences

from layer_vectorstore.domain.analysis import Analyzer, Token
from layer_vectorstore.domain.ranking import Score

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fragment:
    item: int
    span: Span
    matches: tuple[Span, ...]
    terms_count: int


def highlighted(
    value: str | list[str] | None, wanted: set[str], analyzer: Analyzer, options: Highlight
) -> list[dict[str, Any]]:
    """Return the best fragments of a value in the order of the text.

    Those with more distinct terms are better, then those with more matches, then earlier ones.
    """
    if value is None:
        return []
    items = [value] if isinstance(value, str) else value
    matches = [token for token in analyzer.tokens(value) if token.term in wanted]
    fragments = [
        fragment
        for item, text in enumerate(items)
        for fragment in _matching(item, text, matches, options.fragment_by)
    ]
    best = sorted(fragments, key=lambda f: (-f.terms_count, -len(f.matches)))
    chosen = sorted(best[: options.fragment_limit], key=lambda f: (f.item, f.span))
    return [_shown(fragment, items, options, is_array=items is value) for fragment in chosen]


def _matching(
    item: int, text: str, matches: list[Token], fragment_by: FragmentBy
) -> Iterator[_Fragment]:
    found = [token for token in matches if token.item == item]
    if not found:
        return
    spans = (
        [(t.start, t.end) for t in found] if fragment_by == "word" else _spans(text, fragment_by)
    )
    for start, end in spans:
        inside = [token for token in found if start <= token.start < end]
        if inside:
            yield _Fragment(
                item=item,
                span=(start, end),
                matches=tuple((token.start, token.end) for token in inside),
                terms_count=len({token.term for token in inside}),
            )


def _spans(text: str, fragment_by: FragmentBy) -> Iterator[Span]:
    match fragment_by:
        case "paragraph":
            parts = [f"{part}{PARAGRAPH_END}" for part in text.split(PARAGRAPH_END)]
        case "sentence":
            parts = list(sentences(text))
        case _:
            parts = [text]
    start = 0
    for part in parts:
        yield start, start + len(part.rstrip())
        start += len(part)


def _shown(
    fragment: _Fragment, items: list[str], options: Highlight, *, is_array: bool
) -> dict[str, Any]:
    text = items[fragment.item]
    start, end = fragment.span
    shown: dict[str, Any] = {"text": text[start:end]}
    if options.include_offsets is not None:
        encoding = options.include_offsets
        shown["fragment_range"] = [_offset(text, at, encoding) for at in fragment.span]
        shown["match_ranges"] = [
            [_offset(text, at, encoding) for at in match] for match in fragment.matches
        ]
    if is_array:
        shown["array_index"] = fragment.item
    return shown


def _offset(text: str, index: int, encoding: Offsets) -> int:
    match encoding:
        case "codepoints":
            return index
        case "utf-8":
            return len(text[:index].encode())
        case "utf-16":
            return len(text[:index].encode("utf-16-le")) // 2
