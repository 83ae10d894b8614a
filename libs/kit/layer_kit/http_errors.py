"""Render ``LayerError`` as the contract's error body (docs/reference/http.md, "Errors").

The official Turbopuffer client retries 408, 409, 429 and every 5xx unless ``x-should-retry``
says otherwise, so each error answer sets that header on purpose.
"""

from __future__ import annotations

import math

import msgspec

from layer_kit.errors import LayerError

EXTRA_BODY_KEYS = ("store", "route", "cache_state", "feature", "required_scope")
"""Metadata that the contract shows as fields of the body."""


def error_body(error: LayerError) -> bytes:
    """Return ``{"error", "message", "reason", …}`` as JSON."""
    body = {
        "error": error.http_error or error.message,
        "message": error.message,
        "reason": error.reason,
    }
    body |= {key: error.metadata[key] for key in EXTRA_BODY_KEYS if key in error.metadata}
    return msgspec.json.encode(body)


def error_headers(error: LayerError) -> dict[str, str]:
    """Return the headers that tell a client whether and when to retry."""
    headers = {
        "content-type": "application/json",
        "x-should-retry": "true" if error.retryable else "false",
    }
    if error.retry_after_s is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after_s))
    return headers
