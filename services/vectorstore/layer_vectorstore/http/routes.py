"""The routes of the contract, on one screen, and what each does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from layer_kit.clock import Monotonic
from layer_vectorstore.application.managing import ManageNamespaces, MetadataUpdate
from layer_vectorstore.application.querying import QueryNamespace
from layer_vectorstore.application.writing import WriteNamespace
from layer_vectorstore.domain.errors import RefusedError, json_kind, malformed
from layer_vectorstore.domain.limits import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX
from layer_vectorstore.domain.query_parsing import (
    parse_query,
    parse_query_request,
    require_object,
)
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

QueryString = Mapping[str, str]
REPLICAS_MAX: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request matched to what it asks for. ``run`` blocks, so it wants a thread."""

    name: str
    namespace: str | None
    is_write: bool
    run: Callable[[bytes, QueryString], web.Response]


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    write: WriteNamespace
    queries: QueryNamespace
    manage: ManageNamespaces
    clock: Monotonic

    def find(self, method: str, segments: tuple[str, ...]) -> Call | None:
        """Match a method and a path; whatever else the URL says does not matter."""
        match method, segments:
            case "GET", ("v1", "namespaces"):
                return Call(name="list", namespace=None, is_write=False, run=self._list)
            case "POST", ("v2", "namespaces", ns):
                return self._call("write", ns, self._write, is_write=True)
            case "DELETE", ("v2", "namespaces", ns):
                return self._call("delete", ns, self._delete, is_write=True)
            case "POST", ("v2", "namespaces", ns, "async"):
                return self._call("copy_start", ns, self._start_copy, is_write=True)
            case "GET", ("v1", "namespaces", ns, "operations", token):
                return self._call("operation", ns, self._operation_of(token))
            case "POST", ("v2", "namespaces", ns, "query"):
                return self._call("query", ns, self._query)
            case "POST", ("v2", "namespaces", ns, "explain_query"):
                return self._call("explain", ns, self._explain)
            case "GET", ("v1" | "v2", "namespaces", ns, "metadata"):
                return self._call("metadata", ns, self._metadata)
            case "PATCH", ("v1" | "v2", "namespaces", ns, "metadata"):
                return self._call("metadata_update", ns, self._update_metadata, is_write=True)
            case "GET", ("v1", "namespaces", ns, "schema"):
                return self._call("schema", ns, self._schema)
            case "POST", ("v1", "namespaces", ns, "schema"):
                return self._call("schema_update", ns, self._update_schema, is_write=True)
            case "GET", ("v1" | "v2", "namespaces", ns, "hint_cache_warm"):
                return self._call("warm", ns, self._warm)
            case "POST", ("v1", "namespaces", ns, "_debug", "recall"):
                return self._call("recall", ns, self._recall)
            case _:
                return None

    def _call(
        self,
        name: str,
        namespace: str,
        run: Callable[[str, bytes], web.Response],
        *,
        is_write: bool = False,
    ) -> Call:
        return Call(
            name=name,
            namespace=namespace,
            is_write=is_write,
            run=lambda body, _query: run(namespace, body),
        )

    def _list(self, _body: bytes, query: QueryString) -> web.Response:
        text = query.get("page_size", str(PAGE_SIZE_DEFAULT))
        if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= PAGE_SIZE_MAX:
            raise RefusedError(
                "PAGE_SIZE_INVALID",
                f"💔 Page size must be in range 1..={PAGE_SIZE_MAX}, was {text[:64]}",
            )
        names, cursor = self.manage.list_names(
            prefix=query.get("prefix", ""), cursor=query.get("cursor", ""), page_size=int(text)
        )
        answer: dict[str, Any] = {"namespaces": [{"id": name} for name in names]}
        return json_response(answer | ({"next_cursor": cursor} if cursor else {}))

    def _write(self, namespace: str, body: bytes) -> web.Response:
        started_at_s = self.clock()
        request = parse_write_request(parse_json(body))
        outcome = self.write(namespace, request)
        elapsed_ms = self._elapsed_ms(started_at_s)
        return json_response(write_answer(outcome, elapsed_ms, returns_ids=request.returns_ids))

    def _query(self, namespace: str, body: bytes) -> web.Response:
        started_at_s = self.clock()
        result = self.queries.query(namespace, parse_query_request(parse_json(body)))
        return json_response(query_answer(result, self._elapsed_ms(started_at_s)))

    def _explain(self, namespace: str, body: bytes) -> web.Response:
        query = parse_query(require_object(parse_json(body)), "")
        return json_response({"plan_text": self.queries.explain(namespace, query)})

    def _delete(self, namespace: str, _body: bytes) -> web.Response:
        self.manage.delete(namespace)
        return json_response({"status": "OK"})

    def _start_copy(self, namespace: str, body: bytes) -> web.Response:
        request = parse_write_request(parse_json(body))
        return json_response({"token": self.manage.start_copy(namespace, request)})

    def _operation_of(self, token: str) -> Callable[[str, bytes], web.Response]:
        return lambda namespace, _body: json_response(
            operation_answer(self.manage.operation(namespace, token))
        )

    def _metadata(self, namespace: str, _body: bytes) -> web.Response:
        return json_response(self.manage.metadata(namespace))

    def _update_metadata(self, namespace: str, body: bytes) -> web.Response:
        update = parse_metadata_update(parse_json(body))
        return json_response(self.manage.update_metadata(namespace, update))

    def _schema(self, namespace: str, _body: bytes) -> web.Response:
        return json_response(schema_answer(self.manage.schema(namespace)))

    def _update_schema(self, namespace: str, body: bytes) -> web.Response:
        updates = parse_schema(parse_json(body), "")
        return json_response(schema_answer(self.manage.update_schema(namespace, updates)))

    def _warm(self, namespace: str, _body: bytes) -> web.Response:
        self.manage.schema(namespace)
        answer = {"status": "ACCEPTED", "message": "cache warm hint accepted"}
        return json_response(answer, status=202)

    def _recall(self, namespace: str, body: bytes) -> web.Response:
        request = parse_recall_request(parse_json(body or b"{}"))
        return json_response(self.queries.recall(namespace, request))

    def _elapsed_ms(self, started_at_s: float) -> int:
        return round((self.clock() - started_at_s) * 1000)


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
