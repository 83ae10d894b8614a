"""Fetching documents by their ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from layer_gateway.application.fetching import FetchRows
from layer_gateway.application.history import History
from layer_gateway.http.bodies import json_at_hand, read_json_body
from layer_gateway.http.edge_request import EdgeRequest
from layer_gateway.http.errand_ports import QuickHandler
from layer_gateway.http.fetch_exchanges import FetchExchange
from layer_gateway.http.fetches import FetchAsked, fetch_response
from layer_gateway.http.requests import Handler, caller_of, query_string, session_of
from layer_gateway.http.routes import Operation, Route
from layer_kit.errors import InvalidRequestError
from layer_kit.names import parse_namespace
from layer_wire.jsontext import decode
from layer_wire.queries import VECTOR_ATTRIBUTE


class _FetchBody(msgspec.Struct):
    ids: list[str | int]
    include_attributes: list[str] | None = None


_FETCH_BODY: Final[msgspec.json.Decoder[_FetchBody]] = msgspec.json.Decoder(_FetchBody)


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentHandlers:
    """One document, or a batch of them."""

    fetch_rows: FetchRows
    history: History
    body_bytes_max: int

    def table(self) -> Mapping[Operation, Handler]:
        return {Operation.FETCH_ONE: self.fetch_one, Operation.FETCH_MANY: self.fetch_many}

    def quick_table(self) -> Mapping[Operation, QuickHandler]:
        return {
            Operation.FETCH_ONE: self.begin_fetch_one,
            Operation.FETCH_MANY: self.begin_fetch_many,
        }

    async def fetch_one(self, request: EdgeRequest, route: Route) -> web.StreamResponse:
        return await self._fetched(request, _one_asked(request, route))

    async def fetch_many(self, request: EdgeRequest, route: Route) -> web.StreamResponse:
        body = await read_json_body(request, self.body_bytes_max)
        return await self._fetched(request, _many_asked(request, route, body))

    def begin_fetch_one(self, request: EdgeRequest, route: Route) -> FetchExchange | None:
        """Return the exchange with the cache that a fetch takes, if it takes just one."""
        head = request.head
        if request.received is None or not head.is_usual or head.method == "HEAD":
            return None
        asked = head.kept
        if not isinstance(asked, FetchAsked):  # the path says it all, and the path is the head's
            asked = head.kept = _one_asked(request, route)
        request.fetched = 1, None
        return self._begun(request, asked)

    def begin_fetch_many(self, request: EdgeRequest, route: Route) -> FetchExchange | None:
        """Do the same for a batch."""
        if request.received is None or not request.head.is_usual:
            return None
        body = json_at_hand(request, self.body_bytes_max)
        return None if body is None else self._begun(request, _many_asked(request, route, body))

    def _begun(self, request: EdgeRequest, asked: FetchAsked) -> FetchExchange | None:
        if not asked.visit.is_minted:
            return None  # its history is to be told
        fetch_rows = self.fetch_rows
        begun = fetch_rows.begin(asked.namespace, asked.ids, request.head.caller, names=asked.names)
        if begun is None:
            return None
        return FetchExchange(request, fetch_rows, self.history, asked, begun)

    async def _fetched(self, request: EdgeRequest, asked: FetchAsked) -> web.StreamResponse:
        found = await self.fetch_rows.by_text(
            asked.namespace, asked.ids, caller_of(request), names=asked.names
        )
        return fetch_response(request, asked, found, self.history)


def _one_asked(request: EdgeRequest, route: Route) -> FetchAsked:
    """Read a fetch out of a path; as with that of a batch, its handlers notice what is wrong."""
    name, ids = parse_namespace(route.namespace), [route.names["id"]]
    request.fetched = 1, None
    visit = session_of(request)
    query = query_string(request)
    names, drops_vector = _wanted(query) if query else (None, False)
    return FetchAsked(name, ids, names, drops_vector, visit, False)  # noqa: FBT003


def _many_asked(request: EdgeRequest, route: Route, body: bytes) -> FetchAsked:
    name = parse_namespace(route.namespace)
    visit = session_of(request)
    asked = decode(_FETCH_BODY, body)
    if not asked.ids:
        raise InvalidRequestError("NO_IDS", "ids is empty; name at least one.", field="ids")
    ids = list(dict.fromkeys(map(str, asked.ids)))
    request.fetched = len(ids), None
    names, drops_vector = _without_vector(asked.include_attributes)
    return FetchAsked(name, ids, names, drops_vector, visit, True)  # noqa: FBT003


def _wanted(query: str) -> tuple[list[str] | None, bool]:
    """Read ``include_attributes`` of a query string: absent means all, empty means none."""
    given = parse_qsl(query, keep_blank_values=True)
    lists = [listed for name, listed in given if name == "include_attributes"]
    names = [name for listed in lists for name in listed.split(",") if name]
    return _without_vector(names if lists else None)


def _without_vector(names: list[str] | None) -> tuple[list[str] | None, bool]:
    """Return the attributes that may be answered, None for all, and whether one may not."""
    if names is None:
        return None, False
    kept = [name for name in names if name != VECTOR_ATTRIBUTE]
    return kept, len(kept) < len(names)
