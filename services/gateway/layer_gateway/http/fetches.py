"""Answers to fetches, in the contract's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

import msgspec

from layer_gateway.application.fetching import CacheResult, Fetched
from layer_gateway.application.history import History
from layer_gateway.domain.visits import Visit
from layer_gateway.http.answers import JSON_FIELDS, QuickAnswer, WholeAnswer
from layer_gateway.http.edge_request import EdgeRequest
from layer_gateway.http.requests import VECTOR_WARNING
from layer_gateway.ports.rows import CachedRow
from layer_kit.errors import NotFoundError
from layer_kit.names import Namespace
from layer_wire.jsontext import encode, encode_lines

CACHE_FIELD: Final = "x-layer-cache"

_DOCUMENTS: Final = b'{"documents":[%b],"missing":%b}'
_ALL_DOCUMENTS: Final = b'{"documents":[%b],"missing":[]}'
_ID: Final = b'{"id":'
_DOCUMENT: Final = b'{"id":%b,"attributes":%b}'
_PARTS: Final = [b'},{"id":', b"", b',"attributes":', b""]
"""Of each document among others; its id and its attributes have empty places."""

_END: Final = b"}"


class FetchAsked(msgspec.Struct, eq=False):
    """What a request wants to fetch."""

    namespace: Namespace
    ids: Sequence[str]
    names: Sequence[str] | None
    """Of the attributes that are answered; None for all of them."""
    drops_vector: bool
    """Whether another was named, which never is."""
    visit: Visit
    is_batch: bool


def fetch_response(
    request: EdgeRequest, asked: FetchAsked, found: Fetched, history: History
) -> WholeAnswer:
    """Answer a fetch with what there is.

    Raises:
        NotFoundError: ``DOCUMENT_NOT_FOUND``.
    """
    ids, rows = asked.ids, found.rows
    if not (rows or asked.is_batch):
        raise NotFoundError(
            "DOCUMENT_NOT_FOUND",
            f"Namespace {asked.namespace} has no document {ids[0]!r}.",
            namespace=asked.namespace,
            id=ids[0],
        )
    history.clicked(asked.namespace, ids, asked.visit, found, is_batch=asked.is_batch)
    result = found.result.value
    request.fetched = len(ids), result
    headers = dict(VECTOR_WARNING) if asked.drops_vector else {}
    headers[CACHE_FIELD] = result
    body = _documents(ids, rows)
    if asked.is_batch:
        missing: list[str] = []
        if len(rows) < len(ids):
            missing = [id_ for at, id_ in enumerate(ids) if at not in rows]
        body = _DOCUMENTS % (body, encode(missing))
    return WholeAnswer(HTTPStatus.OK, JSON_FIELDS, body, headers=headers)


def hit_response(asked: FetchAsked, bodies: Sequence[bytes]) -> QuickAnswer:
    """Answer a fetch all of whose documents were cached, in the same words."""
    documents = _joined(asked.ids, bodies)
    if asked.is_batch:
        documents = _ALL_DOCUMENTS % documents
    return QuickAnswer(_WARNED_HIT if asked.drops_vector else _HIT, documents)


def _beginning(*further: tuple[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in further)
    return f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{lines}".encode()


_HIT_FIELD: Final = (CACHE_FIELD, CacheResult.HIT.value)
_HIT: Final = _beginning(_HIT_FIELD)
_WARNED_HIT: Final = _beginning(*VECTOR_WARNING.items(), _HIT_FIELD)


def _documents(ids: Sequence[str], rows: Mapping[int, CachedRow]) -> bytes:
    found = sorted(rows)
    if not found:
        return b""
    return _joined([ids[at] for at in found], [rows[at].body for at in found])


def _joined(ids: Sequence[str], bodies: Sequence[bytes]) -> bytes:
    """Return documents as JSON, around that of their attributes, which is as it was stored.

    JSON breaks no line within a text, so that all ids are encoded at once and then parted. Nothing
    is done for each document but the last copy.
    """
    if len(ids) == 1:
        return _DOCUMENT % (encode(ids[0]), bodies[0])
    parts = _PARTS * len(ids)
    parts[0] = _ID
    parts[1 :: len(_PARTS)] = encode_lines(ids).splitlines()
    parts[3 :: len(_PARTS)] = bodies
    parts.append(_END)
    return b"".join(parts)
