"""Claims: items handed to workers, with their inputs as they are at that moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import InvalidRequestError, LayerError, NotFoundError
from layer_runtime.domain.functions import Trigger, parse_function_id
from layer_runtime.domain.items import (
    LEASE_S_MAX,
    Claim,
    Claimed,
    Given,
    Row,
    Scalar,
    input_digest,
)
from layer_runtime.domain.markers import STAMP, Condition, Markers, is_due, markers_of
from layer_runtime.domain.names import parse_worker_id
from layer_runtime.ports.functions import Function, FunctionStore, ItemQueue, Rows

LIMIT_DEFAULT: Final = 32
LIMIT_MAX: Final = 1000
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
        wanted = min(max(limit, 0) or LIMIT_DEFAULT, LIMIT_MAX)
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
        lease = claimed[0].lease
        try:
            claims: list[Claim] = []
            given: list[Given] = []
            for namespace, group in groupby(claimed, key=lambda item: item.key.namespace):
                for claim, one in await self._read(function, namespace, list(group)):
                    claims.append(claim)
                    given.append(one)
        except LayerError:
            await self.items.release(function.number, lease)
            raise
        kept = {claim.key for claim in claims}
        if dropped := [item for item in claimed if item.key not in kept]:
            await self.items.drop(function.number, dropped)
        if given:
            await self.items.remember(function.number, lease, function.spec.version, given)
        return claims

    async def _read(
        self, function: Function, namespace: str, claimed: Sequence[Claimed]
    ) -> list[tuple[Claim, Given]]:
        spec, markers = function.spec, markers_of(function.id)
        try:
            types = await self.rows.types(namespace)
            names = [name for name in spec.inputs if name == "id" or name in types]
            scalars = [name for name in _scalars(markers) if name in types]
            ids = [item.key.id for item in claimed]
            rows = await self.rows.lookup(namespace, ids, names=names, scalars=scalars)
            outside = await self._outside(function, namespace, claimed)
        except NotFoundError:  # the namespace is gone, and its rows with it
            return []
        found = []
        for item in claimed:
            row = rows.get(item.key.id)
            if row is None or item.key.id in outside:
                continue
            inputs = {name: row.attributes.get(name) for name in spec.inputs}
            digest = input_digest({k: v for k, v in inputs.items() if v is not None})
            if self._needs_work(item, row.scalars, markers, spec.version, digest):
                claim = Claim(key=item.key, lease=item.lease, inputs=inputs)
                found.append((claim, Given(item.key, stamp_of(row), digest)))
        return found

    async def _outside(
        self, function: Function, namespace: str, claimed: Sequence[Claimed]
    ) -> set[str]:
        """Return those that a write has enqueued although the function is not about them."""
        is_triggered = Trigger.WRITE in function.spec.triggers
        ids = [item.key.id for item in claimed if item.is_forced or is_triggered]
        if not ids or not function.spec.filter:
            return set()
        types = await self.rows.types(namespace)
        typed = [int(id_) if types.get("id") in ("uint", "int") else id_ for id_ in ids]
        condition: Condition = ["id", "In", typed]
        outside = set(ids)
        async for page in self.rows.stream(
            namespace,
            own_filter=function.spec.filter,
            condition=condition,
            page_size=LIMIT_MAX,
        ):
            outside -= {row.id for row in page}
        return outside

    def _needs_work(
        self,
        item: Claimed,
        scalars: Mapping[str, Scalar],
        markers: Markers,
        version: str,
        digest: bytes,
    ) -> bool:
        if is_due(
            version,
            now_ms=self.now_ms(),
            version_found=scalars.get(markers.version),
            stale_found=scalars.get(markers.stale_after),
        ):
            return True
        # A write of inputs leaves the marker as it is. One that changed nothing, or that is the
        # worker's own and was there when it was done, makes no work.
        return item.is_forced and digest != item.done_digest


def stamp_of(row: Row) -> int | None:
    """Return when a row was last written."""
    stamp = row.scalars.get(STAMP)
    return stamp if isinstance(stamp, int) else None


def _scalars(markers: Markers) -> tuple[str, ...]:
    return markers.version, markers.stale_after, STAMP
