"""The exchange with the cache that a fetch is, as long as the cache has all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any, Final

import msgspec
from aiohttp import web

from layer_gateway.application.begun_fetches import BegunFetch
from layer_gateway.application.fetching import CacheResult, FetchRows
from layer_gateway.application.history import History
from layer_gateway.http.answers import QuickAnswer
from layer_gateway.http.edge_request import EdgeRequest
from layer_gateway.http.errand_ports import Receiver
from layer_gateway.http.fetches import FetchAsked, fetch_response, hit_response
from layer_gateway.ports.rows import CacheLookup
from layer_kit.rpc.context import mint_request_id, request_id

_HIT: Final = CacheResult.HIT.value


class FetchExchange(msgspec.Struct, eq=False):
    """Looks rows up, and answers with them; what was missed is read upstream in a task."""

    _request: EdgeRequest
    _fetch_rows: FetchRows
    _history: History
    _asked: FetchAsked
    _begun: BegunFetch
    _receiver: Receiver[CacheLookup] | None = None
    _has_begun: bool = False

    def begin(self, receiver: Receiver[CacheLookup]) -> None:
        request = self._request
        request.identifier = request.head.request_id or mint_request_id()
        self._receiver = receiver
        # The cache is told the request id, which nothing else on this connection is to find.
        copy_context().run(self._look_up)
        self._has_begun = True

    def _look_up(self) -> None:
        request_id.set(self._request.identifier)
        begun = self._begun
        self._fetch_rows.cache.begin_lookup(begun.lookup_kind, begun.keys, self._told)

    def _told(self, outcome: CacheLookup | BaseException) -> None:
        receiver = self._receiver
        assert receiver is not None
        if not self._has_begun:
            asyncio.get_running_loop().call_soon(self._told, outcome)
        elif isinstance(outcome, CacheLookup):
            receiver.answered(outcome)
        elif isinstance(outcome, Exception):
            receiver.failed(outcome)
        else:  # given up with what carried it; to raise it here would hit others who wait for it
            receiver.answered(CacheLookup(is_available=False))

    def conclude(self, answer: CacheLookup) -> QuickAnswer | None:
        asked, count = self._asked, len(self._asked.ids)
        if len(answer.positions) != count:
            return None
        self._request.fetched = count, _HIT
        response = hit_response(asked, answer.bodies)
        response.request_id = self._request.identifier
        return response

    def go_on(self, answer: CacheLookup) -> Coroutine[Any, Any, web.StreamResponse]:
        return self._go_on(answer)

    async def _go_on(self, answer: CacheLookup) -> web.StreamResponse:
        found = await self._fetch_rows.go_on(self._begun, answer)
        return fetch_response(self._request, self._asked, found, self._history)

    def prepare(self, identifier: str) -> None:
        """Do nothing: the answer is all rows."""

    body_opening = None
    is_right = True

    def takes(self, data: bytes, start: int) -> bool:
        return False

    def settle(self) -> None:
        """Do nothing: a fetch that history is to hear of has a trace, and is no errand."""
