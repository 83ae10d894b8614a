"""Vector stores as an operator declares them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from layer_gateway.domain.access import Scope
from layer_kit.errors import NotFoundError

ORGANIZATION_PAGES: Final = "https://turbopuffer.com/organizations"


class InboundMode(Enum):
    """How callers are known: see docs/guides/keys-and-limits.md."""

    DERIVE_FROM_STORE = "deriveFromStore"
    KEYS = "keys"
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRef:
    """Where a secret is kept; nothing of what it says."""

    name: str
    key: str


NO_SECRET: Final = SecretRef(name="", key="")


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticKey:
    """A key that callers may present."""

    name: str
    scopes: AbstractSet[Scope]
    token: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundPolicy:
    """Who may come in."""

    mode: InboundMode = InboundMode.DERIVE_FROM_STORE
    keys: Sequence[StaticKey] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorStore:
    """One store."""

    name: str
    kind: str
    url: str
    region: str
    org_id: str = ""
    is_default: bool = False
    credential: SecretRef = NO_SECRET
    token: bytes = field(default=b"", repr=False)
    """The store's own key; empty sends each caller's bearer on."""
    inbound: InboundPolicy = InboundPolicy()

    @property
    def organization_url(self) -> str:
        """Return the page of its organisation at its vendor; empty where none is declared."""
        return f"{ORGANIZATION_PAGES}/{self.org_id}" if self.org_id else ""


class VectorStores:
    """All stores of this gateway, of which one is the default."""

    def __init__(self, stores: Sequence[VectorStore]) -> None:
        self._stores = sorted(stores, key=lambda store: (not store.is_default, store.name))

    def __iter__(self) -> Iterator[VectorStore]:
        """Yield the default first, then the others by name."""
        return iter(self._stores)

    @property
    def default(self) -> VectorStore:
        """Return the store of every namespace that is not declared to live elsewhere."""
        return self._stores[0]

    def named(self, name: str) -> VectorStore:
        """Return the store of this name.

        Raises:
            NotFoundError: ``VECTORSTORE_NOT_FOUND``.
        """
        for store in self._stores:
            if store.name == name:
                return store
        raise NotFoundError(
            "VECTORSTORE_NOT_FOUND", f"VectorStore {name} not found", vectorstore=name
        )
