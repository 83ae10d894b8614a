"""The rows that functions are about."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from layer_runtime.domain.items import Row, Scalar, Value
from layer_runtime.domain.markers import Condition
from layer_runtime.domain.selectors import IndexSelector


@dataclass(frozen=True, slots=True, kw_only=True)
class RowWrite:
    """Some attributes of a row, or all of them."""

    id: str
    attributes: Mapping[str, Value] = field(default_factory=dict)
    marks: Mapping[str, Scalar] = field(default_factory=dict)
    """What layer itself keeps in the row."""


class Rows(Protocol):
    """Rows of namespaces, as the gateway has them.

    Every method raises ``UnavailableError`` (``GATEWAY_DOWN``) when it is away or full,
    ``NotFoundError`` (``NAMESPACE_NOT_FOUND``), and what the gateway refuses as it refused it.
    """

    async def types(self, namespace: str, *, having: str = "") -> Mapping[str, str]:
        """Return the type of each attribute of a namespace, that of ``id`` among them.

        They may be some seconds old; not where they lack ``having``, which a write may just have
        brought.
        """
        ...

    async def labelled(self, selector: IndexSelector) -> Sequence[str]:
        """Return the namespaces whose index has the labels that are asked for."""
        ...

    async def lookup(
        self,
        namespace: str,
        ids: Sequence[str],
        *,
        names: Sequence[str] | None,
        scalars: Sequence[str],
    ) -> Mapping[str, Row]:
        """Return the rows that exist, by id.

        Args:
            names: Attributes wanted; None means all, vectors included.
            scalars: Further attributes, to be looked into.
        """
        ...

    def stream(
        self,
        namespace: str,
        *,
        own_filter: bytes,
        condition: Condition | None,
        names: Sequence[str] = (),
        scalars: Sequence[str] = (),
        after: str | None = None,
        page_size: int,
    ) -> AsyncGenerator[Sequence[Row]]:
        """Yield pages of rows by id, those that match both filters; without names only ids."""
        ...

    async def write(
        self,
        namespace: str,
        *,
        patches: Sequence[RowWrite] = (),
        upserts: Sequence[RowWrite] = (),
        condition: Condition | None,
        schema: Mapping[str, str],
    ) -> set[str]:
        """Write what functions made, rows that fulfil the condition alone; return their ids."""
        ...

    async def erase(self, namespace: str, names: Sequence[str], where: Condition) -> None:
        """Remove attributes from the rows that match."""
        ...
