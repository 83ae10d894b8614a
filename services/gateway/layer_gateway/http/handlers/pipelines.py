"""Pipelines: created, watched, and worked on by their workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from layer_gateway.http.answers import json_answer
from layer_gateway.http.bodies import read_json_body
from layer_gateway.http.requests import Handler, query_string
from layer_gateway.http.routes import Operation, Route
from layer_gateway.ports.pipelines import Pipelines
from layer_kit.errors import InvalidRequestError
from layer_wire import pipelines as wire
from layer_wire.jsontext import decode

CONTROL_BYTES_MAX: Final = 1024 * 1024
CHUNKS_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of JSON; the chunks in it have a bound of their own."""
FAILED_LIMIT_DEFAULT: Final = 100
FAILED_LIMIT_MAX: Final = 1000

_CREATE: Final = msgspec.json.Decoder(wire.CreatePipeline)
_STAGE: Final = msgspec.json.Decoder(wire.StageDocument)
_CLAIM: Final = msgspec.json.Decoder(wire.ClaimDocuments)
_HEARTBEAT: Final = msgspec.json.Decoder(wire.HeartbeatDocuments)
_MOVE: Final = msgspec.json.Decoder(wire.MoveDocuments)
_VECTORS: Final = msgspec.json.Decoder(wire.WriteVectors)
_ROWS: Final = msgspec.json.Decoder(wire.WriteRows)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineHandlers:
    """Every route below ``/v2/pipelines``."""

    pipelines: Pipelines
    body_bytes_max: int
    """Of rows, which may hold vectors."""

    def table(self) -> Mapping[Operation, Handler]:
        return {
            Operation.CREATE_PIPELINE: self.create,
            Operation.LIST_PIPELINES: self.list,
            Operation.DELETE_PIPELINE: self.delete,
            Operation.PIPELINE_STATUS: self.status,
            Operation.CLAIM_DOCUMENTS: self.claim,
            Operation.HEARTBEAT_DOCUMENTS: self.heartbeat,
            Operation.MOVE_DOCUMENTS: self.move,
            Operation.LIST_FAILED_DOCUMENTS: self.failed,
            Operation.STAGE_DOCUMENT: self.stage,
            Operation.GET_CHUNKS: self.chunks,
            Operation.PUT_VECTORS: self.write_vectors,
            Operation.PUT_ROWS: self.write_rows,
        }

    async def create(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        body = decode(_CREATE, await read_json_body(request, CONTROL_BYTES_MAX))
        return json_answer(await self.pipelines.create(body))

    async def list(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        return json_answer(await self.pipelines.list())

    async def delete(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        await self.pipelines.delete(route.names["id"])
        return _done(f"pipeline {route.names['id']} deleted")

    async def status(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        return json_answer(await self.pipelines.status(route.names["id"]))

    async def claim(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        body = decode(_CLAIM, await read_json_body(request, CONTROL_BYTES_MAX))
        return json_answer(await self.pipelines.claim(route.names["id"], body))

    async def heartbeat(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        body = decode(_HEARTBEAT, await read_json_body(request, CONTROL_BYTES_MAX))
        return json_answer(await self.pipelines.heartbeat(route.names["id"], body))

    async def move(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        body = decode(_MOVE, await read_json_body(request, CONTROL_BYTES_MAX))
        return json_answer(await self.pipelines.move(route.names["id"], body))

    async def failed(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        given = dict(parse_qsl(query_string(request), keep_blank_values=True))
        found = await self.pipelines.failed(
            route.names["id"], limit=_limit(given.get("limit")), page_token=given.get("cursor", "")
        )
        return json_answer(found)

    async def stage(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        body = decode(_STAGE, await read_json_body(request, CHUNKS_BYTES_MAX))
        names = route.names
        return json_answer(await self.pipelines.stage(names["id"], names["document"], body))

    async def chunks(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        names = route.names
        return json_answer(await self.pipelines.chunks(names["id"], names["document"]))

    async def write_vectors(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        body = decode(_VECTORS, await read_json_body(request, self.body_bytes_max))
        names = route.names
        count = await self.pipelines.write_vectors(names["id"], names["document"], body)
        return _done(f"{count} rows written")

    async def write_rows(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        body = decode(_ROWS, await read_json_body(request, self.body_bytes_max))
        names = route.names
        count = await self.pipelines.write_rows(names["id"], names["document"], body)
        return _done(f"{count} rows written")


def _done(message: str) -> web.StreamResponse:
    return json_answer({"status": "ok", "message": message})


def _limit(text: str | None) -> int:
    if text is None:
        return FAILED_LIMIT_DEFAULT
    if not (text.isascii() and text.isdecimal() and int(text[:10]) > 0):
        raise InvalidRequestError(
            "PARAMETER_INVALID", f"limit {text[:64]!r} is no number of at least 1.", field="limit"
        )
    return min(int(text[:10]), FAILED_LIMIT_MAX)
