"""Copies and branches as typed requests."""

from __future__ import annotations

import json

import pytest

from layer.gateway.v1 import gateway_pb2
from layer_gateway.rpc.writing import copy_body
from layer_kit.errors import InvalidRequestError


def copy(**fields: object) -> gateway_pb2.CopyNamespaceRequest:
    request = gateway_pb2.CopyNamespaceRequest(namespace="new", source_namespace="old")
    for name, value in fields.items():
        setattr(request, name, value)
    return request


def test_a_copy_says_where_its_source_is() -> None:
    source = {"source_namespace": "old"}
    assert json.loads(copy_body(copy())) == {"copy_from_namespace": source}
    elsewhere = {"source_region": "there", "source_api_key": "key"}
    assert json.loads(copy_body(copy(**elsewhere))) == {"copy_from_namespace": source | elsewhere}
    assert json.loads(copy_body(copy(is_branch=True))) == {"branch_from_namespace": source}


@pytest.mark.parametrize("field", ["source_region", "source_api_key"])
def test_a_branch_has_its_source_beside_it(field: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        copy_body(copy(is_branch=True, **{field: "other"}))
    assert (error.value.reason, error.value.metadata["field"]) == ("COPY_INVALID", field)


def test_a_source_that_is_no_namespace_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="Namespace"):
        copy_body(copy(source_namespace="a b"))
