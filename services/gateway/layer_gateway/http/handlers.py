"""Handlers: translate a request, call one use case, render its answer. No rules here."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from layer_gateway.application.facts import Facts
from layer_gateway.application.fetching import FetchRows
from layer_gateway.application.inbound import SENT_ON
from layer_gateway.application.namespaces import Namespaces
from layer_gateway.application.querying import QueryRows
from layer_gateway.application.writing import WriteRows
from layer_gateway.http.answers import WholeAnswer, json_answer, relayed
from layer_gateway.http.bodies import read_json_body
from layer_gateway.http.passthrough import Passthrough
from layer_gateway.http.routes import Operation, Route
from layer_gateway.ports import CachedRow, Caller, RowCache
from layer_kit.errors import InvalidRequestError, NotFoundError
from layer_kit.names import Namespace, parse_namespace
from layer_wire.jsontext import Raw, RawObject, decode
from layer_wire.queries import VECTOR_ATTRIBUTE, decode_query, is_native, parse_layer_query
from layer_wire.rows import read_answer

VECTOR_WARNING: Final = {"x-layer-warning": "vector_attribute_dropped"}
_TRACEPARENT: Final = re.compile(
    r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}", re.IGNORECASE
)


Handler = Callable[[web.BaseRequest, Route], Awaitable[web.StreamResponse]]


class _FetchBody(msgspec.Struct):
    ids: list[str | int]
    include_attributes: list[str] | None = None


_OBJECT: Final[msgspec.json.Decoder[RawObject]] = msgspec.json.Decoder(RawObject)
_FETCH_BODY: Final[msgspec.json.Decoder[_FetchBody]] = msgspec.json.Decoder(_FetchBody)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handlers:
    """The operations of the edge over the use cases."""

    write_rows: WriteRows
    query_rows: QueryRows
    fetch_rows: FetchRows
    namespaces: Namespaces
    facts: Facts
    cache: RowCache
    passthrough: Passthrough
    body_bytes_max: int

    def table(self) -> Mapping[Operation, Handler]:
        """Return the handler of every operation."""
        return {
            Operation.PASS: self.forward,
            Operation.LIST: self.list,
            Operation.DESCRIBE: self.describe,
            Operation.WRITE: self.write,
            Operation.DELETE: self.delete,
            Operation.QUERY: self.query,
            Operation.QUERY_OLD_PATH: self.query_old_path,
            Operation.FETCH_ONE: self.fetch_one,
            Operation.FETCH_MANY: self.fetch_many,
            Operation.CHANGE_SCHEMA: self.change_schema,
            Operation.STORE_METADATA: self.store_metadata,
        }

    async def forward(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        return await self.passthrough(request)

    async def write(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        body = await read_json_body(request, self.body_bytes_max)
        name = parse_namespace(route.namespace)
        return relayed(await self.write_rows(name, body, caller_of(request)))

    async def query(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        body = await read_json_body(request, self.body_bytes_max)
        name = parse_namespace(route.namespace)
        if is_native(decode_query(body)):
            return await self.passthrough(request, body=body)
        query = parse_layer_query(body)
        answer = await self.query_rows(name, query, caller_of(request))
        headers = {"traceparent": _traceparent(request)}
        if answer.refusal is not None:
            return relayed(answer.refusal, headers=headers)
        if query.drops_vector:
            headers |= VECTOR_WARNING
        if answer.next_cursor is not None:
            headers["x-layer-next-cursor"] = answer.next_cursor
        found = {"rows": answer.rows, "next_cursor": answer.next_cursor}
        return json_answer(found, headers=headers)

    async def query_old_path(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        target = request.raw_path.replace("/v1/", "/v2/", 1)
        return await self.passthrough(request, target=target)

    async def change_schema(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        response = await self.passthrough(request, is_awaited=True)
        if response.status < HTTPStatus.BAD_REQUEST:
            name = parse_namespace(route.namespace)
            self.facts.forget(name)
            await self.cache.invalidate(name)
        return response

    async def store_metadata(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        response = await self.passthrough(request, is_awaited=True)
        if isinstance(response, WholeAnswer) and response.status == HTTPStatus.OK:
            fields = read_answer(_OBJECT, response.body)
            # Layer's own clients insist on an `id`, which the store does not send.
            return json_answer({"id": route.namespace, **fields})
        return response

    async def fetch_one(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        name = parse_namespace(route.namespace)
        listed = dict(parse_qsl(_query_string(request), keep_blank_values=True))
        names, headers = _wanted(listed.get("include_attributes"))
        found = await self.fetch_rows.by_text(
            name, [route.document_id], caller_of(request), names=names
        )
        if 0 not in found.rows:
            raise NotFoundError(
                "DOCUMENT_NOT_FOUND",
                f"Namespace {name} has no document {route.document_id!r}.",
                namespace=name,
                id=route.document_id,
            )
        headers["x-layer-cache"] = found.result.value
        return json_answer(_document(route.document_id, found.rows[0]), headers=headers)

    async def fetch_many(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        body = await read_json_body(request, self.body_bytes_max)
        name = parse_namespace(route.namespace)
        asked = decode(_FETCH_BODY, body)
        if not asked.ids:
            raise InvalidRequestError("NO_IDS", "ids is empty; name at least one.", field="ids")
        ids = list(dict.fromkeys(str(id_) for id_ in asked.ids))
        names, headers = asked.include_attributes, {}
        if names is not None and VECTOR_ATTRIBUTE in names:
            names = [wanted for wanted in names if wanted != VECTOR_ATTRIBUTE]
            headers = dict(VECTOR_WARNING)
        found = await self.fetch_rows.by_text(name, ids, caller_of(request), names=names)
        headers["x-layer-cache"] = found.result.value
        documents = [_document(ids[at], found.rows[at]) for at in sorted(found.rows)]
        missing = [id_ for at, id_ in enumerate(ids) if at not in found.rows]
        return json_answer({"documents": documents, "missing": missing}, headers=headers)

    async def list(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        found = await self.namespaces.list(_query_string(request), caller_of(request))
        return json_answer(found) if isinstance(found, dict) else relayed(found)

    async def describe(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        found = await self.namespaces.describe(parse_namespace(route.namespace), caller_of(request))
        return json_answer(found) if isinstance(found, dict) else relayed(found)

    async def delete(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        name: Namespace = parse_namespace(route.namespace)
        await self.namespaces.delete(name, caller_of(request))
        message = "namespace deleted; purged 0 S3 object(s)"
        return json_answer({"status": "OK", "message": message})


def caller_of(request: web.BaseRequest) -> Caller:
    """Return what identifies the caller to the store."""
    return Caller(
        headers=[
            (lowered, value)
            for name, value in request.raw_headers
            if (lowered := name.lower()) in SENT_ON
        ]
    )


def _query_string(request: web.BaseRequest) -> str:
    """Return the query string as it came; aiohttp's own has its escapes undone already."""
    return request.raw_path.partition("?")[2]


def _document(document_id: str, row: CachedRow) -> dict[str, object]:
    return {"id": document_id, "attributes": Raw(row.body)}


def _wanted(listed: str | None) -> tuple[list[str] | None, dict[str, str]]:
    """Read ``include_attributes`` of a path: absent means all, empty means none."""
    if listed is None:
        return None, {}
    names = [name for name in listed.split(",") if name]
    kept = [name for name in names if name != VECTOR_ATTRIBUTE]
    return kept, dict(VECTOR_WARNING) if len(kept) < len(names) else {}


def _traceparent(request: web.BaseRequest) -> str:
    """Echo a valid traceparent, or mint one so that clicks can be joined to this query."""
    offered = request.headers.get("traceparent", "")
    found = _TRACEPARENT.fullmatch(offered)
    if found and set(found[1]) != {"0"} and set(found[2]) != {"0"}:
        return offered
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
