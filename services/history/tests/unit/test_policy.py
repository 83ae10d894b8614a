"""What a policy leaves out of a search."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from layer_history.domain.events import Query
from layer_history.domain.policy import REDACTED, Policy, Redaction, Redactor, check_policy
from layer_history_testing.parts import search
from layer_kit.errors import InvalidRequestError

CARD = "card 12345678"
SECRET = "12345678"


def redacted(policy: Policy, **summary: Any) -> tuple[str | None, dict[str, Any]]:
    """Return the text and the summary of a search as a policy has them kept."""
    query: Query = search(1, text=CARD)
    query.query = msgspec.Raw(json.dumps(summary).encode())
    Redactor(policy, b"key").redact(query)
    return query.raw_query, json.loads(bytes(query.query))


TYPED: list[list[Any]] = [
    ["text", "BM25", CARD],
    ["text", "HybridText", CARD, {"fuzziness": 1}],
    ["text", "BM25", [CARD, "red"], {"last_as_prefix": True}],
    ["vector", "ANN", ["Embed", CARD]],
    ["Sum", [["text", "BM25", CARD], ["Product", [2, ["title", "BM25", CARD]]]]],
]


@pytest.mark.parametrize("rank_by", TYPED, ids=json.dumps)
@pytest.mark.parametrize(
    "policy",
    [
        Policy(raw_query=Redaction.DROP),
        Policy(raw_query=Redaction.HASH),
        Policy(patterns=("[0-9]{4,}",)),
    ],
    ids=["drop", "hash", "patterns"],
)
def test_what_users_type_is_redacted_wherever_a_search_has_it(
    policy: Policy, rank_by: list[Any]
) -> None:
    legs = [{"rank_by": rank_by, "top_k": 3}]
    hybrid = {"tokens": ["card", SECRET], "legs": 2}
    text, summary = redacted(policy, rank_by=rank_by, queries=legs, hybrid=hybrid)
    assert SECRET not in f"{text}{summary}"
    assert summary["rank_by"][:2] == rank_by[:2] or rank_by[0] == "Sum"
    assert summary["queries"][0]["rank_by"] == summary["rank_by"]
    assert (summary["queries"][0]["top_k"], summary["hybrid"]["legs"]) == (3, 2)


def test_rankings_without_text_stay_as_they_are() -> None:
    for rank_by in (
        ["id", "asc"],
        [["price", "desc"], ["id", "asc"]],
        ["vector", "ANN", {"vector_len": 3}],
    ):
        _, summary = redacted(Policy(raw_query=Redaction.DROP), rank_by=rank_by)
        assert summary == {"rank_by": rank_by}


def test_patterns_replace_what_they_match_and_nothing_else() -> None:
    text, summary = redacted(
        Policy(patterns=("[0-9]{4,}",)), rank_by=["text", "BM25", CARD], filters=["n", "Eq", SECRET]
    )
    assert text == f"card {REDACTED}"
    assert summary == {
        "rank_by": ["text", "BM25", f"card {REDACTED}"],
        "filters": ["n", "Eq", SECRET],
    }


def test_a_text_with_very_many_matches_is_not_kept_at_all() -> None:
    text, summary = redacted(
        Policy(patterns=("[a-z]", "1")), rank_by=["text", "BM25", "red " * 2_000]
    )
    assert text == f"{REDACTED * 4} {REDACTED}2345678"
    assert summary["rank_by"][2] == REDACTED


@pytest.mark.parametrize(
    ("patterns", "what"),
    [
        (("(",), "has '(': missing )"),
        (("",), "is not 1 to 256 characters"),
        (("x" * 257,), "is not 1 to 256 characters"),
        (("x",) * 33, "has more than 32 patterns"),
        ((r"(?:\pL{10}|[^a]{300}){2}",) * 32, "are too much together"),
    ],
)
def test_patterns_that_cannot_be_kept_to_are_refused(patterns: tuple[str, ...], what: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        check_policy(Policy(patterns=patterns), has_key=True)
    assert refused.value.metadata["field"] == "redaction_patterns"
    assert what in refused.value.message


def test_patterns_do_not_disturb_each_other() -> None:
    text, _ = redacted(Policy(patterns=("(?P<n>CARD)|x", "(?i)(?P<n>d)$", "(?i)CAR")))
    assert text == f"{REDACTED}d 12345678"


def test_equal_texts_have_equal_hashes_wherever_they_are() -> None:
    text, summary = redacted(Policy(raw_query=Redaction.HASH), rank_by=["text", "BM25", CARD])
    assert summary["rank_by"][2] == text


def test_a_summary_without_anything_to_leave_out_stays_as_it_is() -> None:
    policy = Policy(filters=Redaction.HASH)
    assert redacted(policy, top_k=3) == (CARD, {"top_k": 3})
