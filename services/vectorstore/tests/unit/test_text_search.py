from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from layer_vectorstore.domain.analysis import analyzer_of
from layer_vectorstore.domain.errors import RefusedError
from layer_vectorstore.domain.schema import FullTextSearch

TEXT = {"text": {"type": "string", "full_text_search": True}}
WORDS = st.sampled_from(["fox", "dog", "cat", "foxes", "the", "fog"])
TEXTS = st.lists(WORDS, max_size=6).map(" ".join)


def terms(text: str | list[str], **options: Any) -> list[str]:
    return analyzer_of(FullTextSearch(**options)).terms(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("can't stop 3.14, e.g. foo_bar!", ["can't", "stop", "3.14", "e.g", "foo_bar"]),
        ("Grüße, ДИЮ 日本", ["grüße", "дию", "日", "本"]),
        ("hi 😀 there …", ["hi", "😀", "there"]),
        ("", []),
    ],
)
def test_words_are_letters_digits_ideographs_and_emoji(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


def test_older_tokenizers_differ_in_ideographs_and_emoji() -> None:
    assert terms("日本 a-b 😀", tokenizer="word_v2") == ["日", "本", "a", "b", "😀"]
    assert terms("日本 a-b 😀", tokenizer="word_v1") == ["日本", "a", "b", "😀"]
    assert terms("日本 a-b 😀", tokenizer="word_v0") == ["日本", "a", "b"]


def test_each_step_of_the_analysis_can_be_switched() -> None:
    assert terms("The Running Dogs") == ["the", "running", "dogs"]
    assert terms("The Running Dogs", case_sensitive=True) == ["The", "Running", "Dogs"]
    assert terms("The Running Dogs", stemming=True) == ["the", "run", "dog"]
    assert terms("The Running Dogs", remove_stopwords=True) == ["running", "dogs"]
    assert terms("Café ÆON", ascii_folding=True) == ["cafe", "aeon"]
    assert terms("ab abc abcd éé", max_token_length=3) == ["ab", "abc"]
    assert terms("die Häuser", language="german", stemming=True, remove_stopwords=True) == ["haus"]
    assert terms(["The x", "y!"], tokenizer="pre_tokenized_array") == ["The x", "y!"]


@settings(max_examples=80, deadline=None)
@given(
    texts=st.lists(TEXTS | st.none(), min_size=1, max_size=8),
    query=TEXTS.filter(bool),
    k1=st.floats(0.001, 3),
    b=st.floats(0, 1),
    deleted=st.sets(st.integers(0, 7), max_size=3),
)
@example(texts=["fox dog", "dog"], query="dog", k1=1.0, b=1e-12, deleted=set())
def test_bm25_ranks_and_scores_as_the_formula_says(
    new_store: Callable[..., Any],
    *,
    texts: list[str | None],
    query: str,
    k1: float,
    b: float,
    deleted: set[int],
) -> None:
    store = new_store()
    options = {"k1": k1, "b": b, "tokenizer": "word_v4"}
    store.write(
        {
            "schema": {"text": {"type": "string", "full_text_search": options}},
            "upsert_columns": {"id": list(range(len(texts))), "text": texts},
        }
    )
    # What was deleted counts for nothing, neither as a document nor in the mean length.
    store.write({"deletes": sorted(deleted)})
    documents = {
        index: text.split()
        for index, text in enumerate(texts)
        if text is not None and index not in deleted
    }

    rows = store.query({"rank_by": ["text", "BM25", query], "limit": 10})["rows"]

    expected = naive_bm25(documents, query.split(), k1, b)
    assert {row["id"] for row in rows} == set(expected)
    for row in rows:
        assert row["$dist"] == pytest.approx(expected[row["id"]], rel=1e-5)
    assert rows == sorted(rows, key=lambda row: (-row["$dist"], row["id"]))


def naive_bm25(
    documents: dict[int, list[str]], query: list[str], k1: float, b: float
) -> dict[int, float]:
    scores: dict[int, float] = {}
    mean = sum(len(words) for words in documents.values()) / max(len(documents), 1)
    for term, repeats in Counter(query).items():
        holding = sum(term in words for words in documents.values())
        idf = math.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))
        for key, words in documents.items():
            if count := words.count(term):
                saturation = count + k1 * (1 - b + b * len(words) / mean)
                weight = idf * repeats * 9 / (8 + repeats)
                scores[key] = scores.get(key, 0) + weight * count * (k1 + 1) / saturation
    return scores


def test_rows_replaced_and_patched_are_found_by_their_new_text(store: Any) -> None:
    store.upsert({"id": 1, "text": "red fox"}, {"id": 2, "text": "blue dog"}, schema=TEXT)
    store.upsert({"id": 1, "text": "green dog"})
    store.write({"patch_rows": [{"id": 2, "text": "blue fox"}]})

    for word, expected in (("fox", [2]), ("dog", [1]), ("red", []), ("blue", [2])):
        rows = store.query({"rank_by": ["text", "BM25", word], "limit": 5})["rows"]
        assert [row["id"] for row in rows] == expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (["text", "ContainsAllTokens", "quick fox"], [1, 2]),
        (["text", "ContainsAnyToken", "slow dog"], [2, 3]),
        (["text", "ContainsTokenSequence", "quick fox"], [2]),
        (["text", "ContainsTokenSequence", "quick brown"], [1]),
        (["text", "ContainsAllTokens", "quick br", {"last_as_prefix": True}], [1]),
        (["text", "ContainsAllTokens", "quick br"], []),
        (["text", "ContainsAnyToken", "slo", {"last_as_prefix": True}], [2]),
        (["Not", ["text", "ContainsAnyToken", "quick"]], [3, 4]),
        (["text", "ContainsAllTokens", ""], []),
    ],
)
def test_token_filters(store: Any, condition: list[Any], expected: list[int]) -> None:
    store.upsert(
        {"id": 1, "text": "the quick brown fox"},
        {"id": 2, "text": "quick fox, slow"},
        {"id": 3, "text": "a dog"},
        {"id": 4},
        schema=TEXT,
    )

    assert store.ids(condition) == expected


def test_a_phrase_does_not_close_the_gap_of_a_dropped_word(store: Any) -> None:
    full_text = {"remove_stopwords": True}
    schema = {"text": {"type": "string", "full_text_search": full_text}}
    store.upsert({"id": 1, "text": "fox and dog"}, {"id": 2, "text": "fox dog"}, schema=schema)

    assert store.ids(["text", "ContainsTokenSequence", "fox dog"]) == [2]
    assert store.ids(["text", "ContainsTokenSequence", "fox or dog"]) == [1]


def test_a_long_phrase_in_a_long_text_is_one_search(store: Any) -> None:
    store.upsert({"id": 1, "text": "b " + "a " * 20_000}, {"id": 2, "text": "x a a b"}, schema=TEXT)

    def found(words: str) -> list[int]:
        ids: list[int] = store.ids(["text", "ContainsTokenSequence", words])
        return ids

    assert found("a " * 3000 + "b") == []
    assert found("b " + "a " * 3000) == [1]
    assert found("a a b") == [2]


def test_scores_combine(store: Any) -> None:
    store.upsert(
        {"id": 1, "text": "fox", "title": "dog", "n": 5, "u": 1},
        {"id": 2, "text": "dog", "title": "dog", "n": -5, "u": 7},
        {"id": 3, "text": "cat", "title": "cat", "n": 100},
        schema=TEXT
        | {"title": {"type": "string", "full_text_search": True}, "u": {"type": "uint"}},
    )

    def scores(rank: list[Any]) -> dict[int, float]:
        rows = store.query({"rank_by": rank, "limit": 5})["rows"]
        return {row["id"]: row["$dist"] for row in rows}

    fox, dog = scores(["text", "BM25", "fox"])[1], scores(["title", "BM25", "dog"])
    assert scores(["Sum", [["text", "BM25", "fox"], ["title", "BM25", "dog"]]]) == pytest.approx(
        {1: fox + dog[1], 2: dog[2]}, rel=1e-6
    )
    assert scores(["Max", [["text", "BM25", "fox"], 0.5]])[2] == 0.5
    assert scores(["Product", 2, ["text", "BM25", "fox"]]) == pytest.approx({1: 2 * fox}, rel=1e-6)
    assert scores(["Product", ["text", "BM25", "fox"], 0]) == {}
    assert scores(["Sum", [["n", "Gt", 0], ["Product", 3, ["n", "Eq", 5]]]]) == {1: 4.0, 3: 1.0}
    assert scores(["Attribute", "u"]) == {2: 7.0, 1: 1.0}
    assert scores(["Max", [["Attribute", "n"], 0]]) == {3: 100.0, 1: 5.0}
    assert scores(["Saturate", ["Attribute", "u"], {"midpoint": 7}]) == {2: 0.5, 1: 0.125}
    decay = ["Decay", ["Dist", ["Attribute", "n"], 5], {"midpoint": 10, "exponent": 2}]
    assert scores(decay) == pytest.approx({1: 1.0, 2: 0.5, 3: 100 / (100 + 95**2)}, rel=1e-6)
    prefix = ["text", "BM25", "fo", {"last_as_prefix": True}]
    assert scores(prefix) == {1: 1.0}


def test_decay_of_a_moment_takes_durations_and_ignores_missing_values(store: Any) -> None:
    store.upsert(
        {"id": 1, "at": "2024-01-01T06:00:00Z"},
        {"id": 2},
        schema={"at": "datetime"},
    )
    decay = ["Decay", ["Dist", ["Attribute", "at"], "2024-01-01"], {"midpoint": "6h"}]

    assert store.query({"rank_by": decay, "limit": 5})["rows"] == [{"id": 1, "$dist": 0.5}]


@pytest.mark.parametrize(
    ("rank", "message"),
    [
        (["title", "BM25", "x"], "has no full_text_search index"),
        (["none", "BM25", "x"], "not found in schema"),
        (
            ["words", "BM25", "x"],
            "invalid input 'x' for rank_by field \"words\", expecting []string",
        ),
        (["text", "BM25", ["x"]], 'for rank_by field "text", expecting string'),
        (["Attribute", "n"], "wrap it as"),
        (["Product", -1, ["text", "BM25", "x"]], "must not be negative"),
        (["Decay", ["Dist", ["Attribute", "n"], 0], {"midpoint": 0}], "greater than 0"),
        ([], "💔 rank_by cannot be empty"),
    ],
)
def test_impossible_scores_are_refused(store: Any, rank: list[Any], message: str) -> None:
    words = {"type": "[]string", "full_text_search": {"tokenizer": "pre_tokenized_array"}}
    store.upsert({"id": 1, "title": "x", "n": 1}, schema=TEXT | {"words": words})

    with pytest.raises(RefusedError) as raised:
        store.query({"rank_by": rank, "limit": 1})

    assert message in raised.value.message


def test_highlights_show_the_best_fragments(store: Any) -> None:
    text = "Nothing here. The quick fox ran. A dog slept. The fox met a quick dog."
    store.upsert({"id": 1, "text": text}, schema=TEXT)

    def highlight(**options: Any) -> Any:
        body = {
            "rank_by": ["text", "BM25", "quick fox"],
            "limit": 1,
            "compute_attributes": {"h": ["Highlight", "text", options]},
        }
        return store.query(body)["rows"][0]["h"]

    both = [{"text": "The quick fox ran."}, {"text": "The fox met a quick dog."}]
    assert highlight() == both
    assert highlight(fragment_limit=1) == both[:1]
    assert highlight(fragment_by="none") == [{"text": text}]
    assert highlight(fragment_by="word", fragment_limit=1, include_offsets="utf-8") == [
        {"text": "quick", "fragment_range": [18, 23], "match_ranges": [[18, 23]]}
    ]
    by_dogs = ["text", "BM25", "dog"]
    assert highlight(rank_fragments_by=by_dogs, fragment_limit=1) == [{"text": "A dog slept."}]


def test_highlights_show_what_a_prefix_or_a_list_of_words_found(store: Any) -> None:
    store.upsert({"id": 1, "text": "walruses walk, cats walk"}, schema=TEXT)

    def highlight(**query: Any) -> Any:
        options = {"fragment_by": "word", "include_offsets": "codepoints"}
        body = {"limit": 1, "compute_attributes": {"h": ["Highlight", "text", options]}}
        [row] = store.query({"rank_by": ["id", "asc"], **body, **query})["rows"]
        return [fragment["text"] for fragment in row["h"]]

    prefix = {"last_as_prefix": True}
    assert highlight(rank_by=["text", "BM25", "walru", prefix]) == ["walruses"]
    assert highlight(rank_by=["text", "BM25", "cats walr", prefix]) == ["walruses", "cats"]
    assert highlight(filters=["text", "ContainsAllTokens", "ca", prefix]) == ["cats"]
    words = ["text", "ContainsTokenSequence", ["walruses", "walk"]]
    assert highlight(filters=words) == ["walruses", "walk", "walk"]


def test_fragments_cannot_be_ranked_by_a_text_that_is_not_indexed(store: Any) -> None:
    store.upsert({"id": 1, "text": "a", "n": 1}, schema=TEXT)
    options = {"rank_fragments_by": ["n", "BM25", "a"]}

    with pytest.raises(RefusedError, match="full_text_search"):
        store.query(
            {
                "rank_by": ["id", "asc"],
                "limit": 1,
                "compute_attributes": {"h": ["Highlight", "text", options]},
            }
        )


@pytest.mark.parametrize("fragment_by", ["none", "sentence", "paragraph", "word"])
def test_matches_far_into_a_long_text_are_shown_where_they_are(
    store: Any, fragment_by: str
) -> None:
    store.upsert({"id": 1, "text": "A fox. É!\n\n" * 4000}, schema=TEXT)
    options = {"fragment_by": fragment_by, "include_offsets": "utf-8", "fragment_limit": 2}

    [row] = store.query(
        {
            "rank_by": ["text", "BM25", "fox"],
            "limit": 1,
            "compute_attributes": {"h": ["Highlight", "text", options]},
        }
    )["rows"]

    before = 12 * 3999 if fragment_by == "none" else 12
    assert row["h"][-1]["match_ranges"][-1] == [before + 2, before + 5]


def test_the_documented_score_is_met_to_the_last_digit(store: Any) -> None:
    """The quickstart prints this number, which settles the idf and the lengths of the formula."""
    store.upsert(
        {"id": 1, "text": "walrus narwhal"},
        {"id": 2, "text": "pufferfish clownfish swordfish"},
        schema=TEXT,
    )
    [row] = store.query({"rank_by": ["text", "BM25", "quick walrus"], "limit": 10})["rows"]
    assert row == {"id": 1, "$dist": 0.7549128}


def test_terms_may_be_listed_without_a_list(store: Any) -> None:
    store.upsert({"id": 1, "n": 2}, {"id": 2, "n": 5}, {"id": 3, "n": -1})
    for name, expected in (("Max", {1: 3, 2: 5, 3: 3}), ("Sum", {1: 5, 2: 8, 3: 3})):
        rank = [name, 3, ["Max", ["Attribute", "n"], 0]]
        rows = store.query({"rank_by": rank, "limit": 10})["rows"]
        assert {row["id"]: row["$dist"] for row in rows} == expected
