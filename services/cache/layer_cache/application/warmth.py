"""Which namespaces are held as a whole, so that a scan of the cache may stand for one upstream.

A namespace is *warm through* a moment ``w`` when every row upstream whose last stamp is at or
before ``w`` has an entry. A gateway brings that about by backfilling all rows; from then on it
stays so while nothing is dropped that upstream still holds as it was. A row written later does
not count: its stamp is after ``w``, and whoever scans leaves such rows out. So a put, a patch and
a deletion leave a namespace warm, and these do not:

- its epoch is raised, or everything is dropped;
- a row is dropped whose write may not have happened: its outcome is unknown, its fence ran out or
  was lost, or it was to be lifted and could not be;
- the store lost entries put since the warming began, to its bound or to a failure;
- the first of its entries comes of age;
- the process crashed, since what was lost then is not known.

A row under a fence is in no scan, whatever becomes of its write. So a row that is lifted leaves the
namespace warm under another number, and while a fence hides rows nobody knows yet which number it
will be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import structlog

from layer_cache.ports import LedgerStore, RowStore, WarmRecord
from layer_kit.clock import EpochMilliseconds, Monotonic
from layer_kit.errors import NotFoundError
from layer_kit.names import Namespace

log = structlog.get_logger(__name__)

SILENCE_S_MAX: Final = 30.0
"""A warming that is not reported on for so long is given up, so that another can begin."""


class WarmState(StrEnum):
    """How much of a namespace is held."""

    COLD = "cold"
    WARMING = "warming"
    WARM = "warm"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceWarmth:
    """What is known of one namespace."""

    namespace: Namespace
    state: WarmState
    warmed_through_ms: int | None
    """Set while it is warm, also while it is being warmed anew."""
    warm_number: int
    """Another one each time that the namespace became warm, or that rows were back which scans may
    have missed; 0 while it is not warm."""


@dataclass(slots=True, kw_only=True)
class _Warming:
    warm_id: str
    mark: int
    expires_ms: int
    heard_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Warm:
    record: WarmRecord
    mark: int
    number: int


class Warmth:
    """Keeps which namespaces are warm, and who is warming which."""

    def __init__(
        self,
        *,
        store: RowStore,
        ledger: LedgerStore,
        remembered: Iterable[tuple[Namespace, WarmRecord]],
        ttl_s: float,
        clock: Monotonic,
        wall_ms: EpochMilliseconds,
        new_warm_id: Callable[[], str],
    ) -> None:
        """Begin with what a clean stop left behind: all of it was held at that moment."""
        self._store = store
        self._ledger = ledger
        self._ttl_ms = int(ttl_s * 1000)
        self._clock = clock
        self._wall_ms = wall_ms
        self._new_warm_id = new_warm_id
        self._last_number = wall_ms()  # so that no two incarnations give the same
        self._begun_ms = self._last_number
        self._changes = 0
        self._warming: dict[Namespace, _Warming] = {}
        held_from = store.lost_through()
        self._warm = {
            namespace: _Warm(record=record, mark=held_from, number=self._new_number())
            for namespace, record in remembered
        }

    @property
    def warm_count(self) -> int:
        return len(self._warm)

    @property
    def warming_count(self) -> int:
        return len(self._warming)

    @property
    def revision(self) -> str:
        """Name what the states are now: another name each time that one has changed."""
        return f"{self._begun_ms}-{self._changes}"

    def begin(self, namespace: Namespace) -> str | None:
        """Begin to warm a namespace; None while someone else is at it."""
        if self._is_warming(namespace):
            return None
        warming = _Warming(
            warm_id=self._new_warm_id(),
            mark=self._store.mark(),
            expires_ms=self._wall_ms() + self._ttl_ms,
            heard_s=self._clock(),
        )
        self._warming[namespace] = warming
        self._changes += 1
        return warming.warm_id

    def report(self, namespace: Namespace, warm_id: str) -> None:
        """Keep a warming alive.

        Raises:
            NotFoundError: ``WARM_UNKNOWN``: it was given up, or what it put was dropped.
        """
        self._current(namespace, warm_id).heard_s = self._clock()

    async def finish(self, namespace: Namespace, warm_id: str, warmed_through_ms: int) -> bool:
        """End a warming that backfilled every row; tell whether the namespace is warm.

        Raises:
            NotFoundError: ``WARM_UNKNOWN``.
            UnavailableError: ``STORE_DOWN``.
        """
        warming = self._current(namespace, warm_id)
        self._stop_warming(namespace)
        if self._store.lost_through() > warming.mark:
            log.warning("warming_outgrew_store", namespace=namespace)
            return False
        record = WarmRecord(warmed_through_ms, warming.expires_ms)
        self._warm[namespace] = _Warm(record=record, mark=warming.mark, number=self._new_number())
        self._changes += 1
        await self._ledger.record_warm(namespace, record)
        return True

    def give_up(self, namespace: Namespace, warm_id: str) -> None:
        """End a warming that did not come to its end. Idempotent."""
        warming = self._warming.get(namespace)
        if warming is not None and warming.warm_id == warm_id:
            self._stop_warming(namespace)

    async def void(self, namespaces: Iterable[Namespace]) -> None:
        """Note that rows were dropped which upstream may still hold as they were.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """
        voided = set(namespaces)
        for namespace in voided & self._warming.keys():
            self._stop_warming(namespace)
        if cooled := voided & self._warm.keys():
            self._changes += 1
            for namespace in cooled:
                del self._warm[namespace]
            await self._ledger.forget_warm(cooled)
            log.info("namespaces_cooled", count=len(cooled))

    async def void_everything(self) -> None:
        """Note that every entry was dropped.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """
        await self.void([*self._warm, *self._warming])

    def renumber(self, namespace: Namespace) -> None:
        """Note that scans may have missed rows which upstream holds as they were."""
        if (warm := self._warm.get(namespace)) is not None:
            self._warm[namespace] = replace(warm, number=self._new_number())
            self._changes += 1

    async def check(self) -> None:
        """Void what the store lost entries of and what has come of age; give up the silent.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """
        for namespace in list(self._warming):
            self._is_warming(namespace)
        lost_through, now_ms = self._store.lost_through(), self._wall_ms()
        await self.void(
            [
                namespace
                for namespace, warm in self._warm.items()
                if lost_through > warm.mark or now_ms >= warm.record.expires_ms
            ]
        )

    async def states(self, namespaces: Iterable[Namespace] = ()) -> list[NamespaceWarmth]:
        """Return the state of each namespace, or with none named of all that are not cold.

        See :meth:`Writes.settled` before numbers are compared.
        """
        await self.check()
        named = list(namespaces) or sorted({*self._warm, *self._warming})
        return [self._state(namespace) for namespace in named]

    def _state(self, namespace: Namespace) -> NamespaceWarmth:
        warm = self._warm.get(namespace)
        is_warming = self._is_warming(namespace)
        state = WarmState.COLD if warm is None else WarmState.WARM
        return NamespaceWarmth(
            namespace=namespace,
            state=WarmState.WARMING if is_warming else state,
            warmed_through_ms=None if warm is None else warm.record.warmed_through_ms,
            warm_number=0 if warm is None else warm.number,
        )

    def _is_warming(self, namespace: Namespace) -> bool:
        warming = self._warming.get(namespace)
        if warming is not None and self._clock() > warming.heard_s + SILENCE_S_MAX:
            self._stop_warming(namespace)
            log.warning("warming_given_up", namespace=namespace)
            return False
        return warming is not None

    def _stop_warming(self, namespace: Namespace) -> None:
        del self._warming[namespace]
        self._changes += 1

    def _current(self, namespace: Namespace, warm_id: str) -> _Warming:
        warming = self._warming.get(namespace)
        if warming is None or warming.warm_id != warm_id or not self._is_warming(namespace):
            raise NotFoundError(
                "WARM_UNKNOWN",
                "The warming is unknown, was silent for too long, or what it had stored was "
                "dropped; begin again.",
                namespace=namespace,
            )
        return warming

    def _new_number(self) -> int:
        self._last_number += 1
        return self._last_number
