"""What is told of an operation in `/openapi.json`, in few words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

JsonType = Literal["string", "integer", "number", "boolean", "array", "object"]
BodyKind = Literal["json", "bytes", "form"]
Fields = Mapping[str, JsonType]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationDoc:
    """One operation. Fields are those that layer reads or makes; others pass."""

    summary: str
    query: Fields | None = None
    takes: Fields | None = None
    """Fields of the body; an empty map is a body that is the store's alone."""
    body: BodyKind = "json"
    gives: Fields | None = None
    status: int = 200
