"""One scan's way to the store: where it is cut, how many requests at once, what is tried again.

The cut is held. A scan that began while the index was behind ends everywhere at the watermark
of its beginning; one that the store has no time for is cut there from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from layer_gateway.application.cuts import Cut
from layer_gateway.application.plans import Plan
from layer_gateway.application.refusals import retry_after_s
from layer_gateway.application.scanning.requests import ScanRequest
from layer_gateway.application.scanning.throttle import Throttle
from layer_gateway.ports.stores import Store, StoreAnswer
from layer_kit.errors import DeadlineError, UnavailableError, UpstreamError
from layer_wire import filters
from layer_wire.filters import Filter
from layer_wire.jsontext import Raw, encode, raw
from layer_wire.queries import UPSTREAM_ROWS_MAX

BY_ID: Final = raw(["id", "asc"])


class RefusedError(Exception):
    """The store has refused a request of a scan for good; never leaves this package."""

    def __init__(self, answer: StoreAnswer) -> None:
        super().__init__(answer.status)
        self.answer = answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request of a scan."""

    rank_by: Raw | None = None
    """None means by id."""
    row_count: int = UPSTREAM_ROWS_MAX
    names: Sequence[str] = ()
    """Attributes wanted."""
    first: Filter | None = None
    """What goes before the caller's filter: where a page begins, and which ids it may have."""
    added: Filter | None = None
    """What goes around it: the words of a leg."""
    part: Filter | None = None
    """Which part of the namespace is asked."""


@dataclass(slots=True, kw_only=True)
class StoreReads:
    """Sends the requests of one scan.

    Attributes:
        faults_max: How often in a row a request is sent anew when the store fails; a job, that
            nobody waits for, has some patience.
    """

    store: Store
    request: ScanRequest
    cut: Cut
    throttle: Throttle
    faults_max: int = 0
    _cuts_used: int = field(default=0, init=False)
    """The place, among the cuts of a plan, of the one that the scan is held to."""

    async def ask(self, plan: Plan, question: Question) -> bytes:
        """Return the body of the store's answer.

        Raises:
            RefusedError: When the store refuses, or goes on to ask for pauses.
            LayerError: The store's own.
        """
        request = self.request
        cuts = plan.cuts(self.cut, "eventual")
        faults_count = 0
        while True:
            used = min(self._cuts_used, len(cuts) - 1)
            body = self._body(plan, question, cuts[used])
            async with self.throttle.slot() as sent_at_s:
                try:
                    answer = await self.store.query(request.namespace, body, request.caller)
                except (UpstreamError, DeadlineError, UnavailableError):
                    faults_count += 1
                    if faults_count > self.faults_max:
                        raise
                    self.throttle.refused(sent_at_s)
                    continue
            if answer.status == HTTPStatus.OK:
                self.throttle.answered()
                return answer.body
            if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
                if used + 1 < len(cuts) and cuts[used + 1] is not None:
                    self._cuts_used = used + 1
                    continue
                if self.throttle.refused(sent_at_s, retry_after_s(answer)):
                    continue
            elif answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                faults_count += 1
                if faults_count <= self.faults_max:
                    self.throttle.refused(sent_at_s, retry_after_s(answer))
                    continue
            raise RefusedError(answer)

    def _body(self, plan: Plan, question: Question, cut: Filter | None) -> bytes:
        body: dict[str, object] = {
            "rank_by": question.rank_by or BY_ID,
            "top_k": question.row_count,
            "include_attributes": list(question.names),
            "consistency": {"level": plan.level("eventual")},
        }
        scan = self.request.scan
        wanted = filters.nested(
            scan.filter, question.added, plan.written(scan.written), cut, question.part
        )
        if (kept := filters.both(question.first, wanted)) is not None:
            body["filters"] = kept
        return encode(body)
