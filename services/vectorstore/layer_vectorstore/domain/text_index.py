"""An inverted index of one text attribute, and BM25 over it.

Slots are appended in order and never change, so each term's postings are sorted arrays that only
grow. Readers take the part below their own row count and the mask of rows alive for them, which
makes document counts and lengths exact at every moment, deletions included.
"""

from __future__ import annotations

import bisect
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layer_vectorstore.domain.analysis import Analyzer, analyzer_of
from layer_vectorstore.domain.columns import Mask, Slots
from layer_vectorstore.domain.growing import GrowingArray
from layer_vectorstore.domain.schema import FullTextSearch
from layer_vectorstore.domain.vectors import Float64s


@dataclass(slots=True)
class Postings:
    """The slots that hold one term, ascending, with how often each does."""

    slots: GrowingArray[np.int64] = field(default_factory=lambda: GrowingArray(np.int64))
    counts: GrowingArray[np.int32] = field(default_factory=lambda: GrowingArray(np.int32))


class TextIndex:
    """One writer appends; any number of readers search."""

    def __init__(self, options: FullTextSearch) -> None:
        self.options = options
        self._postings: dict[str, Postings] = {}
        self._lengths: GrowingArray[np.int32] = GrowingArray(np.int32)
        self._vocabulary: tuple[str, ...] = ()
        self.postings_count = 0
        """Pairs of a slot and a term."""

    @property
    def analyzer(self) -> Analyzer:
        return analyzer_of(self.options)

    @property
    def terms_count(self) -> int:
        return len(self._postings)

    @property
    def slots_count(self) -> int:
        """How many slots were appended so far."""
        return self._lengths.count

    def extend(self, values: Sequence[Any]) -> None:
        """Index the values of the next slots; a missing value has length -1."""
        analyzer = self.analyzer
        first = self._lengths.count
        lengths = np.empty(len(values), dtype=np.int32)
        # Numbers the terms of these values in the order in which they are met.
        term_numbers: defaultdict[str, int] = defaultdict(itertools.count().__next__)
        numbers: list[int] = []
        for index, value in enumerate(values):
            terms = analyzer.terms(value)
            lengths[index] = -1 if value is None else len(terms)
            numbers.extend(map(term_numbers.__getitem__, terms))
        owners = np.repeat(np.arange(first, first + len(values)), np.maximum(lengths, 0))
        self._extend_postings(list(term_numbers), np.array(numbers, dtype=np.int64), owners)
        self._lengths.extend(lengths)

    def _extend_postings(self, terms: list[str], numbers: Slots, owners: Slots) -> None:
        if not terms:
            return
        first, span = int(owners[0]), int(owners[-1] - owners[0]) + 1
        pairs, counts = np.unique(numbers * span + (owners - first), return_counts=True)
        slots = pairs % span + first
        self.postings_count += len(slots)
        ends = np.searchsorted(pairs // span, np.arange(len(terms)), side="right").tolist()
        start = 0
        for term, end in zip(terms, ends, strict=True):
            postings = self._postings.get(term)
            if postings is None:
                postings = self._postings[term] = Postings()
            # Readers count the slots, so their counts must be there first.
            postings.counts.extend(counts[start:end].astype(np.int32))
            postings.slots.extend(slots[start:end])
            start = end

    def scores(
        self, query: str | list[str], live: Mask, *, last_as_prefix: bool = False
    ) -> Float64s:
        """Return the BM25 score of every slot; 0 where no term occurs.

        Robertson and Zaragoza 2009 with Lucene's idf, which never turns negative, and the k3
        saturation of terms that a query repeats. Slots that match the prefix score 1.
        """
        scores = np.zeros(len(live))
        terms, prefix = self.analyzer.terms(query), None
        if last_as_prefix:
            terms, prefix = self.analyzer.split_prefix(query)
        lengths = self._lengths.view(len(live))
        has_value = live & (lengths >= 0)
        documents_count = int(np.count_nonzero(has_value))
        if not documents_count:
            return scores
        terms_count = max(int(lengths[has_value].sum()), 1)
        relative_lengths = lengths.astype(np.float64) * (documents_count / terms_count)
        for term, repeats in Counter(terms).items():
            slots, counts = self._find(term, len(live))
            holding_count = int(np.count_nonzero(live[slots]))
            if holding_count:
                idf = np.log1p((documents_count - holding_count + 0.5) / (holding_count + 0.5))
                weight = repeats * (self.options.k3 + 1) / (self.options.k3 + repeats)
                scores[slots] += weight * idf * self._saturated(counts, relative_lengths[slots])
        if prefix is not None:
            scores[self.slots_with_prefix(prefix, len(live))] += 1.0
        return scores

    def _saturated(self, counts: NDArray[np.int32], relative_lengths: Float64s) -> Float64s:
        """Weigh how often a term occurs against the length of the text it occurs in."""
        k1, b = self.options.k1, self.options.b
        return counts * (k1 + 1) / (counts + k1 * (1 - b + b * relative_lengths))

    def slots_with_any(self, terms: Iterable[str], slots_count: int) -> Slots:
        found = [self._find(term, slots_count)[0] for term in terms]
        return np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)

    def slots_with_all(self, terms: Iterable[str], slots_count: int) -> Slots:
        """Return the slots that hold every term; none if there are no terms."""
        found = sorted((self._find(term, slots_count)[0] for term in terms), key=len)
        if not found:
            return np.empty(0, dtype=np.int64)
        result = found[0]
        for slots in found[1:]:
            result = np.intersect1d(result, slots, assume_unique=True)
        return result

    def slots_with_prefix(self, prefix: str, slots_count: int) -> Slots:
        return self.slots_with_any(self._terms_with_prefix(prefix), slots_count)

    def _terms_with_prefix(self, prefix: str) -> tuple[str, ...]:
        vocabulary = self._vocabulary
        if len(vocabulary) != len(self._postings):
            vocabulary = self._vocabulary = tuple(sorted(self._postings))
        start = bisect.bisect_left(vocabulary, prefix)
        end = bisect.bisect_left(vocabulary, prefix + "\U0010ffff", lo=start)
        return vocabulary[start:end]

    def _find(self, term: str, slots_count: int) -> tuple[Slots, NDArray[np.int32]]:
        postings = self._postings.get(term)
        if postings is None:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int32)
        slots = postings.slots.view()
        known = int(np.searchsorted(slots, slots_count))
        return slots[:known], postings.counts.view(known)
