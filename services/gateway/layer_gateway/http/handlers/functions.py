"""Functions: registered, watched, and worked on by their workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from layer_gateway.http.answers import json_answer
from layer_gateway.http.bodies import read_body, read_json_body
from layer_gateway.http.requests import Handler, query_string
from layer_gateway.http.routes import Operation, Route
from layer_gateway.ports.functions import Functions
from layer_kit.errors import InvalidRequestError
from layer_wire import functions as wire
from layer_wire.jsontext import decode

CONTROL_BYTES_MAX: Final = 1024 * 1024
FAILED_LIMIT_DEFAULT: Final = "100"
FAILED_LIMIT_MAX: Final = 1000

T = TypeVar("T")

_CREATE: Final = msgspec.json.Decoder(wire.CreateUdf)
_UPDATE: Final = msgspec.json.Decoder(wire.UpdateUdf)
_PAUSE: Final = msgspec.json.Decoder(wire.Pause)
_LOOKUP: Final = msgspec.json.Decoder(wire.Lookup)
_DISCOVER: Final = msgspec.json.Decoder(wire.Discover)
_CLAIM: Final = msgspec.json.Decoder(wire.Claim)
_HEARTBEAT: Final = msgspec.json.Decoder(wire.Heartbeat)
_COMPLETE: Final = msgspec.json.Decoder(wire.Complete)
_FAIL: Final = msgspec.json.Decoder(wire.Fail)
_CANDIDATE: Final = msgspec.json.Decoder(wire.CreateCandidate)
_PROMOTE: Final = msgspec.json.Decoder(wire.PromoteCandidate)


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionHandlers:
    """Every route below ``/v2/udfs``."""

    functions: Functions
    body_bytes_max: int
    """Of results, which may hold vectors."""

    def table(self) -> Mapping[Operation, Handler]:
        return {
            Operation.CREATE_FUNCTION: self.create,
            Operation.LIST_FUNCTIONS: self.list,
            Operation.GET_FUNCTION: self.get,
            Operation.PUT_FUNCTION: self.put,
            Operation.DELETE_FUNCTION: self.delete,
            Operation.FUNCTION_STATUS: self.status,
            Operation.PAUSE_FUNCTION: self.pause,
            Operation.RESUME_FUNCTION: self.resume,
            Operation.RESET_FAILED_ITEMS: self.reset_failed,
            Operation.LIST_FAILED_ITEMS: self.failed_items,
            Operation.DISCOVER_ITEMS: self.discover,
            Operation.CLAIM_ITEMS: self.claim,
            Operation.HEARTBEAT_ITEMS: self.heartbeat,
            Operation.COMPLETE_ITEMS: self.complete,
            Operation.FAIL_ITEMS: self.fail,
            Operation.LOOK_UP_ITEMS: self.look_up,
            Operation.CREATE_CANDIDATE: self.create_candidate,
            Operation.GET_CANDIDATE: self.candidate,
            Operation.DELETE_CANDIDATE: self.delete_candidate,
            Operation.COMPARE_CANDIDATE: self.compare_candidate,
            Operation.PROMOTE_CANDIDATE: self.promote_candidate,
        }

    async def create(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        return json_answer(await self.functions.create(await _body(request, _CREATE)))

    async def list(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        return json_answer(await self.functions.list())

    async def get(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        return json_answer(await self.functions.get(route.names["id"]))

    async def put(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        body = await _body(request, _UPDATE)
        return json_answer(await self.functions.put(route.names["id"], body.spec))

    async def delete(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        await self.functions.delete(route.names["id"])
        return json_answer({"status": "ok", "message": f"function {route.names['id']} deleted"})

    async def status(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        return json_answer(await self.functions.status(route.names["id"]))

    async def pause(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        text = await read_body(request, CONTROL_BYTES_MAX)
        reason = decode(_PAUSE, text).reason if text.strip() else None
        return json_answer(await self.functions.pause(route.names["id"], reason or ""))

    async def resume(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        return json_answer(await self.functions.resume(route.names["id"]))

    async def reset_failed(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        return json_answer(await self.functions.reset_failed(route.names["id"]))

    async def failed_items(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        given = dict(parse_qsl(query_string(request), keep_blank_values=True))
        limit = min(_number(given, "limit", FAILED_LIMIT_DEFAULT), FAILED_LIMIT_MAX)
        found = await self.functions.failed_items(
            route.names["id"], limit=limit, page_token=given.get("cursor", "")
        )
        return json_answer(found)

    async def discover(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        body = await _body(request, _DISCOVER)
        return json_answer(await self.functions.discover(route.names["id"], body))

    async def claim(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        body = await _body(request, _CLAIM)
        return json_answer(await self.functions.claim(route.names["id"], body))

    async def heartbeat(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        body = await _body(request, _HEARTBEAT)
        return json_answer(await self.functions.heartbeat(route.names["id"], body))

    async def complete(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        body = decode(_COMPLETE, await read_json_body(request, self.body_bytes_max))
        return json_answer(await self.functions.complete(route.names["id"], body))

    async def look_up(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        body = await _body(request, _LOOKUP)
        return json_answer(await self.functions.look_up(route.names["id"], body))

    async def fail(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        body = await _body(request, _FAIL)
        return json_answer(await self.functions.fail(route.names["id"], body))

    async def create_candidate(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        body = await _body(request, _CANDIDATE)
        return json_answer(await self.functions.create_candidate(route.names["id"], body))

    async def candidate(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        return json_answer(await self.functions.candidate(route.names["id"]))

    async def delete_candidate(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        await self.functions.delete_candidate(route.names["id"])
        return json_answer({"status": "ok", "message": f"candidate of {route.names['id']} deleted"})

    async def compare_candidate(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        given = dict(parse_qsl(query_string(request), keep_blank_values=True))
        wanted = _compare(given)
        return json_answer(await self.functions.compare_candidate(route.names["id"], wanted))

    async def promote_candidate(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        body = await _body(request, _PROMOTE)
        return json_answer(await self.functions.promote_candidate(route.names["id"], body))


async def _body(request: web.BaseRequest, decoder: msgspec.json.Decoder[T]) -> T:
    return decode(decoder, await read_json_body(request, CONTROL_BYTES_MAX))


def _compare(given: Mapping[str, str]) -> wire.Compare:
    known = {name: given[name] for name in wire.Compare.__struct_fields__ if name in given}
    try:
        return msgspec.convert(known, wire.Compare, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequestError("PARAMETER_INVALID", f"{error}.") from error


def _number(given: Mapping[str, str], name: str, default: str) -> int:
    text = given.get(name) or default
    if not (text.isascii() and text.isdecimal() and len(text) <= len("1000000000")) or not int(
        text
    ):
        raise InvalidRequestError(
            "PARAMETER_INVALID", f"{name} {text[:64]!r} is no number of at least 1.", field=name
        )
    return int(text)
