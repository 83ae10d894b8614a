"""The lookups of one stream, from its beginning to its end, whatever carries it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from itertools import takewhile
from typing import Final, NamedTuple

from layer.cache.v1 import cache_pb2
from layer_kit.errors import DeadlineError, LayerError, UnavailableError
from layer_kit.rpc.context import request_id
from layer_kit.rpc.errors import from_status

MESSAGE_LOOKUPS_MAX: Final = 32
WAITING_MAX: Final = 1024
"""Lookups that wait for a message to be taken; further ones are refused at once."""

Tell = Callable[[cache_pb2.LookupRowsResponse | BaseException], None]
"""Told of the answer or the error of a lookup, once."""


class _Asked(NamedTuple):
    """A lookup whose answer is waited for."""

    due_s: float
    tell: Tell


class OpenLookups:
    """Numbers lookups, hands out their answers, and gives up those that get none in time.

    A lookup has neither a task nor a timer of its own: they would cost more than all the rest.

    Args:
        timeout_s: The deadline of every lookup.
        wake: Called when there is something to send; it asks for messages until there is none.
        send: Sends a message at once; false where it cannot.
    """

    def __init__(
        self,
        timeout_s: float,
        wake: Callable[[], None],
        send: Callable[[cache_pb2.StreamLookupsRequest], bool] = lambda _: False,
    ) -> None:
        self.has_ended = False
        self.is_doubtful = False
        """Whether a lookup got no answer in time, and nothing was heard since."""
        self._timeout_s = timeout_s
        self._timeout_ms = int(timeout_s * 1000)
        self._wake = wake
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._waiting: list[cache_pb2.NumberedLookup] = []
        self._asked: dict[int, _Asked] = {}
        """By number, and so in the order in which they are due."""
        self._timer: asyncio.TimerHandle | None = None
        self._number = 0

    @property
    def has_waiting(self) -> bool:
        """Whether something may be there to send."""
        return bool(self._waiting)

    def look_up(self, request: cache_pb2.LookupRowsRequest, tell: Tell) -> None:
        if len(self._waiting) >= WAITING_MAX:
            tell(UnavailableError("LOOKUPS_WAITING", "The cache takes no further lookups."))
            return
        self._number += 1
        due_s = self._loop.time() + self._timeout_s
        self._asked[self._number] = _Asked(due_s, tell)
        message = cache_pb2.StreamLookupsRequest()
        message.lookups.add(
            lookup_number=self._number,
            timeout_ms=self._timeout_ms,
            request_id=request_id.get(),
            lookup=request,
        )
        if self._timer is None:
            self._timer = self._loop.call_at(due_s, self._expire)
        if self._waiting or not self._send(message):
            self._waiting.append(message.lookups[0])
            self._wake()

    def message(self) -> cache_pb2.StreamLookupsRequest | None:
        """Take what waits, as much as one message holds; None when nothing does."""
        # Those that nobody waits for any more stay here.
        lookups = [one for one in self._waiting if one.lookup_number in self._asked]
        self._waiting = lookups[MESSAGE_LOOKUPS_MAX:]
        if not lookups:
            return None
        return cache_pb2.StreamLookupsRequest(lookups=lookups[:MESSAGE_LOOKUPS_MAX])

    def answered(self, message: cache_pb2.StreamLookupsResponse) -> None:
        """Hand out answers."""
        self.is_doubtful = False
        for answer in message.answers:
            asked = self._asked.pop(answer.lookup_number, None)
            if asked is None:
                continue  # given up
            if answer.WhichOneof("outcome") == "found":
                asked.tell(answer.found)
            else:
                asked.tell(from_status(answer.status))

    def end(self, error: LayerError) -> None:
        """Fail whoever waits for an answer."""
        self.has_ended = True
        if self._timer is not None:
            self._timer.cancel()
        asked, self._asked = self._asked, {}
        _fail(asked.values(), error)

    def _expire(self) -> None:
        """Fail the lookups that are due; the first of the others sets the time of the next look."""
        now_s = self._loop.time()
        due = list(takewhile(lambda number: self._asked[number].due_s <= now_s, self._asked))
        expired = [self._asked.pop(number) for number in due]
        self._waiting = [one for one in self._waiting if one.lookup_number in self._asked]
        first = next(iter(self._asked.values()), None)
        self._timer = first and self._loop.call_at(first.due_s, self._expire)
        self.is_doubtful = self.is_doubtful or bool(expired)
        _fail(expired, DeadlineError("DEADLINE_EXCEEDED", "The cache did not answer in time."))


def _fail(lookups: Iterable[_Asked], error: LayerError) -> None:
    for asked in lookups:
        asked.tell(error)
