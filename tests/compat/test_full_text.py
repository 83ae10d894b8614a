"""The full-text and hybrid guides."""

from __future__ import annotations

from typing import Any

import pytest

ENGINES = [
    "turbopuffer is a fast search engine with FTS, filtering, and vector search support",
    "turbopuffer can store billions and billions of documents cheaper than any other search engine",
    (
        "turbopuffer will support many more types of queries as it evolves. "
        "turbopuffer will only get faster."
    ),
]
BREAKFASTS = [
    "Muesli: A quick mix of raw oats, nuts and dried fruit served with cold milk",
    "Classic chia seed pudding is a cold breakfast that takes 5 minutes to prepare",
    "Overnight oats: Mix oats with milk, refrigerate overnight for a delicious chilled breakfast",
    "Hot oatmeal is a quick and healthy breakfast",
    "Breakfast sandwich: A little extra prep, but worth it on Sunday mornings!",
]
CRAVING = "quick breakfast like oatmeal but cold"
"""The texts whose rankings the guides print."""


def test_bm25_ranks_as_the_guide_shows(ns: Any, ids: Any) -> None:
    ns.write(
        upsert_rows=[{"id": at, "content": text} for at, text in enumerate(ENGINES, start=1)],
        schema={"content": {"type": "string", "full_text_search": True}},
    )
    ranked: dict[str, Any] = {"rank_by": ("content", "BM25", "turbopuffer"), "limit": 10}
    assert ids(ns.query(**ranked, include_attributes=["content"])) == [3, 1, 2]
    engines = ("content", "ContainsAllTokens", "search engine")
    assert ids(ns.query(**ranked, filters=engines)) == [1, 2]


@pytest.fixture
def breakfasts(ns: Any) -> Any:
    vectors = [[0.9, 0.4], [0.8, 0.5], [0.7, 0.6], [0.95, 0.3], [0.1, 0.9]]
    ns.write(
        upsert_rows=[
            {"id": at, "vector": vector, "content": text}
            for at, (vector, text) in enumerate(zip(vectors, BREAKFASTS, strict=True), start=1)
        ],
        distance_metric="cosine_distance",
        # The guide's ranking is from when stop words were removed unless one said otherwise.
        schema={"content": {"type": "string", "full_text_search": {"remove_stopwords": True}}},
    )
    return ns


def test_the_hybrid_guide_asks_by_vector_and_text_at_once(breakfasts: Any, ids: Any) -> None:
    answer = breakfasts.multi_query(
        queries=[
            {"rank_by": ("vector", "ANN", [1.0, 0.3]), "limit": 10},
            {"rank_by": ("content", "BM25", CRAVING), "limit": 10},
        ]
    )
    by_vector, by_text = (ids(part) for part in answer.results)
    assert (by_vector, by_text) == ([4, 1, 2, 3, 5], [4, 1, 2, 5, 3])


def test_the_store_fuses_as_the_guide_does_by_hand(breakfasts: Any, ids: Any) -> None:
    queries: list[Any] = [
        {"rank_by": ("vector", "ANN", [0.1, 0.9]), "limit": 10},
        {"rank_by": ("content", "BM25", CRAVING), "limit": 10},
    ]
    scores: dict[int, float] = {}
    for part in breakfasts.multi_query(queries=queries).results:
        for rank, row in enumerate(part.rows, start=1):
            scores[row.id] = scores.get(row.id, 0) + 1 / (60 + rank)
    by_hand = sorted(scores, key=lambda id_: (-scores[id_], id_))

    fused = breakfasts.multi_query(queries=queries, rerank_by=("RRF",), limit=4)
    assert ids(fused.results[0]) == by_hand[:4]
    assert [row["$dist"] for row in fused.results[0].rows] == pytest.approx(
        [scores[id_] for id_ in by_hand[:4]]
    )
    by_text_alone = breakfasts.multi_query(
        queries=queries,
        rerank_by=("RRF", {"rank_constant": 1, "weights": [0.001, 1]}),
        limit=5,
        offset=0,
    )
    assert ids(by_text_alone.results[0]) == [4, 1, 2, 5, 3]


def test_hits_in_titles_and_tags_weigh_more(ns: Any, ids: Any) -> None:
    stemmed = {"language": "english", "stemming": True, "remove_stopwords": True}
    ns.write(
        upsert_rows=[
            {
                "id": 1,
                "title": "Getting Started with Python",
                "content": "Learn Python basics including variables, functions, and classes",
                "tags": ["python", "programming", "beginner"],
                "language": "en",
                "publish_date": 1709251200,
            },
            {
                "id": 2,
                "title": "Advanced TypeScript Tips",
                "content": "Discover advanced TypeScript features and type system tricks",
                "tags": ["typescript", "javascript", "advanced"],
                "language": "en",
                "publish_date": 1709337600,
            },
            {
                "id": 3,
                "title": "Python vs JavaScript",
                "content": "Compare Python and JavaScript for web development",
                "tags": ["python", "javascript", "comparison"],
                "language": "en",
                "publish_date": 1709424000,
            },
        ],
        schema={
            "title": {"type": "string", "full_text_search": {**stemmed, "case_sensitive": False}},
            "content": {"type": "string", "full_text_search": stemmed},
            "tags": {
                "type": "[]string",
                "full_text_search": {
                    "stemming": False,
                    "remove_stopwords": False,
                    "case_sensitive": True,
                },
            },
        },
    )
    found = ns.query(
        rank_by=(
            "Sum",
            (
                ("Product", 3, ("title", "BM25", "python beginner")),
                ("Product", 2, ("tags", "BM25", "python beginner")),
                ("content", "BM25", "python beginner"),
            ),
        ),
        filters=("And", (("publish_date", "Gte", 1709251200), ("language", "Eq", "en"))),
        limit=10,
        include_attributes=["title", "tags"],
    )
    assert ids(found) == [1, 3]


def test_users_may_cut_text_into_tokens_themselves(ns: Any, ids: Any) -> None:
    ns.write(
        upsert_rows=[
            {"id": 1, "content": ["we", "hold", "these", "truths", "to", "be", "self-evident"]},
            {"id": 2, "content": ["for", "my", "own", "self", "it", "seemed", "evident"]},
        ],
        schema={
            "content": {
                "type": "[]string",
                "full_text_search": {"tokenizer": "pre_tokenized_array"},
            }
        },
    )
    for tokens, matching in ((["self", "evident"], [2]), (["self-evident"], [1])):
        assert ids(ns.query(rank_by=("content", "BM25", tokens), limit=10)) == matching
    both = ("content", "ContainsAllTokens", ["self", "own"])
    assert ids(ns.query(rank_by=("id", "asc"), limit=10, filters=both)) == [2]


@pytest.fixture
def walruses(ns: Any) -> Any:
    texts = ["walrus is lazy", "lazy old walrus", "polar bear and lazy walrus", "walnut cake"]
    ns.write(
        upsert_rows=[{"id": at, "text": text} for at, text in enumerate(texts, start=1)],
        schema={"text": {"type": "string", "full_text_search": True}},
    )
    return ns


def test_phrases_and_prefixes_filter(walruses: Any, ids: Any) -> None:
    prefix = {"last_as_prefix": True}
    both = ("text", "ContainsAllTokens", "lazy walrus")
    conditions: list[tuple[Any, list[int]]] = [
        (("text", "ContainsTokenSequence", "walrus is lazy"), [1]),
        (both, [1, 2, 3]),
        (("And", [both, ("Not", ("text", "ContainsAllTokens", "polar bear"))]), [1, 2]),
        (("text", "ContainsAllTokens", "lazy wal", prefix), [1, 2, 3]),
        (("text", "ContainsAnyToken", "bear wal", prefix), [1, 2, 3, 4]),
        (("text", "ContainsAnyToken", "bear cake"), [3, 4]),
    ]
    for condition, kept in conditions:
        found = walruses.query(rank_by=("id", "asc"), limit=10, filters=condition)
        assert ids(found) == kept, condition


def test_a_prefix_counts_one_in_a_score(walruses: Any) -> None:
    found = walruses.query(rank_by=("text", "BM25", "wal", {"last_as_prefix": True}), limit=10)
    assert [(row.id, row["$dist"]) for row in found.rows] == [(at, 1.0) for at in (1, 2, 3, 4)]


def test_operators_combine_scores(ns: Any, ids: Any) -> None:
    ns.write(
        upsert_rows=[
            {"id": 1, "title": "whale facts", "description": "short", "content": "a huge whale"},
            {"id": 2, "title": "facts", "description": "whale facts", "content": "small fish"},
            {"id": 3, "title": "other", "description": "other", "species": "whale"},
        ],
        schema={
            name: {"type": "string", "full_text_search": True}
            for name in ("title", "description", "content")
        },
    )
    nested = (
        "Sum",
        [
            ("Max", [("title", "BM25", "whale facts"), ("description", "BM25", "whale facts")]),
            ("content", "BM25", "huge whale"),
        ],
    )
    boosted = ("Sum", [("title", "BM25", "facts"), ("Product", 9.0, ("species", "Eq", "whale"))])
    assert ids(ns.query(rank_by=nested, limit=10)) == [1, 2]
    assert ids(ns.query(rank_by=boosted, limit=10)) == [3, 2, 1]
    assert ids(ns.query(rank_by=("Product", 2.0, ("species", "Eq", "whale")), limit=10)) == [3]


def test_the_exact_spelling_goes_before_a_similar_one(ns: Any, ids: Any) -> None:
    ns.write(
        upsert_rows=[
            {"id": 1, "company_name": "turbopuffer inc"},
            {"id": 2, "company_name": "the turbopufer company"},
            {"id": 3, "company_name": "TURBOPUFER"},
        ],
        schema={"company_name": {"type": "string", "glob": True, "fuzzy": True}},
    )
    similar = {"max_edit_distance": [{"min_query_chars": 6, "distance": 1}]}
    rank_by = (
        "Sum",
        [
            ("Product", 3, ("company_name", "Glob", "*turbopufer*")),
            ("company_name", "Fuzzy", "turbopufer", similar),
        ],
    )
    assert ids(ns.query(rank_by=rank_by, limit=10)) == [2, 1]
    any_case = ("company_name", "Fuzzy", "turbopufer", {**similar, "case_sensitive": False})
    assert ids(ns.query(rank_by=("id", "asc"), limit=10, filters=any_case)) == [1, 2, 3]


def test_matching_parts_of_a_text_are_highlighted(walruses: Any) -> None:
    found = walruses.query(
        rank_by=("text", "BM25", "lazy"),
        limit=1,
        compute_attributes={
            "shown": ("Highlight", "text", {"include_offsets": "utf-8", "fragment_limit": 2})
        },
    )
    assert found.rows[0]["shown"] == [
        {"text": "walrus is lazy", "fragment_range": [0, 14], "match_ranges": [[10, 14]]}
    ]
