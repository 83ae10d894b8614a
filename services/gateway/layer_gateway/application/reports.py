"""What is told of how a query was carried out, to callers and to history: the contract's words."""

from __future__ import annotations

from layer_gateway.application.answers import FederatedAnswer, HybridReport, QueryAnswer


def reports(answer: QueryAnswer | FederatedAnswer) -> dict[str, object]:
    """Return the parts of an answer that say how it came about; none of a plain query."""
    found: dict[str, object] = {}
    if answer.hybrid is not None:
        found["hybrid"] = _hybrid(answer.hybrid)
    if answer.routing is not None:
        found["routing"] = {
            "route": answer.routing.route,
            "policy": answer.routing.policy,
            "tokens": answer.routing.tokens_count,
            "executed": not answer.is_deferred,
        }
    return found


def _hybrid(report: HybridReport) -> dict[str, object]:
    found: dict[str, object] = {
        "tokens": report.tokens,
        "tokens_dropped": report.tokens_dropped_count,
        "stopwords": report.stop_words,
        "stopwords_dropped": report.stop_words_dropped_count,
        "fuzziness": report.fuzziness,
        "rank_constant": report.rank_constant,
        "legs": report.legs_count,
        "per_leg_limit": report.per_leg_limit,
    }
    if report.is_surfaced:
        found["surfaced"] = True
    if report.threads is not None:
        found["threads"] = report.threads
    return found
