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

from layer_gateway.application.blob_warming import WarmBlobs, WarmedBlobs
from layer_gateway.application.job_records import shown
from layer_gateway.application.warm_jobs import PAGE_SIZE_DEFAULT, WarmJobs, check_page_size
from layer_gateway.http.answers import json_answer
from layer_gateway.http.passthrough import Passthrough
from layer_gateway.http.requests import Handler, caller_of, query_string
from layer_gateway.http.routes import Operation, Route
from layer_gateway.ports.stores import Caller
from layer_kit.errors import InvalidRequestError
from layer_kit.names import Namespace, parse_namespace

OPTIONS: Final = frozenset(
    {"turbopuffer", "documents", "snapshots", "blobs", "blob_budget_bytes", "page_size"}
)
"""What makes a hint layer's own; with none of them it is passed on."""

SKIPPED: Final[Mapping[str, object]] = {"enabled": False, "status": "skipped"}
DIGITS: Final = re.compile("[0-9]{1,18}")
BUDGET_BYTES_MAX: Final = 2**50
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
class _Hint:
    """What a hint asks for."""

    turbopuffer: bool
    documents: bool
    snapshots: bool
    blob_budget_bytes: int | None
    """None where blobs are not asked for."""
    page_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmHandlers:
    """Warm jobs and cache hints."""

    warm_jobs: WarmJobs
    warm_blobs: WarmBlobs
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
        if hint.blob_budget_bytes is not None:
            self.warm_blobs.references.of(name)
        if hint.documents or hint.snapshots or hint.blob_budget_bytes is not None:
            self.warm_jobs.check_cache()
        return json_answer(await self._hinted(name, hint, caller_of(request)))

    async def _hinted(self, name: Namespace, hint: _Hint, caller: Caller) -> dict[str, object]:
        found: dict[str, object] = {
            "namespace": name,
            "turbopuffer": SKIPPED,
            "documents": SKIPPED,
            "snapshots": SKIPPED,
            "blobs": NO_BLOBS,
        }
        if hint.turbopuffer:
            await self.warm_jobs.hint(name, caller)
            found["turbopuffer"] = {"enabled": True, "status": "completed"}
        if hint.snapshots:
            found["snapshots"] = await self._mirrored(name)
        if hint.documents:
            job = await self.warm_jobs.start(
                name, caller, page_size=hint.page_size, documents_only=True
            )
            found["documents"] = {"enabled": True, "status": "started", "job": shown(job)}
        if hint.blob_budget_bytes is not None:
            found["blobs"] = _blobs(
                await self.warm_blobs(
                    name, caller, budget_bytes=hint.blob_budget_bytes, page_size=hint.page_size
                )
            )
        return found

    async def _mirrored(self, name: Namespace) -> dict[str, object]:
        snapshot = await self.warm_jobs.mirror(name)
        if snapshot is None:
            return {"enabled": True, "status": "no_snapshot"}
        return {
            "enabled": True,
            "status": "completed",
            "key": snapshot.key,
            "watermark_ms": snapshot.watermark_ms,
            "sha": snapshot.sha,
        }


def _blobs(done: WarmedBlobs) -> dict[str, object]:
    described = dataclasses.asdict(done)
    status = "completed" if described.pop("is_over") else "started"
    return {"enabled": True, "status": status, **described}


def _read_hint(asked: Mapping[str, str]) -> _Hint:
    is_blobs, budget = _flag(asked, "blobs", default=False), asked.get("blob_budget_bytes")
    if budget is not None:
        if not is_blobs:
            raise _invalid("blob_budget_bytes", "needs blobs=true")
        if not DIGITS.fullmatch(budget) or int(budget) == 0:
            raise _invalid("blob_budget_bytes", "must be a positive number of bytes")
    if is_blobs and budget is None:
        raise _invalid("blob_budget_bytes", "is required with blobs=true")
    page_size = _page_size(asked)
    check_page_size(page_size)
    return _Hint(
        turbopuffer=_flag(asked, "turbopuffer", default=True),
        documents=_flag(asked, "documents", default=True),
        snapshots=_flag(asked, "snapshots", default=True),
        blob_budget_bytes=None if budget is None else min(int(budget), BUDGET_BYTES_MAX),
        page_size=page_size,
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
