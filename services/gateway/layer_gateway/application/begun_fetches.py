"""Fetches between their lookup in the cache and their end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from layer_gateway.application.joined_reads import ReadRows
from layer_gateway.ports.rows import LookupKind
from layer_gateway.ports.stores import Caller
from layer_kit.names import Namespace
from layer_wire.ids import IdKind, JsonId


class BegunFetch(msgspec.Struct, eq=False):
    """A fetch of so few rows that one lookup asks for all of them. Made by ``FetchRows``."""

    namespace: Namespace
    texts: Sequence[str]
    """The ids as they were asked for, where they were texts."""
    ids: Sequence[JsonId]
    keys: Sequence[bytes]
    """Their canonical forms."""
    kind: IdKind
    caller: Caller
    names: Sequence[str] | None
    earlier: Mapping[bytes, asyncio.Future[ReadRows]]
    """Reads of them that were under way when the lookup began."""

    @property
    def lookup_kind(self) -> LookupKind:
        names = self.names
        return LookupKind(self.namespace, None if names is None else tuple(names))
