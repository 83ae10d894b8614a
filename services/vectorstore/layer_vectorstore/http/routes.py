"""The routes of the contract, on one screen, and what each does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from layer_kit.clock import Monotonic
from layer_kit.errors import NotFoundError
from layer_vectorstore.application.managing import ManageNamespaces, MetadataUpdate
from layer_vectorstore.application.querying import QueryNamespace
from layer_vectorstore.application.writing import WriteNamespace
from layer_vectorstore.domain.errors import RefusedError, json_kind, malformed
from layer_vectorstore.domain.exporting import parse_cursor
from layer_vectorstore.domain.json_fields import require_object
from layer_vectorstore.domain.limits import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX
from layer_vectorstore.domain.query_parsing import parse_query, parse_query_request
from layer_vectorstore.domain.recall import parse_recall_request
from layer_vectorstore.domain.schema_parsing import parse_schema, schema_answer
from layer_vectorstore.domain.write_parsing import parse_write_request
from layer_vectorstore.http.answers import (
    json_response,
    operation_answer,
    query_answer,
    write_answer,
)
from layer_vectorstore.http.bodies import parse_json

REPLICAS_MAX: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request that was matched to a route and read whole."""

    namespace: str
    token: str
    query: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Route:
    """``run`` blocks, so it wants a thread."""

    method: str
    path: str
    name: str
    run: Callable[[Request], web.Response]
    is_write: bool = False

    def match(self, method: str, segments: Sequence[str]) -> dict[str, str] | None:
        """Return the values of the path's placeholders; None when the route is another."""
        wanted = self.path.split("/")[1:]
        if method != self.method or len(segments) != len(wanted):
            return None
        found: dict[str, str] = {}
        for pattern, segment in zip(wanted, segments, strict=True):
            if pattern.startswith("{"):
                found[pattern.strip("{}")] = segment
            elif pattern != segment:
                return None
        return found


class Routes:
    def __init__(
        self,
        *,
        write: WriteNamespace,
        queries: QueryNamespace,
        manage: ManageNamespaces,
        clock: Monotonic,
    ) -> None:
        self._write_rows = write
        self._queries = queries
        self._manage = manage
        self._clock = clock
        one_v1, one_v2 = "/v1/namespaces/{namespace}", "/v2/namespaces/{namespace}"
        self._routes = (
            Route("GET", "/v1/namespaces", "list", self._list),
            Route("POST", one_v2, "write", self._write, is_write=True),
            Route("DELETE", one_v2, "delete", self._delete, is_write=True),
            Route("POST", f"{one_v2}/async", "copy_start", self._start_copy, is_write=True),
            Route("GET", one_v1, "export", self._export),
            Route("HEAD", one_v1, "exists", self._exists),
            Route("GET", f"{one_v1}/operations/{{token}}", "operation", self._operation),
            Route("POST", f"{one_v2}/query", "query", self._query),
            Route("POST", f"{one_v2}/explain_query", "explain", self._explain),
            Route("GET", f"{one_v1}/metadata", "metadata", self._metadata),
            Route("GET", f"{one_v2}/metadata", "metadata", self._metadata),
            Route("PATCH", f"{one_v1}/metadata", "pin", self._update_metadata, is_write=True),
            Route("GET", f"{one_v1}/schema", "schema", self._schema),
            Route("POST", f"{one_v1}/schema", "schema_update", self._update_schema, is_write=True),
            Route("GET", f"{one_v1}/hint_cache_warm", "warm", self._warm),
            Route("POST", f"{one_v1}/_debug/recall", "recall", self._recall),
        )

    def find(self, method: str, segments: Sequence[str]) -> tuple[Route, dict[str, str]]:
        """Match a method and a path; whatever else the URL says does not matter.

        Raises:
            NotFoundError: ``ROUTE_NOT_FOUND``.
        """
        for route in self._routes:
            if (values := route.match(method, segments)) is not None:
                return route, values
        raise NotFoundError("ROUTE_NOT_FOUND", "🤷 no such route")

    def _list(self, request: Request) -> web.Response:
        text = request.query.get("page_size", str(PAGE_SIZE_DEFAULT))
        if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= PAGE_SIZE_MAX:
            raise RefusedError(
                "PAGE_SIZE_INVALID",
                f"💔 Page size must be in range 1..={PAGE_SIZE_MAX}, was {text[:64]}",
            )
        names, cursor = self._manage.list_names(
            prefix=request.query.get("prefix", ""),
            cursor=request.query.get("cursor", ""),
            page_size=int(text),
        )
        answer: dict[str, Any] = {"namespaces": [{"id": name} for name in names]}
        return json_response(answer | ({"next_cursor": cursor} if cursor else {}))

    def _write(self, request: Request) -> web.Response:
        started_at_s = self._clock()
        wanted = parse_write_request(parse_json(request.body))
        outcome = self._write_rows(request.namespace, wanted)
        elapsed_ms = self._elapsed_ms(started_at_s)
        return json_response(write_answer(outcome, elapsed_ms, returns_ids=wanted.returns_ids))

    def _query(self, request: Request) -> web.Response:
        started_at_s = self._clock()
        wanted = parse_query_request(parse_json(request.body))
        result = self._queries.query(request.namespace, wanted)
        return json_response(query_answer(result, self._elapsed_ms(started_at_s)))

    def _export(self, request: Request) -> web.Response:
        page = parse_cursor(request.query.get("cursor", ""))
        return json_response(self._queries.export(request.namespace, page))

    def _exists(self, request: Request) -> web.Response:
        self._manage.schema(request.namespace)
        return web.Response()

    def _explain(self, request: Request) -> web.Response:
        query = parse_query(require_object(parse_json(request.body)), "")
        return json_response({"plan_text": self._queries.explain(request.namespace, query)})

    def _delete(self, request: Request) -> web.Response:
        self._manage.delete(request.namespace)
        return json_response({"status": "OK"})

    def _start_copy(self, request: Request) -> web.Response:
        wanted = parse_write_request(parse_json(request.body))
        return json_response({"token": self._manage.start_copy(request.namespace, wanted)})

    def _operation(self, request: Request) -> web.Response:
        found = self._manage.operation(request.namespace, request.token)
        return json_response(operation_answer(found))

    def _metadata(self, request: Request) -> web.Response:
        return json_response(self._manage.metadata(request.namespace))

    def _update_metadata(self, request: Request) -> web.Response:
        update = parse_metadata_update(parse_json(request.body))
        return json_response(self._manage.update_metadata(request.namespace, update))

    def _schema(self, request: Request) -> web.Response:
        return json_response(schema_answer(self._manage.schema(request.namespace)))

    def _update_schema(self, request: Request) -> web.Response:
        updates = parse_schema(parse_json(request.body), "")
        schema = self._manage.update_schema(request.namespace, updates)
        return json_response(schema_answer(schema))

    def _warm(self, request: Request) -> web.Response:
        self._manage.schema(request.namespace)
        answer = {"status": "ACCEPTED", "message": "cache warm hint accepted"}
        return json_response(answer, status=202)

    def _recall(self, request: Request) -> web.Response:
        wanted = parse_recall_request(parse_json(request.body or b"{}"))
        return json_response(self._queries.recall(request.namespace, wanted))

    def _elapsed_ms(self, started_at_s: float) -> int:
        return round((self._clock() - started_at_s) * 1000)


def parse_metadata_update(body: object) -> MetadataUpdate:
    """Read a PATCH of metadata: an absent field stays, a null pinning is removed."""
    fields = require_object(body)
    read_only = fields.get("read_only")
    if not isinstance(read_only, bool | None):
        raise malformed("read_only", f"invalid type: {json_kind(read_only)}, expected a boolean")
    if "pinning" not in fields:
        return MetadataUpdate(read_only=read_only)
    match fields["pinning"]:
        case None | False:
            return MetadataUpdate(unpin=True, read_only=read_only)
        case True:
            return MetadataUpdate(replicas=1, read_only=read_only)
        case {"replicas": int(replicas)} if not isinstance(replicas, bool):
            if not 1 <= replicas <= REPLICAS_MAX:
                raise RefusedError(
                    "REPLICAS_INVALID", f"💔 replicas must be between 1 and {REPLICAS_MAX}"
                )
            return MetadataUpdate(replicas=replicas, read_only=read_only)
        case {**rest} if not rest:
            return MetadataUpdate(replicas=1, read_only=read_only)
        case other:
            raise malformed("pinning", f"invalid type: {json_kind(other)}")
