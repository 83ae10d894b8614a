"""History: what is told of a query or a fetch once it has been answered.

Telling costs a request a few microseconds and never a wait: the recorder takes what it is given as
it is, and does the rest later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from layer_gateway.application.answers import QueryAnswer
from layer_gateway.application.fetching import Fetched
from layer_gateway.domain.history import Clicked, Queried
from layer_gateway.domain.visits import Visit
from layer_gateway.ports.history import HistoryRecorder
from layer_kit.errors import UpstreamError
from layer_kit.names import Namespace
from layer_wire.jsontext import Raw, RawObject
from layer_wire.rows import row_ids

TOP_RESULTS_MAX: Final = 10
CLICKS_AT_ONCE: Final = 500
"""Rows of one fetch that travel together; a batch of the history service has 1000 events."""


@dataclass(slots=True, kw_only=True)
class History:
    """Tells the recorder what happened.

    Args:
        now_ns: The wall clock, which may go back.
    """

    recorder: HistoryRecorder
    now_ns: Callable[[], int]
    _last_ns: int = field(default=0)

    def queried(
        self,
        namespace: Namespace,
        fields: RawObject,
        visit: Visit,
        answer: QueryAnswer,
        echo: Mapping[str, object],
    ) -> None:
        """Record a query that was carried out. To be called once for each, after its answer.

        Args:
            fields: Those of the body, as they came.
            echo: What the answer tells of how the query was carried out.
        """
        if answer.refusal is None and not answer.is_deferred:
            ids = _ids(answer.rows[:TOP_RESULTS_MAX])
            self.found(
                namespace,
                fields,
                visit,
                ids,
                stable_as_of_ms=answer.stable_as_of_ms,
                echo=echo,
            )

    def found(
        self,
        namespace: Namespace,
        fields: RawObject,
        visit: Visit,
        ids: Sequence[str | int],
        *,
        stable_as_of_ms: int | None,
        echo: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        """Record a query and the ids of what it found, best first."""
        self.recorder.record(
            Queried(
                self._moments(1),
                namespace,
                visit.trace_id,
                visit.tags,
                visit.raw_query,
                stable_as_of_ms,
                fields,
                sum(map(_size_bytes, fields.values())),
                echo,
                ids[:TOP_RESULTS_MAX],
            )
        )

    def clicked(
        self,
        namespace: Namespace,
        ids: Sequence[str],
        visit: Visit,
        fetched: Fetched,
        *,
        is_batch: bool,
    ) -> None:
        """Record the rows that a fetch found, if it belongs to a trace of its caller's.

        Args:
            ids: Those that were asked for, in the order of ``fetched``.
        """
        if visit.is_minted or not fetched.rows:
            return
        opened = [(ids[at], at in fetched.cached) for at in fetched.rows]
        for start in range(0, len(opened), CLICKS_AT_ONCE):
            part = opened[start : start + CLICKS_AT_ONCE]
            first_ns = self._moments(len(part))
            self.recorder.record(
                Clicked(first_ns, namespace, visit.trace_id, visit.tags, part, is_batch)
            )

    def _moments(self, count: int) -> int:
        """Return the first of ``count`` nanoseconds, later than all before, whatever the clock."""
        first_ns = max(self._last_ns + 1, self.now_ns())
        self._last_ns = first_ns + count - 1
        return first_ns


def _ids(rows: Sequence[RawObject]) -> Sequence[str | int]:
    """Return the ids of rows, read at once: a raw one would hold on to the whole answer."""
    try:
        return row_ids(rows)
    except UpstreamError:  # an answer that no client could read either
        return ()


def _size_bytes(value: Raw) -> int:
    return memoryview(value).nbytes
