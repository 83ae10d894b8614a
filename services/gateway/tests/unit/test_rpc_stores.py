"""Declared stores as messages, a page at a time."""

from __future__ import annotations

import pytest

from layer.gateway.v1 import gateway_pb2
from layer_gateway.application.stores import DescribedStore
from layer_gateway.domain.vectorstores import VectorStore
from layer_gateway.rpc.stores import stores_response
from layer_kit.errors import InvalidRequestError

STORES = [
    DescribedStore(
        store=VectorStore(name=name, kind="turbopuffer", url="", region=""),
        is_reachable=None,
        since="",
    )
    for name in ("main", "a", "b")
]


def page(**fields: object) -> tuple[list[str], str]:
    request = gateway_pb2.ListVectorStoresRequest()
    for name, value in fields.items():
        setattr(request, name, value)
    found = stores_response(request, STORES)
    return [store.name for store in found.vector_stores], found.next_page_token


def test_a_page_goes_on_behind_the_one_before() -> None:
    assert page() == (["main", "a", "b"], "")
    names, token = page(page_size=2)
    assert names == ["main", "a"]
    assert page(page_size=2, page_token=token) == (["b"], "")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"page_size": -1}, "PAGE_SIZE_NEGATIVE"), ({"page_token": "no-such"}, "PAGE_TOKEN_INVALID")],
)
def test_what_no_answer_has_given_is_refused(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        page(**fields)
    assert error.value.reason == reason
