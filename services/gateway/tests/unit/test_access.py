"""Which scope each request needs, and what a key that holds some scopes may do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layer_gateway.domain.access import (
    EVERYTHING,
    Grant,
    Scope,
    is_about_many,
    required_scope,
)

READ = [
    "GET /v2/namespaces",
    "GET /anything/at/all",
    "HEAD /v2/namespaces/n/documents/a",
    "GET /v1/namespaces/n/hint_cache_warm",
    "POST /v2/namespaces/n/query",
    "POST /v1/namespaces/n/query",
    "POST /v2/namespaces/n/multi_query",
    "POST /v2/namespaces/n/explain_query",
    "POST /v2/namespaces/n/search",
    "POST /v2/namespaces/n/documents",
    "POST /v2/namespaces/n/scans",
    "POST /v2/query",
    "POST /v2/agents/helper/query",
    "POST /v2/metrics/query",
    "POST /v2/metrics/query_range",
    "POST /v2/metrics/api/v1/query",
    "POST /v2/metrics/api/v1/query_range",
    "GET /v2/pipelines",
    "GET /v2/udfs/u/status",
]
WRITE = [
    "POST /v2/namespaces/n",
    "POST /v2/namespaces/query",
    "POST /v2/namespaces/scans",
    "POST /v2/namespaces/scans/init",
    "POST /v2/namespaces/scans/warm",
    "POST /v2/namespaces/n/scans/../warm",
    "POST /v2/namespaces/documents",
    "DELETE /v2/namespaces/n",
    "DELETE /v2/namespaces/n/scans/s",
    "PUT /v2/namespaces/n/query",
    "POST /v1/namespaces/n/schema",
    "PATCH /v1/namespaces/n/metadata",
    "POST /v1/namespaces/n/_debug/recall",
    "PUT /v1/namespaces/n/blobs",
    "POST /v2/namespaces/n/init",
    "POST /v2/namespaces/n/warm",
    "POST /v2/namespaces/n/snapshots",
    "POST /v2/metrics/api/v1/import/prometheus",
    "PUT /v2/udfs/u",
    "POST /v2/udfs/u/claim",
    "POST /v2/udfs/u/items/complete",
    "POST /v2/pipelines/p/claim",
    "PUT /v2/pipelines/p/documents/d",
    "POST /v2/pipelines/p/documents/stage",
    "post /v2/namespaces/n/query",
    "PURGE /",
    "OPTIONS /v2/namespaces",
]
ADMIN = [
    "GET /v2/keys",
    "HEAD /v2/keys",
    "POST /v2/keys",
    "GET /v2/keys/k",
    "POST /v2/keys/k/revoke",
    "DELETE /v2/keys/k",
    "POST /v2/pipelines",
    "POST /v2/udfs",
    "DELETE /v2/pipelines/p",
    "DELETE /v2/udfs/u",
    "POST /v2/udfs/u/pause",
    "POST /v2/udfs/u/resume",
    "POST /v2/udfs/u/reset-failed",
    "POST /v2/udfs/u/discover",
]


@pytest.mark.parametrize(
    ("request_line", "scope"),
    [
        *((line, Scope.READ) for line in READ),
        *((line, Scope.WRITE) for line in WRITE),
        *((line, Scope.ADMIN) for line in ADMIN),
    ],
)
def test_a_request_needs_a_scope(request_line: str, scope: Scope) -> None:
    assert required_scope(*request_line.split(" ")) is scope


@given(
    method=st.sampled_from(["POST", "PUT", "PATCH", "DELETE"]),
    namespace=st.sampled_from(["n", "query", "scans", "documents", "keys", "", "..", "%2F"]),
)
def test_no_name_of_a_namespace_turns_a_write_into_a_read(method: str, namespace: str) -> None:
    assert required_scope(method, f"/v2/namespaces/{namespace}") is Scope.WRITE


def test_admin_holds_everything_and_write_holds_no_read() -> None:
    def allowed(*scopes: Scope) -> set[Scope]:
        grant = Grant(name="k", scopes=frozenset(scopes))
        return {scope for scope in Scope if grant.allows(scope)}

    assert allowed(Scope.ADMIN) == EVERYTHING
    assert allowed(Scope.WRITE) == {Scope.WRITE}
    assert allowed(Scope.READ) == {Scope.READ}
    assert allowed(Scope.READ, Scope.WRITE) == {Scope.READ, Scope.WRITE}
    assert allowed() == set()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_listing_is_about_as_many_namespaces_as_its_caller_may_name(method: str) -> None:
    assert is_about_many(method, "/v2/namespaces")
    assert not is_about_many(method, "/v1/namespaces")


def test_stores_are_described_to_everybody() -> None:
    for path in ("/v2/vectorstores", "/v2/vectorstores/main", "/v2/vectorstores/main/capabilities"):
        assert is_about_many("GET", path)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/vectorstores/../namespaces/n/schema",
        "/v2/vectorstores/%2E%2e/namespaces/n/schema",
        "/v2/vectorstores/./..//namespaces/n/schema",
        "/v2/vectorstores/..%2Fnamespaces%2Fn/capabilities",
        "/v2/vectorstores-of-others",
    ],
)
def test_no_way_round_the_stores_leads_to_a_namespace(path: str) -> None:
    """What is not a route of ours is passed on, and resolved by whoever stands before the store."""
    assert not is_about_many("GET", path)
