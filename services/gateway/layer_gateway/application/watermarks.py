"""How far the index of each namespace has come (docs/reference/http.md, "Stable reads").

A *watermark* is a time such that every row stamped at or before it is indexed. While an index is
behind, queries are cut there, so that they see one state of the namespace and not whatever parts
of it happen to be indexed. Watermarks live in memory alone and never go backwards.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import msgspec
import structlog

from layer_gateway.application.cuts import Cut
from layer_gateway.application.stamps import Stamps
from layer_gateway.application.watched import Watched, WatchSettings
from layer_gateway.ports.stores import Caller, Store
from layer_gateway.ports.watching import Mark, SharedMarks
from layer_kit.clock import Monotonic
from layer_kit.errors import LayerError, UpstreamError
from layer_kit.names import Namespace
from layer_wire.metadata import IndexStatus, index_status

log = structlog.get_logger(__name__)

NAMESPACES_WATCHED_MAX: Final = 10_000
POLLS_AT_ONCE_MAX: Final = 16
POLL_TIMEOUT_S: Final = 10.0
BACKOFF_S_MAX: Final = 60.0
IDLE_S: Final = 3600.0
"""A namespace that nobody asked for in this time is not polled until somebody does;
one that is registered again and again is."""

NO_CUT: Final = Cut()
EARLY_SHARE: Final = 0.1
"""A stable namespace comes due by up to this share early, so that many do not come together."""


class Watermarks:
    """Polls the namespaces that were used, or registered, and remembers how far each is stable.

    Args:
        polled: Told how each poll went, by one word.
        advanced: Told of every namespace whose watermark has moved, with the key that works there.
        deleted: Told of a namespace that a poll, or another process, has found to be gone.
        shared: Where other processes on this host publish their marks, and find ours.
    """

    def __init__(
        self,
        store: Store,
        stamps: Stamps,
        settings: WatchSettings,
        *,
        monotonic: Monotonic,
        polled: Callable[[str], None] = lambda _: None,
        advanced: Callable[[Namespace, int, bytes], None] = lambda _, __, ___: None,
        deleted: Callable[[Namespace], None] = lambda _: None,
        shared: SharedMarks | None = None,
        random_share: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._stamps = stamps
        self._settings = settings
        self._monotonic = monotonic
        self._polled = polled
        self._advanced = advanced
        self._deleted = deleted
        self._shared = shared
        self._random_share = random_share
        self._watched: OrderedDict[Namespace, Watched] = OrderedDict()
        self._slots = asyncio.Semaphore(POLLS_AT_ONCE_MAX)
        self._polls: set[asyncio.Task[None]] = set()

    def cut(self, namespace: Namespace) -> Cut:
        """Return where reads of a namespace end now; a request takes one and keeps it."""
        if self._shared is not None:
            self._hear_of(namespace)
        watched = self._watched.get(namespace)
        return NO_CUT if watched is None else watched.cut

    def is_stable(self, namespace: Namespace) -> bool:
        """Tell whether the latest poll has found the index up to date."""
        self._hear_of(namespace)
        watched = self._watched.get(namespace)
        return watched is not None and watched.status is IndexStatus.UP_TO_DATE

    def seen(self, namespace: Namespace, caller: Caller) -> None:
        """Watch a namespace that the store has just answered ``caller`` about."""
        now_s = self._monotonic()
        watched = self._watch(namespace, now_s)
        was_resting = watched.authorization is None or now_s - watched.used_at_s > IDLE_S
        watched.used_at_s = now_s
        watched.authorization = caller.authorization
        if was_resting:
            watched.due_at_s = now_s

    def written(self, namespace: Namespace, caller: Caller) -> None:
        """Look at a namespace soon: ``caller`` has written to it."""
        now_s = self._monotonic()
        watched = self._watch(namespace, now_s)
        watched.used_at_s = now_s
        watched.authorization = caller.authorization
        watched.writes_count += 1
        watched.written_at_ms = self._stamps.now_ms()
        watched.due_at_s = now_s

    def registered(self, namespace: Namespace) -> None:
        """Watch a namespace though nobody uses it, with the store's own key.

        It takes the place of none that is used, and not that of a key that works.
        """
        if namespace not in self._watched and len(self._watched) >= NAMESPACES_WATCHED_MAX:
            return
        self._hear_of(namespace)
        now_s = self._monotonic()
        watched = self._watched.get(namespace) or self._watch(namespace, now_s)
        watched.used_at_s = now_s
        if watched.authorization is None:
            watched.authorization = b""

    def forget(self, namespace: Namespace) -> None:
        """Forget a namespace that was deleted."""
        self._forget(namespace, self._stamps.now_ms())

    async def poll(self) -> None:
        """Start looking at every namespace that is due, a bounded number at a time."""
        started_s = self._monotonic()
        due = [
            (namespace, watched)
            for namespace, watched in self._watched.items()
            if watched.due_at_s <= started_s
            and not watched.is_polling
            and watched.authorization is not None
            and started_s - watched.used_at_s <= IDLE_S
        ]
        for namespace, watched in due:
            await self._slots.acquire()
            watched.is_polling = True
            task = asyncio.create_task(self._look(namespace, watched, started_s))
            self._polls.add(task)
            task.add_done_callback(self._polls.discard)

    async def settled(self) -> None:
        """Wait for the polls that are under way."""
        await asyncio.gather(*self._polls)

    async def aclose(self) -> None:
        """Give up the polls that are under way."""
        for task in self._polls:
            task.cancel()
        await asyncio.gather(*self._polls, return_exceptions=True)

    def _forget(self, namespace: Namespace, at_ms: int) -> None:
        self._watched.pop(namespace, None)
        if self._shared is not None:
            self._shared.forget(namespace, at_ms)

    def _watch(self, namespace: Namespace, now_s: float) -> Watched:
        watched = self._watched.get(namespace)
        if watched is None:
            if len(self._watched) >= NAMESPACES_WATCHED_MAX:
                self._watched.popitem(last=False)
            watched = self._watched[namespace] = Watched(used_at_s=now_s)
        else:
            self._watched.move_to_end(namespace)
        return watched

    def _hear_of(self, namespace: Namespace) -> None:
        """Take over what other processes on this host have learnt."""
        if self._shared is not None and (mark := self._shared.read(namespace)) is not None:
            self._learn(mark)

    def _learn(self, mark: Mark) -> None:
        if mark.is_deleted:
            self._unlearn(mark)
            return
        now_s = self._monotonic()
        watched = self._watch(mark.namespace, now_s)
        self._stamps.heard_of(mark.polled_at_ms)
        if mark.polled_at_ms > watched.polled_at_ms:
            watched.polled_at_ms = mark.polled_at_ms
            watched.become(mark.status, watched.watermark_ms)
            watched.due_at_s = max(watched.due_at_s, now_s + self._interval_s(watched))
        if mark.watermark_ms is not None:
            self._advance(mark.namespace, watched, mark.watermark_ms)

    def _unlearn(self, mark: Mark) -> None:
        """Give up what was true of a namespace before another process saw it deleted."""
        watched = self._watched.get(mark.namespace)
        if watched is None:
            self._deleted(mark.namespace)
        elif watched.polled_at_ms <= mark.polled_at_ms:
            if watched.polled_at_ms < mark.polled_at_ms or watched.cut != NO_CUT:
                self._deleted(mark.namespace)
            watched.become(IndexStatus.UNKNOWN, None)
            watched.polled_at_ms = mark.polled_at_ms
            watched.due_at_s = self._monotonic()

    async def _look(self, namespace: Namespace, watched: Watched, started_s: float) -> None:
        """Poll one namespace; errors are counted, logged and make the next poll come later."""
        writes_count = watched.writes_count
        try:
            status = await self._status(namespace, watched)
        except (LayerError, TimeoutError, msgspec.DecodeError, UnicodeDecodeError) as error:
            watched.failures_count += 1
            pause_s = min(BACKOFF_S_MAX, self._settings.interval_s * 2**watched.failures_count)
            watched.due_at_s = started_s + pause_s
            self._polled("failed")
            log.warning("watermark_poll_failed", namespace=namespace, message=str(error))
        else:
            if watched.writes_count == writes_count:
                watched.due_at_s = started_s + self._interval_s(watched)
            self._polled(status)
        finally:
            watched.is_polling = False
            self._slots.release()

    async def _status(self, namespace: Namespace, watched: Watched) -> str:
        """Ask the store and remember what it says; return one word for it."""
        self._hear_of(namespace)
        polled_at_ms = self._stamps.now_ms()
        on_their_way_ms = self._stamps.earliest_in_flight(namespace)
        async with asyncio.timeout(POLL_TIMEOUT_S):
            answer = await self._store.metadata(namespace, _caller(watched.authorization))
        if answer.status == HTTPStatus.NOT_FOUND:
            if self._watched.get(namespace) is watched:
                self._forget(namespace, polled_at_ms)
                if watched.polled_at_ms:  # it was there when looked at before
                    self._deleted(namespace)
            return "gone"
        if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            watched.authorization = None
            return "refused"
        if answer.status != HTTPStatus.OK:
            raise UpstreamError(
                "METADATA_UNREADABLE",
                f"The store answered with status {answer.status}.",
                status=answer.status,
            )
        watched.failures_count = 0
        if polled_at_ms < watched.polled_at_ms or self._watched.get(namespace) is not watched:
            return "late"
        watched.polled_at_ms = polled_at_ms
        watched.become(index_status(answer.body), watched.watermark_ms)
        if watched.status is IndexStatus.UP_TO_DATE:
            stable_ms = polled_at_ms - self._settings.safety_margin_ms
            if on_their_way_ms is not None:
                stable_ms = min(stable_ms, on_their_way_ms - 1)
            self._advance(namespace, watched, stable_ms)
        if self._shared is not None:  # before anybody can be answered with it
            self._shared.publish(
                Mark(
                    namespace=namespace,
                    status=watched.status,
                    watermark_ms=watched.watermark_ms,
                    polled_at_ms=polled_at_ms,
                )
            )
        return watched.status

    def _advance(self, namespace: Namespace, watched: Watched, watermark_ms: int) -> None:
        if watched.watermark_ms is None or watermark_ms > watched.watermark_ms:
            watched.become(watched.status, watermark_ms)
            self._advanced(namespace, watermark_ms, watched.authorization or b"")

    def _interval_s(self, watched: Watched) -> float:
        # The safety margin keeps the first watermark after a write before that write.
        is_behind = (watched.watermark_ms or 0) < watched.written_at_ms
        if is_behind or watched.status is not IndexStatus.UP_TO_DATE:
            return self._settings.interval_s
        early = EARLY_SHARE * self._random_share()
        return self._settings.stable_interval_s * (1 - early)


def _caller(authorization: bytes | None) -> Caller:
    """Return a caller with a key and nothing else of the request that it came with."""
    return Caller(headers=[(b"authorization", authorization)] if authorization else [])
