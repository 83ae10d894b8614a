"""What is wrong with a request is told by the name of its field."""

from __future__ import annotations

from typing import Any

import pytest

from layer.cache.v1 import cache_pb2
from layer_cache.rpc.parsing import dirty_set_of, settlement_of
from layer_kit.errors import InvalidRequestError
from layer_kit.names import Namespace

NOT_TEXT = b"\xff"


@pytest.mark.parametrize(
    ("field", "columns"),
    [
        ("put_ids", {"put_ids": [b"u", NOT_TEXT], "put_bodies": [b"{}", b"{}"]}),
        ("patch_ids", {"patch_ids": [b""], "patch_bodies": [b"{}"]}),
        ("lift_ids", {"lift_ids": [b"u" * 257]}),
    ],
)
def test_a_settlement_is_told_which_of_its_ids_are_wrong(
    field: str, columns: dict[str, Any]
) -> None:
    request = cache_pb2.SettleRowsRequest(**columns)

    with pytest.raises(InvalidRequestError, match=f"Each of {field} must have") as caught:
        settlement_of(Namespace("books"), request)
    assert caught.value.reason == "ID_INVALID"


def test_an_opening_is_told_which_of_its_ids_are_wrong() -> None:
    request = cache_pb2.OpenSessionRequest(dirty_id_namespaces=["books"], dirty_ids=[NOT_TEXT])

    with pytest.raises(InvalidRequestError, match="Each of dirty_ids must have"):
        dirty_set_of(request)
