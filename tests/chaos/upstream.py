"""A small store with Turbopuffer's routes that tells the history what it applied, in order.

It keeps everything in memory and does every write in one step, so its own order is beyond doubt.
What surrounds that step is not: answers come late, get lost after the write was applied, or come
before a write that is applied later still.
"""

from __future__ import annotations

import asyncio
import operator
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import msgspec
from aiohttp import web

from layer_kit.names import Namespace
from tests.chaos.checker import History, Row

OPERATION_HEADER: Final = "x-operation"
OWN_ATTRIBUTES: Final = ("whole", "left", "right")
"""What the program writes; a fetch is judged by these."""

GROUP: Final = "group"
"""Says of each row which filter it matches."""

_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "Eq": operator.eq,
    "Lt": operator.lt,
    "Gte": operator.ge,
    "In": lambda value, wanted: value in wanted,
}

Document = dict[str, Any]


class RefusedError(Exception):
    """The request is refused; nothing was done."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What happens to one request on its way and back."""

    before_s: float = 0.0
    after_s: float = 0.0
    refused_status: int = 0
    """Answered with this instead of being applied; 0 when it is applied."""
    answered_status: int = 0
    """Answered with this although it was applied; 0 for the right answer."""
    is_answer_lost: bool = False
    is_applied_late: bool = False
    """Whether the connection breaks first and the write is applied all the same."""


@dataclass(slots=True, kw_only=True)
class Weather:
    """Decides the fate of requests; ``storm`` is the share of them that go wrong."""

    random: Random
    storm: float = 0.1

    def draw(self) -> Fate:
        """Return the fate of the next request."""
        before_s = self._pause_s()
        after_s = self._pause_s()
        if self.random.random() >= self.storm:
            return Fate(before_s=before_s, after_s=after_s)
        match self.random.randrange(6):
            case 0:
                return Fate(before_s=before_s, refused_status=self.random.choice((429, 500)))
            case 1:
                return Fate(before_s=before_s, after_s=after_s, answered_status=503)
            case 2:
                return Fate(before_s=before_s, after_s=after_s, is_answer_lost=True)
            case 3:
                return Fate(before_s=self.random.uniform(0.05, 0.4), is_applied_late=True)
            case 4:
                return Fate(before_s=self.random.uniform(0.1, 0.8))
            case _:
                return Fate(after_s=self.random.uniform(0.1, 0.8))

    def is_terse(self) -> bool:
        """Tell whether the store keeps to itself which rows a write changed."""
        return self.random.random() < 0.2

    def _pause_s(self) -> float:
        return self.random.choice((0.0, 0.0, 0.002, 0.01, 0.04))


@dataclass(slots=True, kw_only=True)
class _Table:
    """One namespace."""

    is_numbered: bool
    documents: dict[str, Document] = field(default_factory=dict)
    """By the text of the id."""


@dataclass(slots=True, kw_only=True)
class Upstream:
    """The store. Every method that changes something is one step."""

    history: History
    weather: Weather
    url: str = ""
    _tables: dict[Namespace, _Table] = field(default_factory=dict)
    _late: set[asyncio.Task[None]] = field(default_factory=set)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request as its fate has it."""
        body = await request.read()
        fate = self.weather.draw()
        if fate.is_applied_late:
            _break_off(request)
            self._apply_late(request, body, fate.before_s)
            return web.Response()
        await asyncio.sleep(fate.before_s)
        if fate.refused_status:
            return _answer(fate.refused_status, {"status": "error", "error": "bad weather"})
        status, content = self._answer(request, body)
        await asyncio.sleep(fate.after_s)
        if fate.is_answer_lost:
            _break_off(request)
        return _answer(fate.answered_status or status, content)

    async def settle(self) -> None:
        """Wait until every late write has been applied."""
        if self._late:
            await asyncio.wait(self._late)

    def _apply_late(self, request: web.BaseRequest, body: bytes, after_s: float) -> None:
        async def later() -> None:
            await asyncio.sleep(after_s)
            self._answer(request, body)

        task = asyncio.create_task(later())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    def _answer(self, request: web.BaseRequest, body: bytes) -> tuple[int, object]:
        _, _, _, name, *rest = request.path.split("/")
        namespace = Namespace(name)
        number = int(request.headers.get(OPERATION_HEADER, "0"))
        try:
            match request.method, rest:
                case "POST", []:
                    return 200, self._write(namespace, msgspec.json.decode(body), number)
                case "POST", ["query"]:
                    return 200, self._query(namespace, msgspec.json.decode(body))
                case "GET", ["schema"]:
                    return 200, self._schema(namespace)
                case "DELETE", []:
                    return 200, self._delete_namespace(namespace, number)
                case _:
                    raise AssertionError(f"no such route: {request.method} {request.path}")
        except RefusedError as refusal:
            return refusal.status, {"status": "error", "error": str(refusal)}

    def _write(self, namespace: Namespace, body: Document, number: int) -> Document:
        table = self._tables.get(namespace)
        named = [row["id"] for key in ("upsert_rows", "patch_rows") for row in body.get(key, ())]
        named += body.get("deletes", ())
        if table is None:
            if not body.get("upsert_rows"):
                raise RefusedError(404, "there is no such namespace")
            table = _Table(is_numbered=isinstance(named[0], int))
        if any(isinstance(id_, int) != table.is_numbered for id_ in named):
            raise RefusedError(400, "the ids are of another kind")
        self._tables[namespace] = table
        changed = _Changed(history=self.history, namespace=namespace, table=table, number=number)
        changed.by_filter(body)
        changed.by_id(body)
        return changed.answer(
            with_ids="return_affected_ids" in body and not self.weather.is_terse()
        )

    def _query(self, namespace: Namespace, body: Document) -> Document:
        table = self._table(namespace)
        _, comparison, wanted = body["filters"]
        ids = wanted if comparison == "In" else [wanted]
        if any(isinstance(id_, int) != table.is_numbered for id_ in ids):
            raise RefusedError(400, "the ids are of another kind")
        found = (table.documents.get(str(id_)) for id_ in ids)
        return {"rows": [dict(document) for document in found if document is not None]}

    def _schema(self, namespace: Namespace) -> Document:
        id_type = "uint" if self._table(namespace).is_numbered else "string"
        return {"id": {"type": id_type}, **dict.fromkeys((*OWN_ATTRIBUTES, GROUP), "int")}

    def _delete_namespace(self, namespace: Namespace, number: int) -> Document:
        for row in self.history.rows(namespace):
            self.history.apply(row, number, None, is_whole=True)
        self._table(namespace)
        del self._tables[namespace]
        return {"status": "OK"}

    def _table(self, namespace: Namespace) -> _Table:
        table = self._tables.get(namespace)
        if table is None:
            raise RefusedError(404, "there is no such namespace")
        return table


@dataclass(slots=True, kw_only=True)
class _Changed:
    """One write as it is applied, and which rows it changed."""

    history: History
    namespace: Namespace
    table: _Table
    number: int
    ids: dict[str, list[int | str]] = field(
        default_factory=lambda: {"upserted_ids": [], "patched_ids": [], "deleted_ids": []}
    )

    def by_filter(self, body: Document) -> None:
        if condition := body.get("delete_by_filter"):
            for document in self._matching(condition):
                self._delete(document["id"])
        if patch := body.get("patch_by_filter"):
            for document in self._matching(patch["filters"]):
                self._patch(document, patch["patch"])

    def by_id(self, body: Document) -> None:
        documents = self.table.documents
        for row in body.get("upsert_rows", ()):
            before = documents.get(str(row["id"]))
            if before is None or _holds(body.get("upsert_condition"), before):
                self._upsert(row)
        for row in body.get("patch_rows", ()):
            before = documents.get(str(row["id"]))
            if before is not None and _holds(body.get("patch_condition"), before):
                self._patch(before, row)
            elif before is None and "patch_condition" not in body:
                # Without effect here, but not where the write that deleted the row is pending.
                self._tell(row["id"], own(row), is_whole=False)
        for id_ in body.get("deletes", ()):
            before = documents.get(str(id_))
            condition = body.get("delete_condition")
            if condition is None or (before is not None and _holds(condition, before)):
                self._delete(id_)

    def answer(self, *, with_ids: bool) -> Document:
        """Return the store's answer, which names rows only when it was asked to."""
        count = sum(len(ids) for ids in self.ids.values())
        return {"status": "OK", "rows_affected": count} | (self.ids if with_ids else {})

    def _matching(self, condition: list[Any]) -> list[Document]:
        return [found for found in self.table.documents.values() if _holds(condition, found)]

    def _upsert(self, row: Document) -> None:
        self.table.documents[str(row["id"])] = dict(row)
        self.ids["upserted_ids"].append(row["id"])
        self._tell(row["id"], own(row), is_whole=True)

    def _patch(self, document: Document, patch: Document) -> None:
        document.update({name: value for name, value in patch.items() if name != "id"})
        self.ids["patched_ids"].append(document["id"])
        self._tell(document["id"], own(patch), is_whole=False)

    def _delete(self, id_: int | str) -> None:
        self.table.documents.pop(str(id_), None)
        self.ids["deleted_ids"].append(id_)
        self._tell(id_, None, is_whole=True)

    def _tell(self, id_: int | str, attributes: dict[str, int] | None, *, is_whole: bool) -> None:
        row = Row(self.namespace, str(id_))
        self.history.apply(row, self.number, attributes, is_whole=is_whole)


@asynccontextmanager
async def serving_upstream(history: History, weather: Weather) -> AsyncIterator[Upstream]:
    """Serve a store for the length of the block."""
    upstream = Upstream(history=history, weather=weather)
    runner = web.ServerRunner(web.Server(upstream.handle, access_log=None))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        upstream.url = f"http://{host}:{port}"
        yield upstream
        await upstream.settle()
    finally:
        await runner.cleanup()


def own(document: Mapping[str, Any], names: Iterable[str] = OWN_ATTRIBUTES) -> dict[str, int]:
    """Return the attributes that tell which writes made a row."""
    return {name: document[name] for name in names if name in document}


def _holds(condition: list[Any] | None, document: Document) -> bool:
    if condition is None:
        return True
    name, comparison, wanted = condition
    return name in document and _COMPARISONS[comparison](document[name], wanted)


def _break_off(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()


def _answer(status: int, content: object) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(content), content_type="application/json"
    )
