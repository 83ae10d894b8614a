"""Namespaces themselves, and what is passed on with something before or after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from layer_gateway.application.copying import check_sources
from layer_gateway.application.facts import Facts
from layer_gateway.application.initialising import InitNamespace
from layer_gateway.application.migrating import SCHEMA_VERSION, MigrateNamespace
from layer_gateway.application.namespaces import Namespaces
from layer_gateway.http.answers import WholeAnswer, json_answer, relayed
from layer_gateway.http.bodies import read_json_body
from layer_gateway.http.passthrough import Passthrough
from layer_gateway.http.requests import Handler, caller_of, query_string
from layer_gateway.http.routes import Operation, Route
from layer_gateway.ports.rows import RowCache
from layer_kit.names import parse_namespace
from layer_wire.jsontext import RawObject, decode
from layer_wire.rows import read_answer


class _InitBody(msgspec.Struct):
    schema_version: int | None = None
    shard_count: int | None = None


class _MigrateBody(msgspec.Struct):
    shard_count: int | None = None


_MIGRATE_BODY: Final[msgspec.json.Decoder[_MigrateBody]] = msgspec.json.Decoder(_MigrateBody)
_INIT_BODY: Final[msgspec.json.Decoder[_InitBody]] = msgspec.json.Decoder(_InitBody)
_OBJECT: Final[msgspec.json.Decoder[RawObject]] = msgspec.json.Decoder(RawObject)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceHandlers:
    """Lists, describes, deletes and alters namespaces."""

    namespaces: Namespaces
    init_namespace: InitNamespace
    migrate_namespace: MigrateNamespace
    facts: Facts
    cache: RowCache
    passthrough: Passthrough
    body_bytes_max: int

    def table(self) -> Mapping[Operation, Handler]:
        return {
            Operation.PASS: self.forward,
            Operation.LIST: self.list,
            Operation.DESCRIBE: self.describe,
            Operation.INIT: self.init,
            Operation.MIGRATE_SHARDS: self.migrate,
            Operation.DELETE: self.delete,
            Operation.CHANGE_SCHEMA: self.change_schema,
            Operation.STORE_METADATA: self.store_metadata,
        }

    async def forward(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        body = None
        if (patterns := caller_of(request).namespaces) and request.body_exists:
            # The store has other routes that copy; what cannot be read may name any namespace.
            body = await read_json_body(request, self.body_bytes_max)
            check_sources(body, patterns)
        return await self.passthrough(request, body=body)

    async def list(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        return json_answer(await self.namespaces.list(query_string(request), caller_of(request)))

    async def describe(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        found = await self.namespaces.describe(parse_namespace(route.namespace), caller_of(request))
        return json_answer(found) if isinstance(found, dict) else relayed(found)

    async def init(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        body = await self._options(request)
        name = parse_namespace(route.namespace)
        asked = decode(_INIT_BODY, body)
        layer = await self.init_namespace(
            name,
            schema_version=SCHEMA_VERSION if asked.schema_version is None else asked.schema_version,
            shard_count=asked.shard_count,
            caller=caller_of(request),
        )
        return json_answer({"namespace": name, "layer": layer})

    async def migrate(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        asked = decode(_MIGRATE_BODY, await self._options(request))
        manifest = await self.migrate_namespace(
            parse_namespace(route.namespace), asked.shard_count, caller_of(request)
        )
        is_over = manifest.completed_at is not None
        return json_answer(manifest, status=HTTPStatus.OK if is_over else HTTPStatus.ACCEPTED)

    async def _options(self, request: web.BaseRequest) -> bytes:
        """Return a body that may be left out, as all of its fields may."""
        return await read_json_body(request, self.body_bytes_max) if request.body_exists else b"{}"

    async def delete(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        count = await self.namespaces.delete(parse_namespace(route.namespace), caller_of(request))
        message = f"namespace deleted; purged {count} S3 object(s)"
        return json_answer({"status": "OK", "message": message})

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
