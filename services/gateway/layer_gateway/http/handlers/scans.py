"""Scans: counts at once; ids and values as jobs with results to page through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import web

from layer_gateway.application.job_records import shown
from layer_gateway.application.scanning.counting import CountRows
from layer_gateway.application.scanning.requests import ScanRequest
from layer_gateway.application.scanning.scan_jobs import ScanJobs
from layer_gateway.domain.scans import CountAnswer, ServedBy
from layer_gateway.http.answers import json_answer
from layer_gateway.http.bodies import read_json_body
from layer_gateway.http.requests import Handler, caller_of, query_string
from layer_gateway.http.routes import Operation, Route
from layer_kit.errors import InvalidRequestError
from layer_kit.names import parse_namespace
from layer_wire.scans import ScanMode, parse_scan

LIMIT_DEFAULT: Final = 1000
LIMIT_MAX: Final = 10_000
NUMBER_DIGITS_MAX: Final = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanHandlers:
    """Scans of one namespace."""

    count_rows: CountRows
    scan_jobs: ScanJobs
    body_bytes_max: int

    def table(self) -> Mapping[Operation, Handler]:
        return {
            Operation.SCAN: self.scan,
            Operation.LIST_SCANS: self.list_scans,
            Operation.GET_SCAN: self.get_scan,
            Operation.GET_SCAN_RESULTS: self.results,
            Operation.DELETE_SCAN: self.delete,
        }

    async def scan(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        name = parse_namespace(route.namespace)
        scan = parse_scan(await read_json_body(request, self.body_bytes_max))
        asked = ScanRequest(namespace=name, scan=scan, caller=caller_of(request))
        if scan.mode is ScanMode.COUNT:
            answer = await self.count_rows(asked)
            return json_answer(_count_body(answer), headers=_count_headers(answer))
        job = await self.scan_jobs.start(asked)
        return json_answer(shown(job), status=HTTPStatus.ACCEPTED)

    async def list_scans(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        jobs = await self.scan_jobs.list(parse_namespace(route.namespace), caller_of(request))
        return json_answer({"scans": [shown(job) for job in jobs]})

    async def get_scan(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        name = parse_namespace(route.namespace)
        return json_answer(
            shown(await self.scan_jobs.get(name, route.names["id"], caller_of(request)))
        )

    async def results(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        asked = dict(parse_qsl(query_string(request), keep_blank_values=True))
        page = await self.scan_jobs.results(
            parse_namespace(route.namespace),
            route.names["id"],
            offset=_number(asked, "offset", 0),
            limit=min(_number(asked, "limit", LIMIT_DEFAULT), LIMIT_MAX),
        )
        if page.job.mode is ScanMode.IDS:
            return json_answer({"ids": page.items, "total": page.total})
        values = [{"v": value, "n": count} for value, count in page.items]
        return json_answer(
            {"values": values, "total": page.total, "truncated": bool(page.job.truncated)}
        )

    async def delete(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        await self.scan_jobs.delete(parse_namespace(route.namespace), route.names["id"])
        return json_answer({"status": "OK"})


def _count_body(answer: CountAnswer) -> dict[str, object]:
    report = answer.report
    body: dict[str, object] = {"count": answer.count, "served_by": report.served_by}
    if report.served_by is ServedBy.SNAPSHOT:
        body |= {"snapshot_sha": report.snapshot_sha, "watermark_ms": report.watermark_ms}
    else:
        body |= {
            "bounded": report.is_bounded,
            "timed_out": report.is_timed_out,
            "shards_saturated": len(report.saturated),
            "shards_total": report.shards_total,
        }
    if report.is_approximate:
        body["approximate"] = True
    if report.served_by is ServedBy.ORIGIN:
        body["threads"] = report.threads
    return body | {"elapsed_ms": answer.elapsed_ms}


def _count_headers(answer: CountAnswer) -> dict[str, str]:
    watermark_ms = answer.report.watermark_ms
    return {} if watermark_ms is None else {"x-layer-stable-as-of": str(watermark_ms)}


def _number(asked: Mapping[str, str], name: str, default: int) -> int:
    text = asked.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= NUMBER_DIGITS_MAX):
        raise InvalidRequestError("OPTION_INVALID", f"{name} is a number from 0 on.", field=name)
    return int(text)
