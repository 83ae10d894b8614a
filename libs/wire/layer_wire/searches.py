"""Searches: the forms of ``rank_by`` that layer answers itself, with several queries upstream.

docs/reference/http.md, "Hybrid text" and "Auto" have the rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from layer_wire import filters
from layer_wire.filters import Filter, Written
from layer_wire.jsontext import Raw

RANK_CONSTANT_DEFAULT: Final = 60
ROWS_PER_LEG_MIN: Final = 50
ROWS_PER_LEG_MAX: Final = 200
"""How deep a leg goes at least and at most where the caller does not say."""

ROWS_PER_LEG_FACTOR: Final = 5
THREADS_DEFAULT: Final = 8
THREADS_MAX: Final = 32

Fuzziness = Literal["auto", 0, 1, 2]
StopWords = Literal["en", False] | list[str]


class SearchRoute(StrEnum):
    """A kind of search; the value is how the contract spells it."""

    HYBRID_TEXT = "hybrid_text"
    SEMANTIC = "semantic"
    FUSED = "fused"

    @property
    def needs_vector(self) -> bool:
        return self is not SearchRoute.HYBRID_TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which rows a search may find, and what of them is wanted."""

    top_k: int
    filter: Filter | None
    written: Written | None
    include_attributes: bool | list[str] | None
    drops_vector: bool
    with_leg_breakdown: bool
    cursor: str | None
    """As it came: which kind it must be depends on the route."""
    consistency: Literal["eventual", "strong"] = "eventual"

    def filtered(self, added: Filter | None = None) -> Filter | None:
        """Return the filter of a leg: the caller's own with ``added`` around it."""
        return filters.both(self.filter, added)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSearch:
    """A checked search by text that forgives misspellings."""

    scope: Scope
    field: str
    text: str
    fuzziness: Fuzziness = "auto"
    stop_words: StopWords = "en"
    rank_constant: int = RANK_CONSTANT_DEFAULT
    per_leg_limit: int | None = None
    """Rows of each leg; None leaves it to the depth of the page."""
    threads: int = THREADS_DEFAULT
    """Shards that a leg asks at once."""

    @property
    def drops_vector(self) -> bool:
        """Tell whether the caller named ``vector``, which a search never returns."""
        return self.scope.drops_vector

    def rows_per_leg(self, page_end: int) -> int:
        """Return how many rows of each leg are fused for a page that ends there."""
        if self.per_leg_limit is not None:
            return self.per_leg_limit
        return min(max(ROWS_PER_LEG_FACTOR * page_end, ROWS_PER_LEG_MIN), ROWS_PER_LEG_MAX)

    @property
    def edits_max(self) -> int:
        """Return how many edits the longest words are forgiven."""
        return 2 if self.fuzziness == "auto" else self.fuzziness


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoSearch:
    """A checked search whose route layer chooses."""

    text_search: TextSearch
    route: SearchRoute | None
    """The route that the caller insists on."""
    rank_by: Raw | None
    """How the semantic leg ranks; None without a vector."""

    @property
    def drops_vector(self) -> bool:
        """Tell whether the caller named ``vector``, which a search never returns."""
        return self.text_search.drops_vector
