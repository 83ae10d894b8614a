"""All rows of a namespace in the order of their ids, a page of them in memory at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from layer_gateway.application.facts import Facts
from layer_gateway.application.plans import blames_layer
from layer_gateway.application.refusals import accepted
from layer_gateway.ports.stores import Caller, Store, StoreAnswer
from layer_kit.names import Namespace
from layer_wire import filters
from layer_wire.filters import Filter, Written
from layer_wire.ids import JsonId
from layer_wire.jsontext import RawObject, encode, raw
from layer_wire.reserved import MARKER_ID, UPSERTED_AT, VECTOR_KEYS
from layer_wire.rows import query_answer, read_answer, row_id


@dataclass(frozen=True, slots=True, kw_only=True)
class RowStream:
    """Which rows are wanted, and what of them."""

    filter: Filter | None
    """The caller's."""
    written: Written | None = None
    """When the rows wanted were written last."""
    names: Sequence[str] | None
    """Attributes wanted; None means all, empty means none."""
    with_vectors: bool
    after: JsonId | None
    """Start after this id instead of at the first row."""
    page_size: int
    """Rows asked for at once. Range: [1, 10000]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRows:
    """Reads a namespace from its first id to its last."""

    store: Store
    facts: Facts

    async def __call__(
        self, namespace: Namespace, wanted: RowStream, caller: Caller
    ) -> AsyncIterator[list[RawObject]]:
        """Yield pages of rows, vectors as base64: at least one, and only a lone one is empty.

        Rows written meanwhile may or may not appear. Every other one appears once.

        Raises:
            NotFoundError: ``NAMESPACE_NOT_FOUND``.
            UpstreamError: ``UPSTREAM_UNREADABLE``, or the store's own.
            LayerError: What ``accepted`` makes of a refusal.
        """
        selection = await self._selection(namespace, wanted, caller)
        last, written, is_empty = wanted.after, wanted.written, True
        while True:
            body = _page_body(wanted, written, last, selection)
            answer = await self.store.query(namespace, body, caller)
            if written is not None and await self._lacks_stamps(namespace, answer, caller):
                if not written.has_unstamped:
                    break
                written = None  # its rows are of any moment
                continue
            rows = read_answer(query_answer, accepted(answer, namespace).body).rows
            if kept := [row for row in rows if row_id(row) != MARKER_ID]:
                yield kept
                is_empty = False
            if len(rows) < wanted.page_size:
                break
            last = row_id(rows[-1])
        if is_empty:
            yield []

    async def _lacks_stamps(
        self, namespace: Namespace, answer: StoreAnswer, caller: Caller
    ) -> bool:
        """Tell whether the store has refused to filter by stamps, for want of any."""
        if not blames_layer(answer):
            return False
        self.facts.forget(namespace)
        return UPSERTED_AT not in (await self.facts.get(namespace, caller)).types

    async def _selection(
        self, namespace: Namespace, wanted: RowStream, caller: Caller
    ) -> dict[str, object]:
        """Say which attributes to read; the store refuses vectors by name where it has none."""
        if wanted.names is None:
            if wanted.with_vectors:
                return {"include_attributes": True}
            return {"exclude_attributes": sorted(VECTOR_KEYS)}
        names = list(wanted.names)
        if wanted.with_vectors:
            types = (await self.facts.get(namespace, caller)).types
            names += sorted(VECTOR_KEYS & types.keys() - set(names))
        return {"include_attributes": names}


def _page_body(
    wanted: RowStream,
    written: Written | None,
    last: JsonId | None,
    selection: dict[str, object],
) -> bytes:
    after = None if last is None else raw(["id", "Gt", last])
    body: dict[str, object] = {
        "rank_by": ["id", "asc"],
        "top_k": wanted.page_size,
        "consistency": {"level": "strong"},
        "vector_encoding": "base64",
        **selection,
    }
    span = None if written is None else written.filter
    if (kept := filters.both(after, filters.both(wanted.filter, span))) is not None:
        body["filters"] = kept
    return encode(body)
