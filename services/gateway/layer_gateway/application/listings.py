"""Listings of namespaces, remembered for a moment: each takes a request for every namespace."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from layer_gateway.application.cache_states import COLD
from layer_gateway.domain.warmth import NamespaceWarmth
from layer_gateway.ports.stores import Caller
from layer_kit.clock import Monotonic
from layer_wire.jsontext import Raw, RawObject

SHADOW_SUFFIX: Final = "-shadow"

NAMESPACES_REMEMBERED_MAX: Final = 10_000
"""Namespaces in all remembered pages, and the pages themselves; the oldest pages go first."""

REMEMBERED_QUESTION_BYTES_MAX: Final = 2048
"""What a page is remembered by, the caller's key included; longer ones are asked each time."""


class Metadata(msgspec.Struct):
    """The part of the store's metadata that layer reads."""

    schema: RawObject = {}
    approx_row_count: int | None = None
    approx_logical_bytes: int | None = None
    created_at: str | None = None
    updated_at: str | None = None
    last_write_at: str | None = None
    index: Raw = Raw(b"{}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedNamespace:
    """A namespace in a listing, with its metadata or with why that could not be read."""

    name: str
    metadata: Metadata | None = None
    metadata_error: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    asked_at_ms: int = 0
    """When its metadata was asked for."""
    warmth: NamespaceWarmth = COLD

    @property
    def is_shadow(self) -> bool:
        return self.name.endswith(SHADOW_SUFFIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespacePage:
    """A page of a listing, by name."""

    namespaces: Sequence[ListedNamespace]
    next_cursor: str | None


class Listings:
    """Pages by what was asked for and with whose key, since stores list by key.

    Args:
        ttl_s: How old a page may be; 0 remembers none.
    """

    def __init__(self, *, ttl_s: float, monotonic: Monotonic) -> None:
        self._ttl_s = ttl_s
        self._monotonic = monotonic
        self._pages: OrderedDict[tuple[str, bytes], tuple[float, NamespacePage]] = OrderedDict()
        self._weight = 0
        self._generation = 0

    @property
    def generation(self) -> int:
        """A number that changes when what was listed before no longer counts."""
        return self._generation

    def get(self, query_string: str, caller: Caller) -> NamespacePage | None:
        """Return a page that is young enough."""
        known = self._pages.get((query_string, caller.authorization))
        if known is None or self._monotonic() - known[0] >= self._ttl_s:
            return None
        return known[1]

    def put(
        self, query_string: str, caller: Caller, page: NamespacePage, *, generation: int
    ) -> None:
        """Remember a page that was begun in ``generation``, unless that is over."""
        if generation != self._generation or self._ttl_s == 0:
            return
        key = (query_string, caller.authorization)
        if sum(map(len, key)) > REMEMBERED_QUESTION_BYTES_MAX:
            return
        self._drop(key)
        self._pages[key] = (self._monotonic(), page)
        self._weight += _weight(page)
        while self._weight > NAMESPACES_REMEMBERED_MAX and self._pages:
            self._drop(next(iter(self._pages)))

    def forget(self) -> None:
        """Forget all pages: a namespace has come or gone."""
        self._pages.clear()
        self._weight = 0
        self._generation += 1

    def _drop(self, key: tuple[str, bytes]) -> None:
        known = self._pages.pop(key, None)
        if known is not None:
            self._weight -= _weight(known[1])


def _weight(page: NamespacePage) -> int:
    return 1 + len(page.namespaces)
