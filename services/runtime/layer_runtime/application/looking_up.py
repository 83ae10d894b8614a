"""Where items are: in the queue, or by what their rows say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import NotFoundError
from layer_runtime.application.groups import read_documents
from layer_runtime.domain.functions import parse_function_id
from layer_runtime.domain.items import FoundItem, ItemKey, ItemState, Row, check_count
from layer_runtime.domain.markers import is_due, markers_of
from layer_runtime.ports.functions import Function, FunctionStore
from layer_runtime.ports.items import ItemQueue
from layer_runtime.ports.rows import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUpItems:
    """Looks items up."""

    functions: FunctionStore
    items: ItemQueue
    rows: Rows
    now_ms: EpochMilliseconds

    async def __call__(self, function_id: str, keys: Sequence[ItemKey]) -> Sequence[FoundItem]:
        """Return what is known of items, in their order.

        Raises:
            InvalidRequestError: ``TOO_MANY_ITEMS``.
            NotFoundError: ``FUNCTION_NOT_FOUND``.
            UnavailableError: ``GATEWAY_DOWN``.
        """
        check_count(keys)
        function = await self.functions.get(parse_function_id(function_id))
        found = {one.key: one for one in await self.items.find(function.number, keys)}
        missing = sorted({*keys} - found.keys(), key=lambda key: (key.namespace, key.id))
        for namespace, group in groupby(missing, key=lambda key: key.namespace):
            ids = [key.id for key in group]
            rows = await self._rows(function, namespace, ids)
            for id_ in ids:
                key = ItemKey(namespace, id_)
                found[key] = FoundItem(key=key, state=self._state(function, rows.get(id_, ())))
        return [found[key] for key in keys]

    async def _rows(
        self, function: Function, namespace: str, ids: Sequence[str]
    ) -> Mapping[str, Sequence[Row]]:
        try:
            types, markers = await self.rows.types(namespace), markers_of(function.id)
            scalars = [name for name in (markers.version, markers.stale_after) if name in types]
            if function.spec.is_grouped_by_parent:
                documents = await read_documents(
                    self.rows, namespace, ids, names=(), scalars=scalars
                )
                return documents.rows
            rows = await self.rows.lookup(namespace, ids, names=(), scalars=scalars)
        except NotFoundError:
            return {}
        return {id_: [row] for id_, row in rows.items()}

    def _state(self, function: Function, rows: Sequence[Row]) -> ItemState:
        if not rows:
            return ItemState.ABSENT
        markers, now_ms = markers_of(function.id), self.now_ms()
        for row in rows:
            if is_due(
                function.spec.version,
                now_ms=now_ms,
                version_found=row.scalars.get(markers.version),
                stale_found=row.scalars.get(markers.stale_after),
            ):
                return ItemState.DUE
        return ItemState.COMPLETED
