"""What the edge answers itself and everybody may ask: its health, and its metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from aiohttp import web

from layer_gateway.application.cache_states import CacheStates, shown
from layer_gateway.http.answers import WholeAnswer, json_answer
from layer_gateway.version import VERSION
from layer_kit.health import Health
from layer_kit.telemetry.metrics import CONTENT_TYPE, Exposition

METRICS_FIELDS: Final = ((b"content-type", CONTENT_TYPE.encode()),)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicPages:
    """Answers ``/metrics``, ``/ready`` and ``/health``."""

    cache_states: CacheStates
    is_draining: Callable[[], bool]
    health: Health
    exposition: Exposition

    async def __call__(self, path: str) -> web.StreamResponse:
        """Return the page at a path; that of health for all that have no other."""
        match path:
            case "/metrics":
                return WholeAnswer(HTTPStatus.OK, METRICS_FIELDS, await self.exposition())
            case "/ready" if self.is_draining():
                return json_answer({"status": "draining", "version": VERSION}, status=503)
            case "/ready" if not self.health.is_ready:
                components = self.health.components
                body = {"status": "starting", "version": VERSION, "components": components}
                return json_answer(body, status=503)
            case _:
                return json_answer({"status": "ok", "version": VERSION, **self._cache_health()})

    def _cache_health(self) -> dict[str, object]:
        """Return how the cache is, under the names that the contract has for it."""
        connection = self.cache_states.connection
        aerospike: dict[str, object] = {
            "connected": connection.is_connected,
            "generation": connection.generation,
        }
        if connection.last_error:
            aerospike["last_error"] = connection.last_error
        states = []
        for namespace, warmth in sorted(self.cache_states.known.items()):
            state = shown(warmth)
            if (through_ms := state.pop("warmed_through_ms", None)) is not None:
                state["warmed_through"] = through_ms
            states.append({"namespace": namespace, **state})
        return {"aerospike": aerospike, "cache_state": states}
