"""The pages about namespaces, and what the clients do when a request fails."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import turbopuffer
from turbopuffer import Turbopuffer

REFUSALS = (turbopuffer.BadRequestError, turbopuffer.UnprocessableEntityError)
"""The gateway answers 422 to what it refuses before it asks the store, as its own contract says."""

SCHEMA: Any = {
    "id": "uint",
    "title": {"type": "string", "full_text_search": {"language": "french"}},
    "price": {"type": "float", "filterable": False},
}


@pytest.fixture
def shop(ns: Any) -> Any:
    ns.write(
        upsert_rows=[{"id": 1, "vector": [0.1, 0.2], "title": "vélo", "price": 1.5, "sold": True}],
        distance_metric="cosine_distance",
        schema=SCHEMA,
    )
    return ns


def test_namespaces_are_listed_page_by_page(tpuf: Turbopuffer, name: str) -> None:
    names = [f"{name}-{at}" for at in range(7)]
    for each in names:
        tpuf.namespace(each).write(upsert_rows=[{"id": 1}])
    assert [found.id for found in tpuf.namespaces(prefix=name, page_size=3)] == names

    first = tpuf.namespaces(prefix=name, page_size=5)
    assert (len(first.namespaces), first.has_next_page()) == (5, True)
    second = first.get_next_page()
    assert ([found.id for found in second.namespaces], second.has_next_page()) == (
        names[5:],
        False,
    )


def test_metadata_describe_a_namespace(shop: Any) -> None:
    found = shop.metadata()
    assert (found.approx_row_count, found.index.status) == (1, "up-to-date")
    assert found.encryption.mode == "default"
    assert found.created_at <= found.updated_at
    shown = {name: config.model_dump(exclude_unset=True) for name, config in found.schema_.items()}
    assert shown["vector"] == {"type": "[2]f32", "ann": {"distance_metric": "cosine_distance"}}
    assert shown["price"] == {"type": "float", "filterable": False}


def test_a_schema_is_shown_whole_and_merged(shop: Any) -> None:
    shown = {name: config.model_dump() for name, config in shop.schema().items()}
    assert shown["id"] == {"type": "uint", "filterable": None, "full_text_search": None} | {
        key: value for key, value in shown["id"].items() if value is None
    }
    assert shown["title"]["full_text_search"]["language"] == "french"
    assert shown["title"]["filterable"] is False
    merged = shop.update_schema(schema={"price": {"type": "float", "filterable": True}})
    assert merged["price"].filterable is True
    assert set(merged) >= {"id", "vector", "title", "price", "sold"}


def test_a_namespace_is_pinned_and_protected(shop: Any) -> None:
    pinned = shop.update_metadata(pinning={"replicas": 2})
    assert (pinned.pinning.replicas, pinned.pinning.status.ready_replicas) == (2, 2)
    assert shop.update_metadata(pinning=None).pinning is None
    assert shop.update_metadata(read_only=True).read_only is True
    with pytest.raises(turbopuffer.PermissionDeniedError):
        shop.write(deletes=[1])
    shop.update_metadata(read_only=False)
    assert shop.write(deletes=[1]).rows_deleted == 1


def test_a_namespace_exists_from_its_first_row_until_it_is_deleted(ns: Any) -> None:
    assert not ns.exists()
    ns.write(upsert_rows=[{"id": 1}])
    assert ns.exists()
    assert ns.hint_cache_warm().status in {"ACCEPTED", "OK"}
    ns.write(deletes=[1])
    assert ns.query(rank_by=("id", "asc"), limit=1).rows == []
    assert ns.delete_all().status == "OK"
    assert not ns.exists()
    ns.write(upsert_rows=[{"id": "now a string"}])
    assert ns.exists()


def test_recall_is_measured(ns: Any) -> None:
    ns.write(
        upsert_rows=[{"id": at, "vector": [at / 40, 1 - at / 40], "n": at} for at in range(40)],
        distance_metric="euclidean_squared",
    )
    found = ns.recall(num=5, top_k=10, filters=("n", "Lt", 30), include_ground_truth=True)
    assert (found.avg_recall, found.avg_ann_count, found.avg_exhaustive_count) == (1.0, 10.0, 10.0)
    assert all(len(truth.nearest_neighbors) == 10 for truth in found.ground_truth)
    assert ns.recall().avg_recall == 1.0


def test_a_query_is_explained(shop: Any) -> None:
    explained = shop.explain_query(rank_by=("vector", "ANN", [0.1, 0.2]), limit=10)
    assert "vector" in explained.plan_text


REFUSED: dict[str, tuple[type[turbopuffer.APIStatusError], dict[str, Any], str]] = {
    "an unknown attribute": (
        turbopuffer.BadRequestError,
        {"rank_by": ("id", "asc"), "limit": 1, "filters": ("nope", "Eq", 1)},
        "filter error in key `nope`: attribute not found",
    ),
    "a filter of another type": (
        turbopuffer.BadRequestError,
        {"rank_by": ("id", "asc"), "limit": 1, "filters": ("sold", "Eq", "yes")},
        "filter error in key `sold`: type mismatch, Eq expects bool, but got 'yes'",
    ),
    "an attribute that is not there": (
        turbopuffer.BadRequestError,
        {"rank_by": ("id", "asc"), "limit": 1, "include_attributes": ["nope"]},
        'attribute "nope" not found in schema, cannot be part of `include_attributes`',
    ),
    "both ways to choose attributes": (
        turbopuffer.BadRequestError,
        {
            "rank_by": ("id", "asc"),
            "limit": 1,
            "include_attributes": ["sold"],
            "exclude_attributes": ["title"],
        },
        "cannot specify both include_attributes and exclude_attributes",
    ),
    "no limit": (
        turbopuffer.BadRequestError,
        {"rank_by": ("id", "asc")},
        "rank_by queries must specify top_k or limit",
    ),
    "too high a limit": (
        turbopuffer.BadRequestError,
        {"rank_by": ("id", "asc"), "top_k": 10_001},
        "top_k must be between 1 and 10000",
    ),
    "an unknown function": (
        turbopuffer.UnprocessableEntityError,
        {"rank_by": ("title", "BM26", "x"), "limit": 1},
        "data did not match any variant of enum a valid variant of RankInput",
    ),
    "an unknown level": (
        turbopuffer.UnprocessableEntityError,
        {"rank_by": ("id", "asc"), "limit": 1, "consistency": {"level": "weak"}},
        "consistency.level: unknown variant `weak`, expected `strong` or `eventual`",
    ),
}


def test_refusals_are_the_errors_that_the_client_documents(shop: Any) -> None:
    for label, (kind, query, text) in REFUSED.items():
        with pytest.raises(kind) as refusal:
            shop.query(**query)
        body: Any = refusal.value.body
        assert (body["status"], text in body["error"]) == ("error", True), (label, body)


def test_writes_are_refused_with_the_texts_that_users_look_for(shop: Any) -> None:
    refused: list[tuple[Any, dict[str, Any], str]] = [
        (
            turbopuffer.BadRequestError,
            {"upsert_rows": [{"id": 1, "vector": [1, 2]}, {"id": 1, "vector": [1, 2]}]},
            "duplicate document IDs",
        ),
        (
            turbopuffer.BadRequestError,
            {"upsert_rows": [{"id": 2, "vector": [1, 2], "title": 7}]},
            "cannot change attribute type from string to int",
        ),
        (
            turbopuffer.BadRequestError,
            {"upsert_rows": [{"id": "two", "vector": [1, 2]}]},
            "namespace ID type is uint, but you sent string",
        ),
        (
            turbopuffer.BadRequestError,
            {"upsert_rows": [{"id": 2, "vector": [1, 2]}], "distance_metric": "euclidean_squared"},
            "distance metric mismatch, expected cosine_distance, got euclidean_squared",
        ),
        (turbopuffer.UnprocessableEntityError, {"upsert_rows": [{"n": 1}]}, "upsert_rows[0]"),
    ]
    for kind, body, text in refused:
        with pytest.raises(kind) as refusal:
            shop.write(**body)
        assert text in str(refusal.value)
    with pytest.raises(REFUSALS):
        shop.write(patch_rows=[{"id": 1, "vector": [1, 2]}])
    assert shop.metadata().approx_row_count == 1


def test_a_missing_namespace_is_told_in_the_words_that_users_look_for(ns: Any, name: str) -> None:
    with pytest.raises(turbopuffer.NotFoundError) as refusal:
        ns.query(rank_by=("id", "asc"), limit=1)
    assert f"🤷 namespace '{name}' was not found" in str(refusal.value)
    for ask in (
        ns.metadata,
        ns.schema,
        ns.hint_cache_warm,
        ns.recall,
        lambda: ns.write(deletes=[1]),
        lambda: ns.branch_from(source_namespace=name),
    ):
        with pytest.raises(turbopuffer.NotFoundError):
            ask()


def test_a_name_that_no_namespace_may_have_is_refused(tpuf: Turbopuffer) -> None:
    for name in ("no spaces", "a/b", "é", "n" * 129):
        with pytest.raises(REFUSALS):
            tpuf.namespace(name).metadata()


def test_hosted_features_are_refused_by_name(shop: Any, tpuf: Turbopuffer, name: str) -> None:
    hosted: list[tuple[Any, str]] = [
        (lambda: shop.query(rank_by=("title", "ANN", ("Embed", "hello")), limit=1), "Embed"),
        (
            lambda: shop.query(
                rank_by=("title", "BM25", "x"),
                limit=1,
                rerank_by={"model": "m", "query": "q", "attribute": "title"},
            ),
            "rerank_by",
        ),
        (
            lambda: shop.write(encryption={"mode": "customer-managed", "key_name": "not-a-key"}),
            "Malformed Cloud KMS crypto key: not-a-key",
        ),
        (
            lambda: tpuf.namespace(f"{name}-copy").copy_from(
                source_namespace=name,
                dest_encryption={"mode": "customer-managed", "key_name": "not-a-key"},
            ),
            "Malformed Cloud KMS crypto key: not-a-key",
        ),
        (
            lambda: tpuf.namespace(f"{name}-copy").copy_from(
                source_namespace=name, source_region="aws-us-east-1"
            ),
            "region",
        ),
    ]
    for ask, text in hosted:
        with pytest.raises(turbopuffer.BadRequestError) as refusal:
            ask()
        assert text in str(refusal.value)


def test_a_server_that_is_not_there_is_a_connection_error() -> None:
    with (
        Turbopuffer(api_key="any", base_url="http://127.0.0.1:9", max_retries=0) as client,
        pytest.raises(turbopuffer.APIConnectionError),
    ):
        client.namespace("x").metadata()


def test_wishes_to_the_hosted_service_alone_are_ignored(base_url: str, name: str) -> None:
    answer = httpx.post(
        f"{base_url}/v2/namespaces/{name}?stainless_overload=multiQuery",
        content=json.dumps({"upsert_rows": [{"id": 2**64 - 1}]}),
        headers={
            "authorization": "Bearer any",
            "content-type": "application/json",
            "prefer": "respond-async",
            "x-stainless-retry-count": "2",
            "x-request-id": "tpreq_abc",
            "x-turbopuffer-client-telemetry": '{"version":1,"records":[]}',
        },
    )
    assert (answer.status_code, answer.json()["rows_upserted"]) == (200, 1)
    assert "preference-applied" not in answer.headers
