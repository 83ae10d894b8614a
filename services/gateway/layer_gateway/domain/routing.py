"""Which kind of search suits a text: the policy of ``Auto``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from layer_wire.searches import SearchRoute

POLICY: Final = "v1"
FORCED: Final = "forced"
LEXICAL_TOKENS_MAX: Final = 2
"""Up to here a text is a name or a code, which its letters find best."""

SEMANTIC_TOKENS_MIN: Final = 8
"""From here on it is a sentence, which its meaning finds best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """The route chosen for a search, and why."""

    route: SearchRoute
    policy: str
    tokens_count: int
    """Distinct tokens of the text, stop words among them."""


def choose_route(forced: SearchRoute | None, tokens_count: int) -> Routing:
    """Return the forced route, or the one that the length of the text suggests."""
    if forced is not None:
        return Routing(route=forced, policy=FORCED, tokens_count=tokens_count)
    if tokens_count <= LEXICAL_TOKENS_MAX:
        route = SearchRoute.HYBRID_TEXT
    elif tokens_count >= SEMANTIC_TOKENS_MIN:
        route = SearchRoute.SEMANTIC
    else:
        route = SearchRoute.FUSED
    return Routing(route=route, policy=POLICY, tokens_count=tokens_count)
