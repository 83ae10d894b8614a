"""Who may come in (docs/reference/http.md, "Authentication")."""

from __future__ import annotations

import hmac
from typing import Final, Literal

from layer_kit.errors import KeyRefusedError, UnauthenticatedError

BEARER: Final = "bearer "
SENT_ON: Final = frozenset({b"authorization", b"user-agent", b"traceparent", b"tracestate"})
"""Caller's headers that go along with a request which layer builds itself."""


class InboundAuth:
    """Decides on the bearer of a request.

    ``derive_from_store``: the store's own key opens everything; a gateway that has none lets any
    bearer pass, which is then sent upstream. ``open``: nothing is asked.
    """

    def __init__(self, mode: Literal["derive_from_store", "open"], store_key: str) -> None:
        self._mode = mode
        self._store_key = store_key.encode()

    def check(self, authorization: str | None) -> None:
        """Let a request in, by its ``authorization`` header.

        Raises:
            UnauthenticatedError: ``BEARER_MISSING``.
            KeyRefusedError: ``KEY_INVALID``.
        """
        if self._mode == "open":
            return
        token = _bearer(authorization)
        if not token:
            raise UnauthenticatedError(
                "BEARER_MISSING", "missing or malformed Authorization: Bearer header"
            )
        # Bytes that are no UTF-8 reach us as surrogates; they are compared like all others.
        offered = token.encode(errors="surrogateescape")
        if self._store_key and not hmac.compare_digest(offered, self._store_key):
            raise KeyRefusedError("KEY_INVALID", "invalid API key")


def _bearer(authorization: str | None) -> str:
    if authorization is None or authorization[: len(BEARER)].lower() != BEARER:
        return ""
    return authorization[len(BEARER) :].strip()
