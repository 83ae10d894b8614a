"""The vector stores as they are declared, how the default one was met last, what they can do."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from layer_gateway.domain.capabilities import Capabilities, Service, capabilities
from layer_gateway.domain.vectorstores import VectorStore, VectorStores
from layer_gateway.ports.stores import Reachability
from layer_kit.names import Namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedStore:
    """A declared store."""

    store: VectorStore
    is_reachable: bool | None
    """Whether it answered when it was asked last; None while it was asked nothing."""
    since: str
    """Since when that has been so, in RFC 3339; empty where nothing is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedCapabilities:
    """A declared store and what it can do."""

    store: VectorStore
    capabilities: Capabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeStores:
    """Tells of the stores, which whoever operates the gateway has declared."""

    stores: VectorStores
    reachability: Reachability
    """Of the default store, the only one that is asked anything."""
    configured: Collection[Service]

    def all(self) -> Sequence[DescribedStore]:
        """Return the default first, then the others by name."""
        return [self._described(store) for store in self.stores]

    def named(self, name: str) -> DescribedStore:
        """Return the store of this name.

        Raises:
            NotFoundError: ``VECTORSTORE_NOT_FOUND``.
        """
        return self._described(self.stores.named(name))

    def capabilities_of(self, name: str) -> DescribedCapabilities:
        """Return what the store of this name can do.

        Raises:
            NotFoundError: ``VECTORSTORE_NOT_FOUND``.
        """
        return self._able(self.stores.named(name))

    def capabilities_for(self, namespace: Namespace) -> DescribedCapabilities:
        """Return what the store of a namespace can do, whether or not the namespace exists."""
        return self._able(self.stores.default)

    def _described(self, store: VectorStore) -> DescribedStore:
        found = self.reachability
        if not store.is_default or found.is_reachable is None:
            return DescribedStore(store=store, is_reachable=None, since="")
        return DescribedStore(store=store, is_reachable=found.is_reachable, since=found.since)

    def _able(self, store: VectorStore) -> DescribedCapabilities:
        found = capabilities(store.kind, self.configured)
        return DescribedCapabilities(store=store, capabilities=found)
