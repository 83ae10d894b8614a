"""Which operation a method and a path mean."""

from __future__ import annotations

import pytest

from layer_gateway.http.route_lookup import route
from layer_gateway.http.routes import PASS, ROUTES, Operation


@pytest.mark.parametrize("key", ROUTES)
def test_every_route_is_found_with_the_names_of_its_path(key: str) -> None:
    method, path = key.split(" ")
    found = route(method, path.replace("{", "a-%7b").replace("}", "%2f%C3%A9"))
    assert found.operation is ROUTES[key]
    assert found.names == {name: f"a-{{{name}/é" for name in found.names}
    assert len(found.names) == path.count("{")


def test_head_asks_for_what_layer_would_answer_to_get() -> None:
    path = "/v2/namespaces/n/documents/a"
    assert route("HEAD", path) == route("GET", path)
    assert route("HEAD", "/v1/namespaces/n/metadata") is PASS
    assert route("HEAD", "/v1/namespaces/n/hint_cache_warm") is PASS
    assert route("HEAD", "/v2/namespaces/n/query") is PASS


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", ""),
        ("GET", "/v2/namespaces/"),
        ("GET", "//v2/namespaces"),
        ("GET", "/v2/namespaces/n"),
        ("get", "/v2/namespaces"),
        ("POST", "/v2/namespaces/n/query/more"),
        ("POST", "/v3/namespaces/n/query"),
        ("GET", "/v2/*/n/metadata"),
    ],
)
def test_what_is_no_route_is_passed_on(method: str, path: str) -> None:
    assert route(method, path) is PASS


def test_a_name_may_be_a_star_or_empty() -> None:
    assert route("POST", "/v2/namespaces/*/query").namespace == "*"
    assert route("POST", "/v2/namespaces//query").operation is Operation.QUERY
