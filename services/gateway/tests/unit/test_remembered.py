"""What is remembered of requests: not what is long, whoever may send it, with or without a key."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from layer_gateway.domain.access import named_namespace, required_scope
from layer_gateway.domain.visits import read_session
from layer_gateway.http.route_lookup import route

LONG_BYTES = 50_000
REQUESTS_COUNT = 200


def path(number: int) -> str:
    return f"/v2/namespaces/n/documents/{number}".ljust(LONG_BYTES, "x")


def tags(number: int) -> dict[str, str]:
    return {"x-hevlayer-tags": f"t{number},".ljust(LONG_BYTES, ",")}


@pytest.mark.parametrize(
    "read",
    [
        lambda number: route("GET", path(number)),
        lambda number: required_scope("GET", path(number)),
        lambda number: named_namespace(path(number)),
        lambda number: read_session(tags(number).get),
    ],
    ids=["route", "scope", "namespace", "tags"],
)
def test_long_parts_of_heads_leave_nothing_behind(read: Callable[[int], object]) -> None:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(REQUESTS_COUNT):
            read(number)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < REQUESTS_COUNT * LONG_BYTES / 10
