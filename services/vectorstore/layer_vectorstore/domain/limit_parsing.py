"""Reads how many rows a query wants: ``limit`` or ``top_k``, and ``offset``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from layer_vectorstore.domain.errors import RefusedError, malformed
from layer_vectorstore.domain.json_fields import integer
from layer_vectorstore.domain.limits import LIMIT_MAX, OFFSET_MAX
from layer_vectorstore.domain.query import LimitPer


def parse_limit(fields: Mapping[str, Any], path: str) -> tuple[int | None, LimitPer | None]:
    """Return the rows wanted in all, and of each kind; None where a query does not say.

    Raises:
        MalformedError: ``BODY_MALFORMED``.
        RefusedError: ``LIMIT_INVALID``.
    """
    value = fields.get("top_k") if fields.get("limit") is None else fields["limit"]
    match value:
        case None:
            return None, None
        case {"total": total, **rest}:
            limit = integer(total, f"{path}limit.total")
            per = _parse_per(rest.get("per"), f"{path}limit.per")
        case _:
            limit, per = integer(value, f"{path}limit"), None
    if not 1 <= limit <= LIMIT_MAX:
        raise RefusedError("LIMIT_INVALID", f"💔 top_k must be between 1 and {LIMIT_MAX}")
    return limit, per


def parse_offset(fields: Mapping[str, Any], path: str) -> int:
    """Return how many of the best rows are passed over.

    Raises:
        MalformedError: ``BODY_MALFORMED``.
        RefusedError: ``OFFSET_INVALID``.
    """
    offset = integer(fields.get("offset"), f"{path}offset", default=0)
    if not 0 <= offset <= OFFSET_MAX:
        raise RefusedError("OFFSET_INVALID", f"💔 offset must be between 0 and {OFFSET_MAX}")
    return offset


def _parse_per(value: object, path: str) -> LimitPer | None:
    match value:
        case None:
            return None
        case {"attributes": [*names], "limit": limit}:
            if not names or not all(isinstance(name, str) for name in names):
                raise malformed(f"{path}.attributes", "expected a list of attribute names")
            count = integer(limit, f"{path}.limit")
            if count < 1:
                raise RefusedError("LIMIT_INVALID", "💔 limit.per.limit must be at least 1")
            return LimitPer(tuple(names), count)
        case _:
            raise malformed(path, "expected {attributes, limit}")
