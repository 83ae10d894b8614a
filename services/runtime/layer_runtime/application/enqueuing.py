"""Rows that were written, put into the queues of the functions that want to hear of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from layer_kit.errors import InvalidRequestError
from layer_runtime.domain.functions import Trigger
from layer_runtime.ports.functions import Function, FunctionStore
from layer_runtime.ports.items import ItemQueue

IDS_PER_CALL_MAX: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Rows of a namespace that were written together."""

    namespace: str
    ids: Sequence[str]
    is_partial: bool
    names: Sequence[str]
    """Attributes that were written, of a partial write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueueWritten:
    """Enqueues for every function whose triggers and namespaces match.

    A row that was replaced has lost its marker, so it is due by that alone. One that was patched
    keeps it, and is due again if what was patched is among the inputs of the function; else only
    if its marker does not say that it is done, which the claim looks at. A worker that patches its
    outputs thus makes no work for itself.
    """

    functions: FunctionStore
    items: ItemQueue

    async def __call__(self, writes: Sequence[Written]) -> int:
        """Enqueue; return how many items are new.

        Raises:
            InvalidRequestError: ``TOO_MANY_ROWS``.
        """
        count = sum(len(write.ids) for write in writes)
        if count > IDS_PER_CALL_MAX:
            raise InvalidRequestError(
                "TOO_MANY_ROWS",
                f"{count} rows in one call; send at most {IDS_PER_CALL_MAX}.",
                count=count,
                count_max=IDS_PER_CALL_MAX,
            )
        new_count = 0
        triggered = [
            function
            for function in await self.functions.all()
            if Trigger.WRITE in function.spec.triggers and not function.is_paused
        ]
        for write in writes:
            for function in triggered:
                if write.namespace in function.spec.target_namespaces:
                    new_count += await self._enqueue(function, write)
        return new_count

    async def _enqueue(self, function: Function, write: Written) -> int:
        if write.is_partial and set(function.spec.inputs).isdisjoint(write.names):
            return await self.items.enqueue(function.number, write.namespace, write.ids)
        return await self.items.force(function.number, write.namespace, write.ids)
