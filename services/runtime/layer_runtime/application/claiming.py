"""Claims: items handed to workers, with their inputs as they are at that moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import InvalidRequestError, LayerError
from layer_runtime.application.reading import Moved, Reading, ReadItems
from layer_runtime.domain.functions import parse_function_id
from layer_runtime.domain.items import LEASE_S_MAX, Claim, Claimed
from layer_runtime.domain.names import parse_worker_id
from layer_runtime.ports.functions import Function, FunctionStore
from layer_runtime.ports.items import ItemQueue
from layer_runtime.ports.rows import Rows

LIMIT_DEFAULT: Final = 32
LIMIT_MAX: Final = 1000
DOCUMENTS_MAX: Final = 100
"""Of a function whose items are documents, which have up to a thousand rows each."""

ROUNDS_MAX: Final = 20
"""Claims of which every item turns out to need no work, before a worker is told to come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimItems:
    """Hands out items."""

    functions: FunctionStore
    items: ItemQueue
    rows: Rows
    now_ms: EpochMilliseconds

    async def __call__(
        self, function_id: str, worker_id: str, *, limit: int = 0, lease_s: int = 0
    ) -> Sequence[Claim]:
        """Claim items of a function; none while it is paused.

        Args:
            limit: 0 means 32.
            lease_s: 0 means what the function says.

        Raises:
            InvalidRequestError: ``WORKER_ID_INVALID`` or ``LEASE_OUT_OF_RANGE``.
            NotFoundError: ``FUNCTION_NOT_FOUND``.
            UnavailableError: ``GATEWAY_DOWN``; nothing is claimed then.
        """
        parse_worker_id(worker_id)
        if not 0 <= lease_s <= LEASE_S_MAX:
            raise InvalidRequestError(
                "LEASE_OUT_OF_RANGE",
                f"A lease has 1 to {LEASE_S_MAX} seconds.",
                field="lease_seconds",
            )
        function = await self.functions.get(parse_function_id(function_id))
        if function.is_paused:
            return ()
        most = DOCUMENTS_MAX if function.spec.is_grouped_by_parent else LIMIT_MAX
        wanted = min(max(limit, 0) or LIMIT_DEFAULT, most)
        found: list[Claim] = []
        for _ in range(ROUNDS_MAX):
            claimed = await self.items.claim(
                function.number,
                worker_id,
                limit=wanted - len(found),
                lease_s=lease_s or function.spec.schedule.lease_s,
                attempt_count_max=function.spec.retry.attempt_count_max,
            )
            if not claimed:
                break
            found += await self._given(function, claimed)
            if len(found) >= wanted:
                break
        return found

    async def _given(self, function: Function, claimed: Sequence[Claimed]) -> list[Claim]:
        """Read the inputs of items that were claimed together; drop those that need no work."""
        number, lease = function.number, claimed[0].lease
        read_items = ReadItems(rows=self.rows, now_ms=self.now_ms)
        found = Reading()
        try:
            for namespace, group in groupby(claimed, key=lambda item: item.key.namespace):
                await read_items(function, namespace, list(group), found)
                await self._move(function, namespace, found.moved)
        except LayerError:
            await self.items.release(number, lease)
            raise
        if found.refused:
            await self.items.judge(number, found.refused)
        kept = {handed.claim.key for handed in found.handed}
        kept |= {verdict.key for verdict in found.refused}
        if dropped := [item for item in claimed if item.key not in kept]:
            await self.items.drop(number, dropped)
        if found.handed:
            given = [handed.given for handed in found.handed]
            await self.items.remember(number, lease, function.spec.version, given)
        return [handed.claim for handed in found.handed]

    async def _move(self, function: Function, namespace: str, moved: Sequence[Moved]) -> None:
        """Enqueue the documents of rows that were enqueued as if they were documents."""
        for enqueue, is_forced in ((self.items.force, True), (self.items.enqueue, False)):
            ids = [one.document for one in moved if one.is_forced is is_forced]
            if ids:
                await enqueue(function.number, namespace, ids)
