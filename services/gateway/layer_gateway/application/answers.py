"""What queries are answered with, whatever their form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from layer_gateway.domain.federation import Merge, MergeMethod
from layer_gateway.domain.routing import Routing
from layer_gateway.ports.stores import StoreAnswer
from layer_kit.names import Namespace
from layer_wire.jsontext import RawObject
from layer_wire.searches import Fuzziness, StopWords


@dataclass(frozen=True, slots=True, kw_only=True)
class HybridReport:
    """How a hybrid search was carried out."""

    tokens: Sequence[str]
    tokens_dropped_count: int
    stop_words: StopWords
    stop_words_dropped_count: int
    fuzziness: Fuzziness
    rank_constant: int
    legs_count: int
    per_leg_limit: int
    is_surfaced: bool
    """Whether rows were found by their misspelt words alone, for want of any other."""
    threads: int | None
    """Shards that each leg asked at once; None where the namespace is in none."""


class QueryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Rows in rank order, or the store's own answer when it refused."""

    rows: list[RawObject] = msgspec.field(default_factory=list)
    next_cursor: str | None = None
    stable_as_of_ms: int | None = None
    """The watermark of the namespace; None while none is known."""
    refusal: StoreAnswer | None = None
    hybrid: HybridReport | None = None
    routing: Routing | None = None
    """The route of a search that left it to layer."""
    is_deferred: bool = False
    """Whether nothing was asked, since the route needs a vector that the caller must bring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceFailure:
    """Why a namespace contributed nothing."""

    namespace: Namespace
    message: str
    code: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceResult:
    """What a namespace contributed."""

    namespace: Namespace
    stable_as_of_ms: int | None
    matched_count: int
    hybrid: HybridReport | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FederatedAnswer:
    """The best rows of all namespaces, or the store's refusal of the request as such."""

    rows: Sequence[RawObject] = ()
    merge: Merge = field(default_factory=lambda: Merge(method=MergeMethod.RANK_INTERLEAVE))
    hybrid: HybridReport | None = None
    routing: Routing | None = None
    is_deferred: bool = False
    results: Sequence[NamespaceResult] = ()
    failures: Sequence[NamespaceFailure] = ()
    refusal: StoreAnswer | None = None

    @property
    def stable_as_of_ms(self) -> int | None:
        """The earliest watermark of those known."""
        known = [r.stable_as_of_ms for r in self.results if r.stable_as_of_ms is not None]
        return min(known, default=None)
