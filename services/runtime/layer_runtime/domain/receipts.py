"""Receipts: what a claim has handed out, as one opaque text.

A worker that sends one with its result speaks of exactly that claim of that item with exactly
those inputs. The check at its end tells a receipt of another item from one of this; it is no
secret, for whoever may complete items may read them too.
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from layer_kit.errors import InvalidRequestError

_FORM: Final = struct.Struct("<q16s8s")


@dataclass(frozen=True, slots=True)
class Receipt:
    """A claim of an item, and what its inputs were."""

    lease: int
    digest: bytes


def receipt_text(namespace: str, id_: str, receipt: Receipt) -> str:
    """Return a receipt as workers get it."""
    packed = _FORM.pack(receipt.lease, receipt.digest, _check(namespace, id_, receipt))
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def parse_receipt(text: str, namespace: str, id_: str, where: str) -> Receipt:
    """Read a receipt of an item.

    Raises:
        InvalidRequestError: ``RECEIPT_INVALID``: it is none, or that of another item.
    """
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        lease, digest, check = _FORM.unpack(packed)
    except (binascii.Error, struct.error, ValueError) as error:
        raise _invalid(where) from error
    receipt = Receipt(lease, digest)
    if check != _check(namespace, id_, receipt):
        raise _invalid(where)
    return receipt


def _check(namespace: str, id_: str, receipt: Receipt) -> bytes:
    digest = blake2b(digest_size=8)
    for part in (namespace.encode(), id_.encode(), receipt.digest):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    digest.update(receipt.lease.to_bytes(8, "little", signed=True))
    return digest.digest()


def _invalid(where: str) -> InvalidRequestError:
    return InvalidRequestError(
        "RECEIPT_INVALID", f"{where} is not the receipt of a claim of this item.", field=where
    )
