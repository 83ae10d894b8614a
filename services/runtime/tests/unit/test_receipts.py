"""Receipts stand for one claim of one item with its inputs."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layer_kit.errors import InvalidRequestError
from layer_runtime.domain.receipts import Receipt, parse_receipt, receipt_text

RECEIPTS = st.builds(Receipt, st.integers(1, 2**63 - 1), st.binary(min_size=16, max_size=16))


@given(receipt=RECEIPTS, namespace=st.text(), id_=st.text())
def test_a_receipt_is_read_back_for_its_item_alone(
    receipt: Receipt, namespace: str, id_: str
) -> None:
    text = receipt_text(namespace, id_, receipt)
    assert parse_receipt(text, namespace, id_, "r") == receipt
    for other in ((namespace + "x", id_), (namespace, id_ + "x"), (id_ + "x", namespace)):
        with pytest.raises(InvalidRequestError):
            parse_receipt(text, *other, "r")


@given(receipt=RECEIPTS, at=st.integers(0, 31), bit=st.integers(0, 7))
def test_a_receipt_of_which_a_bit_is_another_is_none(receipt: Receipt, at: int, bit: int) -> None:

    packed = bytearray(base64.urlsafe_b64decode(receipt_text("n", "a", receipt) + "=="))
    packed[at] ^= 1 << bit
    with pytest.raises(InvalidRequestError) as caught:
        parse_receipt(base64.urlsafe_b64encode(packed).decode(), "n", "a", "items[3].x")
    assert (caught.value.reason, caught.value.metadata["field"]) == (
        "RECEIPT_INVALID",
        "items[3].x",
    )


@given(text=st.text(max_size=60))
def test_any_other_text_is_no_receipt(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        parse_receipt(text, "n", "a", "r")
