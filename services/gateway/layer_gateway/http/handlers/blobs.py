"""Blobs, put and got by the hash of their bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import web

from layer_gateway.application.blobs import BLOB_BYTES_MAX, Blob, Blobs, blob_reference
from layer_gateway.http.answers import WholeAnswer, json_answer
from layer_gateway.http.bodies import read_body
from layer_gateway.http.requests import Handler, query_string
from layer_gateway.http.routes import Operation, Route
from layer_kit.errors import InvalidRequestError
from layer_kit.names import parse_namespace

IMMUTABLE: Final = (b"cache-control", b"public, max-age=31536000, immutable")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobHandlers:
    """Bytes in, bytes out."""

    blobs: Blobs

    def table(self) -> Mapping[Operation, Handler]:
        return {Operation.PUT_BLOB: self.put, Operation.GET_BLOB: self.get}

    async def put(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        name = parse_namespace(route.namespace)
        is_warm = _is_warm(query_string(request))
        body = await read_body(request, BLOB_BYTES_MAX)
        kept = await self.blobs.put(name, body, is_warm=is_warm)
        ref = blob_reference(name, kept.sha256)
        return json_answer({"ref": ref, "sha256": kept.sha256, "size": kept.size_bytes})

    async def get(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        name, sha256 = parse_namespace(route.namespace), route.names["sha256"]
        offered = request.headers.get("if-none-match", "")
        if request.method == "HEAD" or offered:
            described = await self.blobs.describe(name, sha256)
            if _is_known(offered, sha256):
                return WholeAnswer(HTTPStatus.NOT_MODIFIED, (_etag(sha256), IMMUTABLE), b"")
            if request.method == "HEAD":
                size = (b"content-length", str(described.size_bytes).encode())
                return WholeAnswer(HTTPStatus.OK, (*_fields(described), size), b"")
        found = await self.blobs.get(name, sha256)
        return WholeAnswer(HTTPStatus.OK, _fields(found), found.body)


def _fields(blob: Blob) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"content-type", blob.content_type.encode()),
        # What somebody put must not become a page of this origin.
        (b"x-content-type-options", b"nosniff"),
        _etag(blob.sha256),
        IMMUTABLE,
    )


def _etag(sha256: str) -> tuple[bytes, bytes]:
    return b"etag", f'"{sha256}"'.encode()


def _is_known(offered: str, sha256: str) -> bool:
    """Tell whether ``if-none-match`` names this blob, or any."""
    tags = [tag.strip().removeprefix("W/") for tag in offered.split(",")]
    return "*" in tags or f'"{sha256}"' in tags


def _is_warm(query: str) -> bool:
    """Read ``warm``; it is true, false or left out."""
    warm = dict(parse_qsl(query, keep_blank_values=True)).get("warm", "false")
    if warm not in {"true", "false"}:
        raise InvalidRequestError(
            "WARM_INVALID", f"warm is true or false, not {warm!r}.", field="warm"
        )
    return warm == "true"
