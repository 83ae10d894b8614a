"""Fetching documents by their ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from layer_gateway.application.fetching import FetchRows
from layer_gateway.application.history import History
from layer_gateway.http.answers import JSON_FIELDS, WholeAnswer
from layer_gateway.http.bodies import read_json_body
from layer_gateway.http.edge_request import EdgeRequest
from layer_gateway.http.requests import (
    Handler,
    caller_of,
    query_string,
    session_of,
    without_vector,
)
from layer_gateway.http.routes import Operation, Route
from layer_gateway.ports.rows import CachedRow
from layer_kit.errors import InvalidRequestError, NotFoundError
from layer_kit.names import parse_namespace
from layer_wire.jsontext import decode, encode


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

    async def fetch_one(self, request: EdgeRequest, route: Route) -> web.StreamResponse:
        name, document_id = parse_namespace(route.namespace), route.names["id"]
        request.fetched = 1, None
        visit = session_of(request)
        names, headers = _wanted(query_string(request))
        found = await self.fetch_rows.by_text(name, [document_id], caller_of(request), names=names)
        if 0 not in found.rows:
            raise NotFoundError(
                "DOCUMENT_NOT_FOUND",
                f"Namespace {name} has no document {document_id!r}.",
                namespace=name,
                id=document_id,
            )
        self.history.clicked(name, [document_id], visit, found, is_batch=False)
        headers["x-layer-cache"] = result = found.result.value
        request.fetched = 1, result
        body = _documents([document_id], found.rows)
        return WholeAnswer(HTTPStatus.OK, JSON_FIELDS, body, headers=headers)

    async def fetch_many(self, request: EdgeRequest, route: Route) -> web.StreamResponse:
        body = await read_json_body(request, self.body_bytes_max)
        name = parse_namespace(route.namespace)
        visit = session_of(request)
        asked = decode(_FETCH_BODY, body)
        if not asked.ids:
            raise InvalidRequestError("NO_IDS", "ids is empty; name at least one.", field="ids")
        ids = list(dict.fromkeys(map(str, asked.ids)))
        request.fetched = len(ids), None
        names, headers = without_vector(asked.include_attributes)
        found = await self.fetch_rows.by_text(name, ids, caller_of(request), names=names)
        self.history.clicked(name, ids, visit, found, is_batch=True)
        headers["x-layer-cache"] = result = found.result.value
        request.fetched = len(ids), result
        missing: list[str] = []
        if len(found.rows) < len(ids):
            missing = [id_ for at, id_ in enumerate(ids) if at not in found.rows]
        body = _DOCUMENTS % (_documents(ids, found.rows), encode(missing))
        return WholeAnswer(HTTPStatus.OK, JSON_FIELDS, body, headers=headers)


_DOCUMENTS: Final = b'{"documents":[%b],"missing":%b}'


def _documents(ids: Sequence[str], rows: Mapping[int, CachedRow]) -> bytes:
    """Return documents as JSON, around that of their attributes, which is as it was stored."""
    return b",".join(
        [b'{"id":%b,"attributes":%b}' % (encode(ids[at]), rows[at].body) for at in sorted(rows)]
    )


def _wanted(query: str) -> tuple[list[str] | None, dict[str, str]]:
    """Read ``include_attributes`` of a query string: absent means all, empty means none."""
    given = parse_qsl(query, keep_blank_values=True)
    lists = [listed for name, listed in given if name == "include_attributes"]
    names = [name for listed in lists for name in listed.split(",") if name]
    return without_vector(names if lists else None)
