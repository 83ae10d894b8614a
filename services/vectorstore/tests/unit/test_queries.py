from __future__ import annotations

from typing import Any

import pytest

from layer_kit.errors import LayerError, NotFoundError
from layer_vectorstore.domain.errors import RefusedError
from layer_vectorstore.domain.query_parsing import parse_query
from layer_vectorstore.domain.schema_parsing import schema_answer

PER_COLOR = {"attributes": ["color"], "limit": 1}
BY_ID = {"rank_by": ["id", "asc"], "limit": 10}


@pytest.fixture
def shop(store: Any) -> Any:
    store.upsert(
        {"id": 1, "color": "red", "price": 5, "tags": ["a", "b"], "vector": [1, 0]},
        {"id": 2, "color": "blue", "price": 7, "tags": ["b", "b"], "vector": [0, 1]},
        {"id": 3, "color": "red", "price": 2, "tags": [], "vector": [1, 1]},
        {"id": 4, "price": 1, "vector": [0.7, 0.1]},
        distance_metric="euclidean_squared",
    )
    return store


def test_rows_carry_the_attributes_asked_for(shop: Any) -> None:
    def first(**fields: Any) -> Any:
        return shop.query(BY_ID | fields)["rows"][0]

    assert first() == first(include_attributes=False) == first(include_attributes=[]) == {"id": 1}
    assert first(include_attributes=["price", "id"]) == {"id": 1, "price": 5}
    assert first(exclude_attributes=["vector", "tags", "unknown"]) == {
        "id": 1,
        "color": "red",
        "price": 5,
    }
    assert first(include_attributes=True)["vector"] == [1.0, 0.0]
    assert shop.query(BY_ID | {"include_attributes": True})["rows"][3] == {
        "id": 4,
        "price": 1,
        "vector": [0.7, 0.1],
    }


def test_aggregations(shop: Any) -> None:
    both = {"n": ["Count"], "total": ["Sum", "price"]}

    def ask(**fields: Any) -> Any:
        return shop.query({"aggregate_by": both, **fields})

    assert ask() == {"aggregations": {"n": 4, "total": 15}}
    assert ask(filters=["price", "Gt", 100]) == {"aggregations": {"n": 0, "total": 0}}
    assert ask(group_by=["color"]) == {
        "aggregation_groups": [
            {"color": None, "n": 1, "total": 1},
            {"color": "blue", "n": 1, "total": 7},
            {"color": "red", "n": 2, "total": 7},
        ]
    }
    assert ask(group_by=["color", {"tag": ["ForEachUnique", "tags"]}], limit=2) == {
        "aggregation_groups": [
            {"color": "blue", "tag": "b", "n": 1, "total": 7},
            {"color": "red", "tag": "a", "n": 1, "total": 5},
        ]
    }


def test_sums_do_not_wrap_around(store: Any) -> None:
    store.upsert({"id": 1, "n": 2**63 - 1}, {"id": 2, "n": 2**63 - 1})

    total = store.query({"aggregate_by": {"s": ["Sum", "n"]}})["aggregations"]["s"]
    assert total == 2**64 - 2


def test_limit_per_keeps_the_first_of_each_kind(shop: Any) -> None:
    limit = {"total": 10, "per": {"attributes": ["color"], "limit": 1}}
    rows = shop.query({"rank_by": ["price", "asc"], "limit": limit})["rows"]

    assert [row["id"] for row in rows] == [4, 3, 2]


def test_a_multi_query_answers_in_order_from_one_state(shop: Any) -> None:
    answer = shop.query(
        {
            "queries": [
                {"rank_by": ["price", "desc"], "limit": 1},
                {"aggregate_by": {"n": ["Count"]}},
            ]
        }
    )

    assert answer == {"results": [{"rows": [{"id": 2}]}, {"aggregations": {"n": 4}}]}


def test_fusion_adds_reciprocal_ranks(shop: Any) -> None:
    legs = [
        {"rank_by": ["price", "asc"], "limit": 3},  # 4 3 1
        {"rank_by": ["id", "asc"], "limit": 2, "include_attributes": ["price"]},  # 1 2
    ]

    def fused(**fields: Any) -> Any:
        return shop.query({"queries": legs, **fields})["results"]

    [only] = fused(rerank_by=["RRF"])
    assert [row["id"] for row in only["rows"]] == [1, 4, 2, 3]
    assert only["rows"][0] == {"id": 1, "$dist": pytest.approx(1 / 63 + 1 / 61)}
    assert only["rows"][2]["price"] == 7
    weighted = {"rank_constant": 1, "weights": [0.001, 2]}
    [page] = fused(rerank_by=["RRF", weighted], limit=1, offset=1)
    assert page["rows"] == [{"id": 2, "$dist": pytest.approx(2 / 3), "price": 7}]
    for wrong in (
        {"rank_constant": 0},
        {"weights": [0, 1]},
        {"weights": [1]},
        {"weights": [1, "x"]},
    ):
        with pytest.raises(RefusedError, match="RRF"):
            fused(rerank_by=["RRF", wrong])


def test_a_limit_alone_lists_rows_by_id(shop: Any) -> None:
    assert shop.query({"limit": 2, "include_attributes": ["price"]}) == {
        "rows": [{"id": 1, "price": 5}, {"id": 2, "price": 7}]
    }


def test_explanations_are_words(shop: Any) -> None:
    body = {"rank_by": ["vector", "ANN", [1, 0]], "limit": 2, "filters": ["price", "Gt", 2]}
    plan = shop.queries.explain("ns", parse_query(body, ""))

    assert plan.splitlines() == [
        "limit: 2 documents",
        "rank by exact distance to `vector`",
        "filter: 2 documents match",
        "scan namespace: 4 documents",
    ]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"rank_by": ["id", "asc"]}, 400, "💔 rank_by queries must specify top_k or limit"),
        (BY_ID | {"limit": 0}, 400, "💔 top_k must be between 1 and 10000"),
        (BY_ID | {"limit": 10_001}, 400, "💔 top_k must be between 1 and 10000"),
        (BY_ID | {"limit": "x"}, 422, "limit: invalid type"),
        (BY_ID | {"offset": -1}, 400, "offset must be between"),
        ({"filters": ["id", "Eq", 1]}, 400, "either rank_by or aggregate_by"),
        ({"rank_by": ["x", "Foo", 1], "limit": 1}, 422, "enum a valid variant of RankInput"),
        ({"rank_by": ["vector", "ANN", [1]], "limit": 1}, 400, "expected 2, got 1"),
        ({"rank_by": ["color", "ANN", [1]], "limit": 1}, 400, "not a vector attribute"),
        ({"rank_by": ["tags", "asc"], "limit": 1}, 400, "cannot be ordered"),
        ({"rank_by": ["vector", "ANN", ["Embed", "x"]], "limit": 1}, 400, "hosted model"),
        (
            BY_ID | {"filters": ["zz", "Eq", 1]},
            400,
            "filter error in key `zz`: attribute not found",
        ),
        (
            BY_ID | {"filters": ["tags", "ContainsAny", "python"]},
            400,
            (
                "filter error in key `tags`: type mismatch, ContainsAny expects []string, "
                "but got 'python'"
            ),
        ),
        (BY_ID | {"filters": ["price", "Eq", "x"]}, 400, "Eq expects int, but got 'x'"),
        (BY_ID | {"filters": ["price", "In", ["a", "b"]]}, 400, "but got '[a, b]'"),
        (BY_ID | {"filters": ["price", "Foo", 1]}, 422, "enum Filter"),
        (BY_ID | {"filters": ["vector", "Eq", [1, 0]]}, 400, "not filterable"),
        (
            BY_ID | {"include_attributes": ["X"]},
            400,
            (
                '💔 attribute "X" not found in schema, cannot be part of `include_attributes`. '
                "consider passing `include_attributes=True` to return all attribute data instead"
            ),
        ),
        (
            BY_ID | {"include_attributes": True, "exclude_attributes": ["a"]},
            400,
            "💔 cannot specify both include_attributes and exclude_attributes",
        ),
        (
            BY_ID | {"consistency": {"level": "x"}},
            422,
            "consistency.level: unknown variant `x`, expected `strong` or `eventual`",
        ),
        (
            BY_ID | {"consistency": "eventual"},
            422,
            'consistency: invalid type: string "eventual", expected struct Consistency',
        ),
        (BY_ID | {"distance_metric": "dot"}, 422, "distance_metric: unknown variant `dot`"),
        ({"queries": []}, 400, "💔 must send at least one sub-query"),
        ({"queries": [BY_ID] * 17}, 400, "requires 17 permits, max is 16"),
        (
            {"rank_by": ["vector", "ANN", [1, 0]], "limit": {"total": 5, "per": PER_COLOR}},
            400,
            "💔 `limit.per` is only supported when ranking by an attribute",
        ),
        ({"aggregate_by": {"n": ["Count"]}, "limit": 5}, 400, "top_k is not supported"),
        ({"aggregate_by": {"n": ["Count"]}, **BY_ID}, 400, "together with rank_by"),
        (BY_ID | {"rerank_by": {"model": "m"}}, 400, "hosted only"),
        ([], 422, "expected a map"),
    ],
)
def test_wrong_queries_are_refused(shop: Any, body: Any, status: int, message: str) -> None:
    with pytest.raises(LayerError) as raised:
        shop.query(body)

    assert (raised.value.http_status, message in raised.value.message) == (status, True)


def test_filters_are_bounded_in_depth_and_size(shop: Any) -> None:
    deep: list[Any] = ["price", "Eq", 1]
    for _ in range(100):
        deep = ["Not", deep]
    for node in (deep, ["Or", [["price", "Eq", 1]] * 5000]):
        with pytest.raises(LayerError, match="can nest at most"):
            shop.ids(node)


def test_a_missing_namespace_is_not_found(store: Any) -> None:
    with pytest.raises(NotFoundError, match="🤷 namespace 'ns' was not found"):
        store.ids()


def test_schemas_are_shown_as_each_route_does(store: Any) -> None:
    store.upsert(
        {"id": 1, "vector": [1, 2], "b": True, "text": "x"},
        distance_metric="cosine_distance",
        schema={"text": {"type": "string", "full_text_search": {"stemming": True}}},
    )

    assert schema_answer(store.manage.schema("ns")) == {
        "id": {"type": "uint", "filterable": None, "full_text_search": None},
        "text": {
            "type": "string",
            "filterable": False,
            "full_text_search": {
                "tokenizer": "word_v4",
                "language": "english",
                "stemming": True,
                "remove_stopwords": False,
                "case_sensitive": False,
                "ascii_folding": False,
                "max_token_length": 39,
                "k1": 1.2,
                "b": 0.75,
                "k3": 8.0,
            },
        },
        "vector": {"type": "[2]f32", "ann": True, "filterable": None, "full_text_search": None},
        "b": {"type": "bool", "filterable": True, "full_text_search": None},
    }
    shown = store.manage.metadata("ns")["schema"]
    assert shown["id"] == {"type": "uint"}
    assert shown["vector"] == {"type": "[2]f32", "ann": {"distance_metric": "cosine_distance"}}
    assert shown["b"] == {"type": "bool", "filterable": True}


def test_names_are_listed_in_pages(store: Any) -> None:
    for name in ("b", "a2", "a1", "a3"):
        store.write({"upsert_rows": [{"id": 1}]}, name=name)

    page = store.manage.list_names(prefix="a", cursor="", page_size=2)
    assert page == (["a1", "a2"], "a2")
    assert store.manage.list_names(prefix="a", cursor="a2", page_size=2) == (["a3"], None)
