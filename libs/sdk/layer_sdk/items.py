"""What workers are given, and what they give back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Item:
    """A row that a function is to process."""

    namespace: str
    id: str
    lease_token: int
    input: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a function made of an item."""

    item: Item
    attributes: Mapping[str, Any] = field(default_factory=dict)
    vector: Sequence[float] | None = None
    vectors: Sequence[Sequence[float]] | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """An item without a result: ``transient``, ``permanent``, or ``released`` untried."""

    item: Item
    kind: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a document."""

    id: str
    text: str | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A document that a stage is to process."""

    id: str
    chunks: Sequence[Chunk]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row to write for a chunk; exactly one of the two kinds of vector is set."""

    id: str
    vector: Sequence[float] | None = None
    vectors: Sequence[Sequence[float]] | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
