"""Serves the routes of the contract: the edge that reads requests and renders answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

import structlog
from aiohttp import web

from layer_kit.clock import Monotonic
from layer_kit.errors import InternalError, LayerError, UnauthenticatedError
from layer_vectorstore.domain.errors import RefusedError
from layer_vectorstore.domain.limits import NAMESPACE_LENGTH_MAX
from layer_vectorstore.http.answers import error_response
from layer_vectorstore.http.bodies import accepts_gzip, gzipped, read_body
from layer_vectorstore.http.faults import FaultInjector
from layer_vectorstore.http.metrics import HttpMetrics
from layer_vectorstore.http.routes import Request, Route, Routes

log = structlog.get_logger(__name__)

_NAMESPACE: Final = re.compile(r"[A-Za-z0-9\-_.]+")
METHODS_WITH_BODY: Final = ("POST", "PATCH", "PUT")

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    body_bytes_max: int
    api_keys: frozenset[str]
    """Empty accepts any key, and none."""


class VectorstoreServer:
    """Handles one request at a time per connection; work is done on two pools of threads.

    Writes wait for the disk, so they have threads of their own that queries never wait for.
    """

    def __init__(
        self,
        routes: Routes,
        *,
        limits: HttpLimits,
        readers: ThreadPoolExecutor,
        writers: ThreadPoolExecutor,
        faults: FaultInjector,
        metrics: HttpMetrics,
        clock: Monotonic,
    ) -> None:
        self._routes = routes
        self._limits = limits
        self._readers = readers
        self._writers = writers
        self._faults = faults
        self._metrics = metrics
        self._clock = clock

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        started_at_s = self._clock()
        route = "none"
        try:
            self._authenticate(request)
            segments = tuple(unquote(part) for part in request.rel_url.raw_path.split("/")[1:])
            if self._faults.is_admin(segments):
                return self._faults.administer(request.method, await read_body(request, 1 << 16))
            found, values = self._routes.find(request.method, segments)
            route = found.name
            await self._faults.strike(request)
            response = await self._run(found, values, request)
            self._faults.strike_answer(request)
        except InvalidNamespaceError as error:
            response = web.Response(status=400, text=str(error))
        except LayerError as error:
            response = error_response(error)
        except RecursionError:
            response = error_response(
                RefusedError("JSON_TOO_DEEP", "💔 the request body is nested too deeply")
            )
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("request_failed", route=route)
            response = error_response(InternalError("INTERNAL", "internal error"))
        elapsed_s = self._clock() - started_at_s
        self._metrics.observe(route, response.status, elapsed_s)
        log.debug(
            "request_finished",
            route=route,
            status=response.status,
            total_ms=round(elapsed_s * 1000, 3),
        )
        return response

    async def _run(
        self, route: Route, values: Mapping[str, str], request: web.BaseRequest
    ) -> web.Response:
        if "namespace" in values:
            check_namespace(values["namespace"])
        body = b""
        if request.method in METHODS_WITH_BODY:
            body = await read_body(request, self._limits.body_bytes_max)
        whole = Request(
            namespace=values.get("namespace", ""),
            token=values.get("token", ""),
            query=query_of(request),
            body=body,
        )
        pool = self._writers if route.is_write else self._readers
        is_gzip_accepted = accepts_gzip(request.headers.get("accept-encoding", ""))

        def run() -> web.Response:
            response = route.run(whole)
            return gzipped(response) if is_gzip_accepted else response

        return await asyncio.get_running_loop().run_in_executor(pool, run)

    def _authenticate(self, request: web.BaseRequest) -> None:
        if not self._limits.api_keys:
            return
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or key.strip() not in self._limits.api_keys:
            raise UnauthenticatedError("KEY_INVALID", "💔 missing or invalid API key")


class InvalidNamespaceError(Exception):
    """The one error that the contract answers as plain text."""


def check_namespace(name: str) -> None:
    if len(name) > NAMESPACE_LENGTH_MAX:
        raise InvalidNamespaceError(
            f"Invalid URL: Namespace `{name[:NAMESPACE_LENGTH_MAX]}` is too long, "
            f"limit is currently {NAMESPACE_LENGTH_MAX} characters"
        )
    if _NAMESPACE.fullmatch(name) is None:
        raise InvalidNamespaceError(
            "Invalid URL: Namespace contains invalid characters, must be [A-Za-z0-9-_.]"
        )


def query_of(request: web.BaseRequest) -> Mapping[str, str]:
    try:
        return request.rel_url.query
    except ValueError as error:
        raise RefusedError("URL_INVALID", "💔 the query string cannot be decoded") from error
