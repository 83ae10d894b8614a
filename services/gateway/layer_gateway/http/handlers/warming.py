"""Bringing namespaces into the caches, and the jobs that do it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import web

from layer_gateway.application.blob_warming import WarmedBlobs
from layer_gateway.application.hinting import Hint, Hinted, WarmCaches
from layer_gateway.application.job_records import Job, shown
from layer_gateway.application.mirroring import MirroredSnapshot
from layer_gateway.application.warm_jobs import PAGE_SIZE_DEFAULT, WarmJobs
from layer_gateway.http.answers import json_answer
from layer_gateway.http.passthrough import Passthrough
from layer_gateway.http.requests import Handler, caller_of, query_string
from layer_gateway.http.routes import Operation, Route
from layer_kit.errors import InvalidRequestError
from layer_kit.names import Namespace, parse_namespace

OPTIONS: Final = frozenset(
    {"turbopuffer", "documents", "snapshots", "blobs", "blob_budget_bytes", "page_size"}
)
"""What makes a hint layer's own; with none of them it is passed on."""

SKIPPED: Final[Mapping[str, object]] = {"enabled": False, "status": "skipped"}
DIGITS: Final = re.compile("[0-9]{1,18}")
NO_BLOBS: Final[Mapping[str, object]] = {
    **SKIPPED,
    "documents_scanned": 0,
    "refs_seen": 0,
    "objects": 0,
    "bytes": 0,
    "missing": 0,
    "invalid_refs": 0,
    "budget_exhausted": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmHandlers:
    """Warm jobs and cache hints."""

    warm_jobs: WarmJobs
    warm_caches: WarmCaches
    passthrough: Passthrough

    def table(self) -> Mapping[Operation, Handler]:
        return {
            Operation.WARM: self.warm,
            Operation.LIST_WARM_JOBS: self.list_jobs,
            Operation.GET_WARM_JOB: self.get_job,
            Operation.HINT_CACHE_WARM: self.hint,
        }

    async def warm(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        name = parse_namespace(route.namespace)
        asked = dict(parse_qsl(query_string(request), keep_blank_values=True))
        job = await self.warm_jobs.start(name, caller_of(request), page_size=_page_size(asked))
        return json_answer(shown(job), status=HTTPStatus.ACCEPTED)

    async def list_jobs(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        jobs = await self.warm_jobs.list(parse_namespace(route.namespace))
        return json_answer({"warm_jobs": [shown(job) for job in jobs]})

    async def get_job(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        name = parse_namespace(route.namespace)
        return json_answer(shown(await self.warm_jobs.get(name, route.names["id"])))

    async def hint(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        asked = dict(parse_qsl(query_string(request), keep_blank_values=True))
        if not OPTIONS & asked.keys():
            return await self.passthrough(request)
        name, hint = parse_namespace(route.namespace), _read_hint(asked)
        return json_answer(_hinted(name, await self.warm_caches(name, hint, caller_of(request))))


def _hinted(name: Namespace, done: Hinted) -> dict[str, object]:
    hint = done.hint
    store = {"enabled": True, "status": "completed"}
    return {
        "namespace": name,
        "turbopuffer": store if hint.store else SKIPPED,
        "documents": SKIPPED if done.job is None else _started(done.job),
        "snapshots": _mirrored(done.snapshot) if hint.snapshot else SKIPPED,
        "blobs": NO_BLOBS if done.blobs is None else _blobs(done.blobs),
    }


def _started(job: Job) -> dict[str, object]:
    return {"enabled": True, "status": "started", "job": shown(job)}


def _mirrored(snapshot: MirroredSnapshot | None) -> dict[str, object]:
    if snapshot is None:
        return {"enabled": True, "status": "no_snapshot"}
    return {"enabled": True, "status": "completed", **dataclasses.asdict(snapshot)}


def _blobs(done: WarmedBlobs) -> dict[str, object]:
    described = dataclasses.asdict(done)
    status = "completed" if described.pop("is_over") else "started"
    return {"enabled": True, "status": status, **described}


def _read_hint(asked: Mapping[str, str]) -> Hint:
    is_blobs, budget = _flag(asked, "blobs", default=False), asked.get("blob_budget_bytes")
    if budget is not None:
        if not is_blobs:
            raise _invalid("blob_budget_bytes", "needs blobs=true")
        if not DIGITS.fullmatch(budget) or int(budget) == 0:
            raise _invalid("blob_budget_bytes", "must be a positive number of bytes")
    if is_blobs and budget is None:
        raise _invalid("blob_budget_bytes", "is required with blobs=true")
    return Hint(
        store=_flag(asked, "turbopuffer", default=True),
        rows=_flag(asked, "documents", default=True),
        snapshot=_flag(asked, "snapshots", default=True),
        blob_budget_bytes=None if budget is None else int(budget),
        page_size=_page_size(asked),
    )


def _flag(asked: Mapping[str, str], name: str, *, default: bool) -> bool:
    match asked.get(name):
        case None:
            return default
        case "true":
            return True
        case "false":
            return False
        case _:
            raise _invalid(name, "is true or false")


def _page_size(asked: Mapping[str, str]) -> int:
    text = asked.get("page_size", str(PAGE_SIZE_DEFAULT))
    if not (text.isascii() and text.isdecimal() and len(text) <= len("10000")):
        raise _invalid("page_size", "must be 1 to 10000")
    return int(text)


def _invalid(field: str, problem: str) -> InvalidRequestError:
    return InvalidRequestError("OPTION_INVALID", f"{field} {problem}.", field=field)
