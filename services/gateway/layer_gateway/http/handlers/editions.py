"""What this gateway says of itself: its routes, and what it has nothing of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from layer_gateway.http.answers import json_answer
from layer_gateway.http.openapi import openapi
from layer_gateway.http.requests import Handler
from layer_gateway.http.routes import Operation, Route
from layer_kit.errors import NotFoundError, UnsupportedError

LICENSE: Final = {
    "valid": False,
    "state": "floor",
    "reason": "open_gateway",
    "gateway": {"state": "floor", "seconds_to_deadline": 0, "grace_seconds_remaining": 0},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EditionHandlers:
    """Tells in the words of the contract, without reading what was sent."""

    store_name: str

    def table(self) -> Mapping[Operation, Handler]:
        return {
            Operation.IMPORT: self.refuse_import,
            Operation.KEYS: self.no_keys,
            Operation.AUTHENTICATE_KEY: self.no_keys,
            Operation.LICENSE: self.license,
            Operation.OPENAPI: self.openapi,
        }

    async def refuse_import(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        raise UnsupportedError(
            "IMPORT_UNSUPPORTED",
            "The store takes no Arrow streams; write rows instead.",
            store=self.store_name,
            route="importNamespace",
        )

    async def no_keys(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        raise NotFoundError(
            "KEYS_OFF", "This gateway has no key store; its keys are those of the manifest."
        )

    async def openapi(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        return json_answer(openapi())

    async def license(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        return json_answer(LICENSE)
