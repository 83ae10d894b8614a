"""Queries as values, whatever JSON they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from layer_vectorstore.domain.filters import Filter
from layer_vectorstore.domain.highlighting import Highlight
from layer_vectorstore.domain.ranking import ByVector, Rank, Score

VectorEncoding = Literal["float", "base64"]
Computed = Score | ByVector | Highlight


@dataclass(frozen=True, slots=True)
class LimitPer:
    """At most ``limit`` rows for each distinct tuple of the attributes' values."""

    attributes: tuple[str, ...]
    limit: int


@dataclass(frozen=True, slots=True)
class Count:
    pass


@dataclass(frozen=True, slots=True)
class SumOf:
    attribute: str


Aggregate = Count | SumOf


@dataclass(frozen=True, slots=True)
class GroupKey:
    attribute: str
    label: str
    for_each_item: bool
    """Whether each distinct item of an array makes a row part of another group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which attributes rows carry besides their id."""

    include: Literal[True] | tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    rank: Rank | None = None
    filter: Filter | None = None
    limit: int | None = None
    per: LimitPer | None = None
    offset: int = 0
    selection: Selection = Selection()
    aggregates: Mapping[str, Aggregate] = field(default_factory=dict)
    group_by: tuple[GroupKey, ...] = ()
    computed: Mapping[str, Computed] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """Reciprocal rank fusion: Cormack et al. 2009, with ranks counted from 1."""

    rank_constant: float
    weights: tuple[float, ...]
    limit: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRequest:
    queries: tuple[Query, ...]
    is_multiple: bool
    fusion: Fusion | None = None
    vector_encoding: VectorEncoding = "float"
    is_eventual: bool = False
