"""Searches out of query bodies: what is accepted, what its parts mean, what is refused and why."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layer_kit.errors import InvalidRequestError
from layer_wire import filters
from layer_wire.jsontext import decode_object
from layer_wire.search_bodies import encode_offset, is_search, parse_offset, parse_search
from layer_wire.searches import AutoSearch, SearchRoute, TextSearch


def body(*rank_by: object, **fields: object) -> bytes:
    return msgspec.json.encode({"rank_by": rank_by, **fields})


def text_search(*options: object, **fields: object) -> TextSearch:
    found = parse_search(body("text", "HybridText", "hand saw", *options, **fields))
    assert isinstance(found, TextSearch)
    return found


def auto_search(*options: object) -> AutoSearch:
    found = parse_search(body("text", "Auto", "hand saw", *options))
    assert isinstance(found, AutoSearch)
    return found


def read(value: msgspec.Raw | None) -> Any:
    assert value is not None
    return msgspec.json.decode(value)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b'{"rank_by":["text","HybridText","a"]}', True),
        (b'{"rank_by": [ "te\\"xt" , "Auto", "a"], "limit": 3}', True),
        (b'{"rank_by":["text","BM25","HybridText"]}', False),
        (b'{"rank_by":["HybridText","asc"]}', False),
        (b'{"vector":[1]}', False),
    ],
)
def test_a_search_is_told_by_the_second_part_of_its_ranking(query: bytes, expected: object) -> None:
    assert is_search(decode_object(query)) is expected


def test_what_is_left_out_has_the_documented_defaults() -> None:
    search = text_search()
    assert (search.field, search.text, search.fuzziness) == ("text", "hand saw", "auto")
    assert (search.stop_words, search.rank_constant, search.threads) == ("en", 60, 8)
    assert (search.scope.top_k, search.scope.with_leg_breakdown) == (10, False)
    assert text_search({"fuzziness": None, "stopwords": None}, top_k=None) == search


def test_options_are_read() -> None:
    search = text_search(
        {
            "fuzziness": 1,
            "stopwords": ["The", "OF"],
            "rank_constant": 7,
            "per_leg_limit": 9,
            "threads": 99,
        },
        include_attributes=["vector", "kind"],
        include_leg_breakdown=True,
    )
    assert (search.fuzziness, search.edits_max, search.stop_words) == (1, 1, ["the", "of"])
    assert (search.rank_constant, search.rows_per_leg(1000), search.threads) == (7, 9, 32)
    assert (search.scope.include_attributes, search.scope.drops_vector) == (["kind"], True)
    assert search.scope.with_leg_breakdown
    assert text_search(consistency={"level": "strong"}).scope.consistency == "strong"


@pytest.mark.parametrize(("page_end", "expected"), [(2, 50), (10, 50), (30, 150), (500, 200)])
def test_legs_go_deeper_with_the_page_within_bounds(page_end: int, expected: int) -> None:
    assert text_search().rows_per_leg(page_end) == expected


def test_time_goes_around_every_other_filter() -> None:
    own, as_of = ["kind", "Eq", "saw"], ["_hevlayer_upserted_at", "Lte", 7]
    scope = text_search(filters=own, as_of=7).scope
    assert scope.written is not None
    assert (read(scope.filtered()), read(scope.written.filter)) == (own, as_of)
    added = filters.in_shard(3)
    found = filters.nested(scope.filtered(added), scope.written.filter)
    assert read(found) == ["And", [["And", [own, read(added)]], as_of]]


def test_fuzzy_filters_forgive_as_much_as_the_length_of_the_token_allows() -> None:
    rules = [
        {"min_query_chars": 3, "distance": 0},
        {"min_query_chars": 6, "distance": 1},
        {"min_query_chars": 9, "distance": 2},
    ]
    for edits_max in range(3):
        found = read(filters.fuzzy("text", "hand", edits_max))
        assert found == ["text", "Fuzzy", "hand", {"max_edit_distance": rules[: edits_max + 1]}]


@pytest.mark.parametrize(
    ("vector", "expected"),
    [
        ([0.5, 1], ["vector", "ANN", [0.5, 1]]),
        ("AAAAPw==", ["vector", "ANN", "AAAAPw=="]),
        (["Embed", "hi"], ["vector", "ANN", ["Embed", "hi"]]),
        (
            ["Embed", "hi", {"field": "v2", "model": "m"}],
            ["v2", "ANN", ["Embed", "hi", {"model": "m"}]],
        ),
    ],
)
def test_the_semantic_leg_ranks_by_a_vector_or_by_a_text(vector: object, expected: object) -> None:
    assert read(auto_search({"vector": vector}).rank_by) == expected


def test_a_route_may_be_insisted_on() -> None:
    assert auto_search().route is None
    assert auto_search({"route": "auto"}).route is None
    assert auto_search({"route": "fused"}).route is SearchRoute.FUSED


@pytest.mark.parametrize(
    ("query", "word"),
    [
        (body("text", "HybridText"), "rank_by"),
        (body("text", "HybridText", "a", {}, 1), "rank_by"),
        (body("", "HybridText", "a"), "rank_by[0]"),
        (body("text", "HybridText", 7), "rank_by[2]"),
        (body("text", "HybridText", "a" * 8193), "rank_by[2]"),
        (body("text", "HybridText", "a", 7), "rank_by[3]"),
        (body("text", "HybridText", "a", {"route": "auto"}), "`route`"),
        (body("text", "HybridText", "a", {"fuzziness": 3}), "fuzziness"),
        (body("text", "HybridText", "a", {"fuzziness": "much"}), "fuzziness"),
        (body("text", "HybridText", "a", {"stopwords": "de"}), "stopwords"),
        (body("text", "HybridText", "a", {"stopwords": True}), "stopwords"),
        (body("text", "HybridText", "a", {"stopwords": ["b"] * 1001}), "stopwords"),
        (body("text", "HybridText", "a", {"rank_constant": 0}), "rank_constant"),
        (body("text", "HybridText", "a", {"per_leg_limit": 0}), "per_leg_limit"),
        (body("text", "HybridText", "a", {"per_leg_limit": 10001}), "per_leg_limit"),
        (body("text", "HybridText", "a", {"threads": 0}), "threads"),
        (body("text", "HybridText", "a", vector=[1]), "vector"),
        (body("text", "Auto", "a", nearest_to_id=["b"]), "nearest_to_id"),
        (body("text", "HybridText", "a", top_k=0), "top_k"),
        (body("text", "HybridText", "a", as_of=1, between=[1, 2]), "as_of"),
        (body("text", "Auto", "a", {"rank_constant": 7}), "`rank_constant`"),
        (body("text", "Auto", "a", {"route": "best"}), "route"),
        (body("text", "Auto", "a", {"vector": []}), "vector"),
        (body("text", "Auto", "a", {"vector": {}}), "vector"),
        (body("text", "Auto", "a", {"vector": ["a", "b"]}), "vector"),
        (body("text", "Auto", "a", {"vector": ["Embed"]}), "vector"),
        (body("text", "Auto", "a", {"vector": ["Embed", "b", {"dims": 3}]}), "`dims`"),
    ],
)
def test_a_bad_search_is_refused_by_the_name_of_what_is_wrong(query: bytes, word: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        parse_search(query)
    assert word in refusal.value.message
    assert refusal.value.http_status == 422


def test_the_documented_cursor_is_read_and_written() -> None:
    assert encode_offset(2) == "eyJvZmZzZXQiOjJ9"
    assert parse_offset("eyJvZmZzZXQiOjJ9", 10) == 2
    assert parse_offset(None, 10_000) == 0


@given(offset=st.integers(0, 9_999))
def test_a_cursor_survives_the_round_trip(offset: int) -> None:
    assert parse_offset(encode_offset(offset), 1) == offset


@pytest.mark.parametrize(
    ("cursor", "reason"),
    [
        ("%%%", "CURSOR_INVALID"),
        ("e30", "CURSOR_INVALID"),
        ("eyJkaXN0IjowLjI1LCJpZCI6InQtNSJ9", "CURSOR_INVALID"),
        ("eyJvZmZzZXQiOi0xfQ", "CURSOR_INVALID"),
        (encode_offset(9_991), "PAGE_TOO_DEEP"),
        ("é", "CURSOR_INVALID"),
    ],
)
def test_a_cursor_of_another_kind_or_too_deep_is_refused(cursor: str, reason: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        parse_offset(cursor, 10)
    assert refusal.value.reason == reason
