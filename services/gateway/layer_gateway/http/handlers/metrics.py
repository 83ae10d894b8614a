"""The catalogue of metrics, and the way to where they are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, urlencode

from aiohttp import web

from layer_gateway.domain.metric_catalogue import metric_named, metrics_of
from layer_gateway.domain.metrics import Metric
from layer_gateway.http.answers import JSON_FIELDS, WholeAnswer
from layer_gateway.http.bodies import read_body
from layer_gateway.http.requests import Handler, query_string
from layer_gateway.http.routes import Operation, Route
from layer_gateway.ports.stores import StoreAnswer
from layer_gateway.ports.watching import MetricsSource
from layer_kit.errors import LayerError
from layer_wire.jsontext import encode

VERSION: Final = "1"
CACHED: Final = (b"cache-control", b"public, max-age=86400")
FORM_BYTES_MAX: Final = 1024 * 1024
SAMPLES_BYTES_MAX: Final = 32 * 1024 * 1024
FORM_TYPE: Final = "application/x-www-form-urlencoded"
_TEXT: Final = ((b"content-type", b"text/plain; charset=utf-8"),)

INSTANT: Final = ("query", "time", "timeout")
RANGE: Final = ("query", "start", "end", "step", "timeout")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricHandlers:
    """What is counted, and the counts over time."""

    source: MetricsSource | None
    """None where no backend is configured."""

    def table(self) -> Mapping[Operation, Handler]:
        return {
            Operation.METRIC_CATALOG: self.catalogue,
            Operation.METRIC_ENTRY: self.entry,
            Operation.QUERY_METRICS: self.query,
            Operation.QUERY_METRICS_RANGE: self.query_range,
            Operation.IMPORT_METRICS: self.write,
        }

    async def catalogue(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        asked = dict(parse_qsl(query_string(request), keep_blank_values=True))
        entries = [_shown(metric) for metric in metrics_of(asked.get("family"))]
        return _cacheable(request, {"version": VERSION, "entries": entries})

    async def entry(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        return _cacheable(request, _shown(metric_named(route.names["name"])))

    async def query(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        return await self._asked("/api/v1/query", request, INSTANT)

    async def query_range(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        return await self._asked("/api/v1/query_range", request, RANGE)

    async def write(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        if self.source is None:
            return _not_configured()
        body = await read_body(request, SAMPLES_BYTES_MAX)
        try:
            answer = await self.source.write(body)
        except LayerError as error:
            return _failed(error)
        return _relayed(answer)

    async def _asked(
        self, path: str, request: web.BaseRequest, known: tuple[str, ...]
    ) -> web.StreamResponse:
        """Hand on the parameters that this query knows, and no others."""
        if self.source is None:
            return _not_configured()
        given = parse_qsl(query_string(request))
        if request.method == "POST":
            body = await read_body(request, FORM_BYTES_MAX)
            if request.headers.get("content-type", "").partition(";")[0].strip() == FORM_TYPE:
                given += parse_qsl(body.decode(errors="replace"))
        parameters = {name: value for name, value in given if name in known}
        try:
            answer = await self.source.query(path, urlencode(parameters))
        except LayerError as error:
            return _failed(error)
        return _relayed(answer)


def _shown(metric: Metric) -> dict[str, object]:
    shown: dict[str, object] = {
        "name": metric.name,
        "kind": metric.kind,
        "family": metric.family.value,
        "labels": metric.labels,
        "description": metric.description,
        "example_promql": metric.example_promql,
    }
    if metric.alert is not None:
        alert = metric.alert
        shown["alert"] = {"summary": alert.summary, "expr": alert.expr, "for": alert.for_}
    return shown


def _cacheable(request: web.BaseRequest, body: object) -> web.StreamResponse:
    """Answer with what changes with a release alone."""
    text = encode(body)
    digest = hashlib.blake2b(text, digest_size=16).hexdigest()
    etag = (b"etag", f'"{digest}"'.encode())
    if f'"{digest}"' in request.headers.get("if-none-match", ""):
        return WholeAnswer(HTTPStatus.NOT_MODIFIED, (etag, CACHED), b"")
    return WholeAnswer(HTTPStatus.OK, (*JSON_FIELDS, etag, CACHED), text)


def _relayed(answer: StoreAnswer) -> web.StreamResponse:
    return WholeAnswer(answer.status, JSON_FIELDS, answer.body)


def _not_configured() -> web.StreamResponse:
    text = "metrics backend not configured"
    return _text(HTTPStatus.SERVICE_UNAVAILABLE, text, is_retryable=False)


def _failed(error: LayerError) -> web.StreamResponse:
    text = f"metrics backend failed: {error.message}"
    return _text(HTTPStatus.BAD_GATEWAY, text, is_retryable=True)


def _text(status: HTTPStatus, text: str, *, is_retryable: bool) -> web.StreamResponse:
    """Answer as this part of the contract does, in plain text."""
    headers = {"x-should-retry": "true" if is_retryable else "false"}
    return WholeAnswer(status, _TEXT, text.encode(), headers=headers)
