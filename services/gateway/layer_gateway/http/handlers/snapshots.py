"""Facet snapshots: jobs, bodies, lists of them, policies, checkpoints and comparisons."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from layer_gateway.domain.snapshots import JobWanted, SnapshotPolicy, SnapshotSource
from layer_gateway.http.answers import json_answer
from layer_gateway.http.bodies import read_json_body
from layer_gateway.http.parameters import moment_number, page_limit, parameter_invalid
from layer_gateway.http.requests import Handler, caller_of, query_string
from layer_gateway.http.routes import Operation, Route
from layer_gateway.ports.snapshots import SnapshotArchive
from layer_kit.names import parse_namespace
from layer_wire.jsontext import decode

BODY_BYTES_MAX: Final = 1024 * 1024
MILLISECONDS_MAX: Final = 10**13 - 1

_ACTIVITY_CURSOR: Final = re.compile(r"[0-9]{13}~[A-Za-z0-9\-_.]{1,128}~[0-9a-f]{7}")
_CHECKPOINT_CURSOR: Final = re.compile(r"[0-9]{13}~[A-Za-z0-9\-_.]{1,128}")
_LAST_LABEL: Final = "z" * 128
"""After every other label of the same moment."""


class _JobBody(msgspec.Struct):
    field: str
    source: Literal["auto", "stored", "snapshot", "cache", "origin"] | None = "auto"
    filters: Any = None
    page_size: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = 1000


class _PolicyBody(msgspec.Struct):
    facetFields: list[str] | None = None  # noqa: N815 -- the contract's name
    interval: str | None = None
    retention: str | None = None


class _CheckpointBody(msgspec.Struct):
    label: str


_JOB_BODY: Final[msgspec.json.Decoder[_JobBody]] = msgspec.json.Decoder(_JobBody)
_POLICY_BODY: Final[msgspec.json.Decoder[_PolicyBody]] = msgspec.json.Decoder(_PolicyBody)
_CHECKPOINT_BODY: Final[msgspec.json.Decoder[_CheckpointBody]] = msgspec.json.Decoder(
    _CheckpointBody
)
_SOURCES: Final[Mapping[str | None, SnapshotSource]] = {
    None: "auto",
    "auto": "auto",
    "stored": "stored",
    "snapshot": "stored",  # what the command line of the contract calls it
    "cache": "cache",
    "origin": "origin",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotHandlers:
    """The routes of snapshots."""

    archive: SnapshotArchive

    def table(self) -> Mapping[Operation, Handler]:
        return {
            Operation.CREATE_SNAPSHOT: self.create,
            Operation.LIST_SNAPSHOT_JOBS: self.jobs,
            Operation.GET_SNAPSHOT_JOB: self.job,
            Operation.SNAPSHOT_HISTORY: self.history,
            Operation.GET_SNAPSHOT: self.snapshot,
            Operation.DIFF_SNAPSHOTS: self.difference,
            Operation.SNAPSHOT_ACTIVITY: self.activity,
            Operation.GET_SNAPSHOT_POLICY: self.policy,
            Operation.SET_SNAPSHOT_POLICY: self.set_policy,
            Operation.CREATE_CHECKPOINT: self.create_checkpoint,
            Operation.LIST_CHECKPOINTS: self.checkpoints,
            Operation.GET_CHECKPOINT: self.checkpoint,
        }

    async def create(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        name = parse_namespace(route.namespace)
        body = decode(_JOB_BODY, await read_json_body(request, BODY_BYTES_MAX))
        wanted = JobWanted(
            field=body.field,
            source=_SOURCES[body.source],
            filters=body.filters,
            page_size=body.page_size or 0,
        )
        job = await self.archive.start_job(name, wanted, caller_of(request))
        return json_answer(job, status=HTTPStatus.ACCEPTED)

    async def jobs(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        jobs = await self.archive.jobs(parse_namespace(route.namespace))
        return json_answer({"snapshot_jobs": jobs})

    async def job(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        name = parse_namespace(route.namespace)
        return json_answer(await self.archive.job(name, route.names["id"]))

    async def history(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        name = parse_namespace(route.namespace)
        given = _given(request)
        before_ms = _milliseconds(given, "before")
        return json_answer(await self.archive.history(name, page_limit(given), before_ms))

    async def snapshot(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        name = parse_namespace(route.namespace)
        return json_answer(await self.archive.snapshot(name, route.names["sha"]))

    async def difference(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        name = parse_namespace(route.namespace)
        old, new = route.names["sha"], route.names["other"]
        return json_answer(await self.archive.difference(name, old, new))

    async def activity(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        given = _given(request)
        cursor = given.get("cursor", "")
        if cursor and _ACTIVITY_CURSOR.fullmatch(cursor) is None:
            raise parameter_invalid("cursor", cursor, "one of an earlier page")
        page = await self.archive.activity(
            page_limit(given),
            namespace=parse_namespace(given["namespace"]) if given.get("namespace") else None,
            since_ms=_milliseconds(given, "since"),
            cursor=cursor,
        )
        found: dict[str, object] = {"events": page.entries}
        if page.next_cursor is not None:
            found["next_cursor"] = page.next_cursor
        if page.is_truncated:
            found["truncated"] = True
        return json_answer(found)

    async def policy(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        return json_answer(await self.archive.policy(parse_namespace(route.namespace)))

    async def set_policy(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        name = parse_namespace(route.namespace)
        body = decode(_POLICY_BODY, await read_json_body(request, BODY_BYTES_MAX))
        policy = SnapshotPolicy(
            facet_fields=body.facetFields or (),
            interval=_span(body.interval, "interval", default="5m"),
            retention=_span(body.retention, "retention", default="never"),
        )
        return json_answer(await self.archive.set_policy(name, policy))

    async def create_checkpoint(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        name = parse_namespace(route.namespace)
        body = decode(_CHECKPOINT_BODY, await read_json_body(request, BODY_BYTES_MAX))
        return json_answer(await self.archive.create_checkpoint(name, body.label))

    async def checkpoints(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        name = parse_namespace(route.namespace)
        given = _given(request)
        page = await self.archive.checkpoints(name, page_limit(given), _checkpoint_cursor(given))
        found: dict[str, object] = {"checkpoints": page.entries}
        if page.next_cursor is not None:
            found["next_cursor"] = page.next_cursor
        return json_answer(found)

    async def checkpoint(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        name = parse_namespace(route.namespace)
        return json_answer(await self.archive.checkpoint(name, route.names["label"]))


def _given(request: web.BaseRequest) -> Mapping[str, str]:
    return dict(parse_qsl(query_string(request), keep_blank_values=True))


def _milliseconds(given: Mapping[str, str], name: str) -> int | None:
    return moment_number(given, name, most=MILLISECONDS_MAX, unit="milliseconds")


def _checkpoint_cursor(given: Mapping[str, str]) -> str:
    """Return where a page of checkpoints begins; the watermark of a snapshot will do as well."""
    text = given.get("before", "")
    if not text or _CHECKPOINT_CURSOR.fullmatch(text):
        return text
    before_ms = _milliseconds(given, "before")
    return f"{before_ms:013}~{_LAST_LABEL}"


def _span(text: str | None, name: str, *, default: str) -> str:
    """Return a span as it was given; one that is left out is not one that is empty."""
    if text == "":
        raise parameter_invalid(name, text, "a span such as 5m")
    return default if text is None else text
