"""Tokens, fusion, the order of surfaced rows and the choice of a route, against slow models."""

from __future__ import annotations

import itertools
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layer_gateway.domain.fusion import fuse
from layer_gateway.domain.routing import choose_route
from layer_gateway.domain.surfacing import edit_distance, fnv1a_64, nearest_first
from layer_gateway.domain.tokens import ENGLISH_STOP_WORDS, search_tokens, tokens_of
from layer_wire.ids import JsonId
from layer_wire.searches import SearchRoute

IDS = st.integers(0, 9) | st.sampled_from("abcdefgh")
LEGS = st.lists(st.lists(IDS, max_size=8, unique=True), max_size=5)
SHORT = st.text(alphabet="abcé😀", max_size=9)


def test_tokens_of_the_worked_example() -> None:
    found = search_tokens("Hand hammar, a hand", ENGLISH_STOP_WORDS)
    assert found.tokens == ("hand", "hammar")
    assert (found.dropped_count, found.stopped_count) == (0, 0)


def test_tokens_are_distinct_lower_case_words_of_some_length() -> None:
    assert tokens_of("Can't STOP 3.14 x é ÉTÉ été — 日本 " + "w" * 40 + " " + "w" * 39) == [
        "can't",
        "stop",
        "3.14",
        "été",
        "w" * 39,
    ]


def test_the_length_of_a_token_is_bounded_in_bytes() -> None:
    assert tokens_of("é" * 19 + " " + "é" * 20) == ["é" * 19]


def test_stop_words_go_before_the_first_fifteen_are_taken() -> None:
    text = "the of " + " ".join(f"w{at}" for at in range(18)) + " and"
    found = search_tokens(text, ENGLISH_STOP_WORDS)
    assert found.tokens == tuple(f"w{at}" for at in range(15))
    assert (found.dropped_count, found.stopped_count) == (3, 3)
    assert search_tokens(text, ()).dropped_count == 6


@pytest.mark.parametrize(
    ("text", "expected"), [("to be or not", True), ("...", False), ("", False)]
)
def test_nothing_but_stop_words_is_told_from_nothing(text: str, expected: object) -> None:
    assert search_tokens(text, ENGLISH_STOP_WORDS).are_all_stopped is expected


def test_fusion_of_the_worked_example() -> None:
    fused = fuse([["t-2", "t-1", "t-5"], ["t-2", "t-1", "t-5"], ["t-1"]], 60)
    assert [id_ for id_, _ in fused] == ["t-1", "t-2", "t-5"]
    expected = [0.048651507139079855, 0.03278688524590164, 0.031746031746031744]
    assert [score for _, score in fused] == pytest.approx(expected, abs=1e-12)


@given(legs=LEGS, rank_constant=st.integers(1, 1000))
def test_fusion_sums_the_inverse_ranks(legs: list[list[JsonId]], rank_constant: int) -> None:
    fused = fuse(legs, rank_constant)
    assert {id_ for id_, _ in fused} == {id_ for leg in legs for id_ in leg}
    for id_, score in fused:
        ranks = [leg.index(id_) + 1 for leg in legs if id_ in leg]
        assert score == pytest.approx(sum(1 / (rank_constant + rank) for rank in ranks))
    for (first, better), (second, worse) in itertools.pairwise(fused):
        assert better > worse or (better == worse and order(first) < order(second))


@given(leg=st.lists(IDS, max_size=8, unique=True))
def test_one_leg_alone_keeps_its_order(leg: list[JsonId]) -> None:
    assert [id_ for id_, _ in fuse([leg], 60)] == leg


def order(id_: JsonId) -> tuple[int, JsonId]:
    return (0, id_) if isinstance(id_, int) else (1, id_)


@given(first=SHORT, second=SHORT)
def test_edit_distance_is_the_textbooks(first: str, second: str) -> None:
    @cache
    def slow(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        changed = slow(i - 1, j - 1) + (first[i - 1] != second[j - 1])
        return min(changed, slow(i - 1, j) + 1, slow(i, j - 1) + 1)

    assert edit_distance(first, second) == slow(len(first), len(second))


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"", 0xCBF29CE484222325), (b"a", 0xAF63DC4C8601EC8C), (b"foobar", 0x85944171F73967E8)],
)
def test_the_hash_has_the_published_values(data: bytes, expected: int) -> None:
    assert fnv1a_64(data) == expected


def test_the_nearest_word_decides_and_a_hash_breaks_ties() -> None:
    rows: list[tuple[JsonId, list[str]]] = [
        ("none", []),
        ("far", ["saw", "hamster"]),
        ("a", ["hammer"]),
        ("b", ["saw", "hammer"]),
        ("exact", ["hammar", "drill"]),
    ]
    tied = sorted(["a", "b"], key=lambda id_: fnv1a_64(id_.encode()))
    assert nearest_first("hammar", rows) == ["exact", *tied, "far", "none"]


@given(
    token=SHORT,
    rows=st.lists(st.tuples(IDS, st.lists(SHORT, max_size=3)), unique_by=lambda row: row[0]),
)
def test_surfaced_rows_are_ordered_by_distance_hash_and_id(
    token: str, rows: list[tuple[JsonId, list[str]]]
) -> None:
    def key(row: tuple[JsonId, list[str]]) -> tuple[float, int, tuple[int, JsonId]]:
        id_, words = row
        nearest = min((edit_distance(token, word) for word in words), default=float("inf"))
        return nearest, fnv1a_64(str(id_).encode()), order(id_)

    assert nearest_first(token, rows) == [id_ for id_, _ in sorted(rows, key=key)]


@pytest.mark.parametrize(
    ("tokens_count", "expected"),
    [
        (1, SearchRoute.HYBRID_TEXT),
        (2, SearchRoute.HYBRID_TEXT),
        (3, SearchRoute.FUSED),
        (7, SearchRoute.FUSED),
        (8, SearchRoute.SEMANTIC),
        (40, SearchRoute.SEMANTIC),
    ],
)
def test_the_length_of_a_text_chooses_its_route(tokens_count: int, expected: SearchRoute) -> None:
    routing = choose_route(None, tokens_count)
    assert (routing.route, routing.policy) == (expected, "v1")
    forced = choose_route(SearchRoute.FUSED, tokens_count)
    assert (forced.route, forced.policy) == (SearchRoute.FUSED, "forced")
