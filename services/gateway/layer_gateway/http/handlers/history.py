"""What was searched and which results were opened, and how long that is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Literal
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from layer_gateway.domain.history import HistoryPage, HistoryPolicy, HistoryWanted
from layer_gateway.domain.visits import parse_tags
from layer_gateway.http.answers import json_answer
from layer_gateway.http.bodies import read_json_body
from layer_gateway.http.parameters import moment_number, page_limit, parameter_invalid
from layer_gateway.http.requests import Handler, query_string
from layer_gateway.http.routes import Operation, Route
from layer_gateway.ports.history import HistoryArchive
from layer_kit.errors import InvalidRequestError
from layer_kit.names import parse_namespace
from layer_wire.jsontext import decode

POLICY_BYTES_MAX: Final = 64 * 1024
NANOS_MAX: Final = 2**63 - 1
MILLISECOND_NS: Final = 1_000_000

_MOMENT: Final = re.compile(r"(.+T[0-9:]{8})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})")
_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}", re.IGNORECASE)

Redaction = Literal["keep", "hash", "drop"]
_Seconds = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""What a message holds; the history says how long is too long."""


class _PolicyBody(msgspec.Struct, forbid_unknown_fields=True):
    query_retention_s: _Seconds = 0
    click_retention_s: _Seconds = 0
    raw_query: Redaction = "keep"
    redaction_patterns: list[str] = []
    filters: Redaction = "keep"


_POLICY_BODY: Final[msgspec.json.Decoder[_PolicyBody]] = msgspec.json.Decoder(_PolicyBody)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryHandlers:
    """Pages of history, sessions, and policies."""

    archive: HistoryArchive

    def table(self) -> Mapping[Operation, Handler]:
        return {
            Operation.SEARCH_HISTORY: self.queries,
            Operation.CLICKSTREAM: self.clicks,
            Operation.SEARCH_SESSION: self.session,
            Operation.GET_HISTORY_POLICY: self.policy,
            Operation.SET_HISTORY_POLICY: self.set_policy,
        }

    async def queries(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        name = parse_namespace(route.namespace)
        page = await self.archive.queries(name, _wanted(request))
        return json_answer(_body("entries", page))

    async def clicks(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        name = parse_namespace(route.namespace)
        page = await self.archive.clicks(name, _wanted(request))
        return json_answer(_body("events", page))

    async def session(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        name = parse_namespace(route.namespace)
        return json_answer(await self.archive.session(name, _trace_id(route.names["trace_id"])))

    async def policy(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        return json_answer(await self.archive.policy(parse_namespace(route.namespace)))

    async def set_policy(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        name = parse_namespace(route.namespace)
        body = decode(_POLICY_BODY, await read_json_body(request, POLICY_BYTES_MAX))
        policy = HistoryPolicy(
            query_retention_s=body.query_retention_s,
            click_retention_s=body.click_retention_s,
            raw_query=body.raw_query,
            redaction_patterns=body.redaction_patterns,
            filters=body.filters,
        )
        return json_answer(await self.archive.set_policy(name, policy))


def _wanted(request: web.BaseRequest) -> HistoryWanted:
    """Read what a page is asked for; parameters of other routes are passed by.

    Raises:
        InvalidRequestError: ``PARAMETER_INVALID``, ``TIME_RANGE_INVALID``, ``TAG_INVALID``,
            ``TOO_MANY_TAGS``.
    """
    pairs = parse_qsl(query_string(request), keep_blank_values=True)
    given = dict(pairs)
    from_ns, to_ns = _moment(given, "from"), _moment(given, "to", ends_ns=MILLISECOND_NS - 1)
    if from_ns is not None and to_ns is not None and from_ns > to_ns:
        raise InvalidRequestError("TIME_RANGE_INVALID", "from is not after to.", field="from")
    trace_id = given.get("trace_id", "")
    return HistoryWanted(
        limit=page_limit(given),
        before_ns=moment_number(given, "before", most=NANOS_MAX, unit="nanoseconds"),
        from_ns=from_ns,
        to_ns=to_ns,
        tags=parse_tags([value for name, value in pairs if name == "tag"]),
        trace_id=_trace_id(trace_id) if trace_id else "",
    )


def _moment(given: Mapping[str, str], name: str, *, ends_ns: int = 0) -> int | None:
    """Return nanoseconds since 1970; a space stands for the plus that URLs make one of.

    Args:
        ends_ns: Added to what is no finer than a millisecond, as timestamps of entries are.
    """
    text = given.get(name, "").replace(" ", "+")
    if not text:
        return None
    what = "a moment as in RFC 3339, 2026-05-28T20:26:40Z"
    if (found := _MOMENT.fullmatch(text.upper())) is None:
        raise parameter_invalid(name, text, what)
    try:
        seconds = int(datetime.fromisoformat(found[1] + found[3]).timestamp())
    except (ValueError, OverflowError) as error:
        raise parameter_invalid(name, text, what) from error
    fraction_ns = int((found[2] or "").ljust(9, "0"))
    if fraction_ns % MILLISECOND_NS == 0:
        fraction_ns += ends_ns
    return max(0, min(seconds * 1_000_000_000 + fraction_ns, NANOS_MAX))


def _trace_id(text: str) -> str:
    if _TRACE_ID.fullmatch(text) is None:
        raise parameter_invalid("trace_id", text, "32 hexadecimal digits")
    return text.lower()


def _body(what: str, page: HistoryPage) -> dict[str, object]:
    found: dict[str, object] = {what: page.entries}
    if page.next_cursor is not None:
        found["next_cursor"] = page.next_cursor
    return found
