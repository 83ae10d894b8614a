"""Reads the fields of JSON bodies that every request has in common."""

from __future__ import annotations

from typing import Any

from layer_vectorstore.domain.errors import json_kind, malformed


def require_object(body: object, path: str = "") -> dict[str, Any]:
    """Return ``body`` when it is a map.

    Raises:
        MalformedError: ``BODY_MALFORMED``.
    """
    if not isinstance(body, dict):
        raise malformed(path, f"invalid type: {json_kind(body)}, expected a map")
    return body


def integer(value: object, path: str, *, default: int | None = None) -> int:
    """Return an integer; ``default`` stands for null where there is one.

    Raises:
        MalformedError: ``BODY_MALFORMED``.
    """
    if value is None and default is not None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise malformed(path, f"invalid type: {json_kind(value)}, expected usize")
    return value
