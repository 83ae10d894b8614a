"""The few calls that layer makes on its own account, each with its deadline.

Raw calls return the upstream's answer whatever its status, since their caller relays it. Parsed
calls raise for every status but 2xx.
"""

from __future__ import annotations

from typing import Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from layer_kit.errors import (
    ForbiddenError,
    LayerError,
    NotFoundError,
    QuotaExceededError,
    UnauthenticatedError,
    UpstreamError,
)
from layer_upstream.client import UpstreamClient
from layer_upstream.faults import protocol_error
from layer_upstream.headers import Header
from layer_upstream.response import UpstreamResponse

CONTROL_TIMEOUT_S: Final = 10.0
"""For metadata, schemas and lists, which the upstream answers from memory."""

QUERY_TIMEOUT_S: Final = 60.0
"""The official clients' own default."""

WRITE_TIMEOUT_S: Final = 120.0

LIST_PAGE_SIZE_MAX: Final = 1000
ERROR_TEXT_LENGTH_MAX: Final = 512

Schema = dict[str, msgspec.Raw]
"""Attribute to its configuration: JSON of a type name, or of an object with a ``type``."""

T = TypeVar("T")


class IndexState(msgspec.Struct, frozen=True):
    """``status`` is ``up-to-date`` or ``updating``."""

    status: str
    unindexed_bytes: int = 0


class NamespaceMetadata(msgspec.Struct, frozen=True):
    """What layer needs of a namespace's metadata; unknown fields are skipped."""

    schema: Schema
    index: IndexState
    approx_row_count: int = 0


class NamespaceEntry(msgspec.Struct, frozen=True):
    id: str


class NamespacePage(msgspec.Struct, frozen=True):
    """One page of names, in the upstream's order; no ``next_cursor`` on the last one."""

    namespaces: list[NamespaceEntry]
    next_cursor: str | None = None


class _TypedAttribute(msgspec.Struct):
    type: str


_METADATA: Final = msgspec.json.Decoder(NamespaceMetadata)
_PAGE: Final = msgspec.json.Decoder(NamespacePage)
_SCHEMA: Final = msgspec.json.Decoder(Schema)
_ATTRIBUTE: Final[msgspec.json.Decoder[str | _TypedAttribute]] = msgspec.json.Decoder(
    str | _TypedAttribute
)


def attribute_types(schema: Schema) -> dict[str, str]:
    """Return the type name of each attribute, such as ``string`` or ``[1536]f32``.

    Raises:
        UpstreamError: ``UPSTREAM_PROTOCOL_ERROR`` when an attribute has none.
    """
    types: dict[str, str] = {}
    for name, configuration in schema.items():
        parsed = _decode(configuration, _ATTRIBUTE)
        types[name] = parsed if isinstance(parsed, str) else parsed.type
    return types


class TurbopufferClient:
    """Turbopuffer's HTTP API over an :class:`UpstreamClient`.

    ``authorization`` is the value of that header, such as ``b"Bearer …"``. Besides the errors
    below, every call raises those of :meth:`UpstreamClient.request`.
    """

    def __init__(self, client: UpstreamClient) -> None:
        self._client = client

    async def query(self, namespace: str, body: bytes, authorization: bytes) -> UpstreamResponse:
        """Send a JSON query and return its answer, whatever its status."""
        return await self._post(
            _path("v2", namespace, "query"), body, authorization, QUERY_TIMEOUT_S
        )

    async def write(self, namespace: str, body: bytes, authorization: bytes) -> UpstreamResponse:
        """Send a JSON write and return its answer, whatever its status.

        Not sent again when its connection turns out to be gone: a conditional write may have
        been applied, and then would not be a second time.
        """
        return await self._post(
            _path("v2", namespace), body, authorization, WRITE_TIMEOUT_S, idempotent=False
        )

    async def metadata(self, namespace: str, authorization: bytes) -> NamespaceMetadata:
        """Return a namespace's metadata.

        Raises:
            NotFoundError: ``NAMESPACE_NOT_FOUND``.
            LayerError: As :func:`status_error` maps any other status.
        """
        return await self._get(_path("v2", namespace, "metadata"), authorization, _METADATA)

    async def schema(self, namespace: str, authorization: bytes) -> Schema:
        """Return a namespace's schema; errors as for :meth:`metadata`."""
        return await self._get(_path("v1", namespace, "schema"), authorization, _SCHEMA)

    async def list_namespaces(
        self,
        authorization: bytes,
        *,
        prefix: str = "",
        cursor: str = "",
        page_size: int = LIST_PAGE_SIZE_MAX,
    ) -> NamespacePage:
        """Return one page of namespaces; errors as for :meth:`metadata`."""
        parameters = {"prefix": prefix, "cursor": cursor, "page_size": str(page_size)}
        query = urlencode({name: value for name, value in parameters.items() if value})
        return await self._get(f"/v1/namespaces?{query}".encode(), authorization, _PAGE)

    async def delete_namespace(self, namespace: str, authorization: bytes) -> None:
        """Delete a namespace with all its documents; errors as for :meth:`metadata`.

        Not sent again by itself, since the second one would not find what the first had deleted.
        """
        response = await self._client.request(
            b"DELETE",
            _path("v2", namespace),
            [(b"authorization", authorization)],
            timeout_s=CONTROL_TIMEOUT_S,
            idempotent=False,
        )
        _check_status(response)

    async def _post(
        self,
        target: bytes,
        body: bytes,
        authorization: bytes,
        timeout_s: float,
        *,
        idempotent: bool = True,
    ) -> UpstreamResponse:
        headers: list[Header] = [
            (b"authorization", authorization),
            (b"content-type", b"application/json"),
        ]
        return await self._client.request(
            b"POST", target, headers, body, idempotent=idempotent, timeout_s=timeout_s
        )

    async def _get(
        self, target: bytes, authorization: bytes, decoder: msgspec.json.Decoder[T]
    ) -> T:
        response = await self._client.request(
            b"GET", target, [(b"authorization", authorization)], timeout_s=CONTROL_TIMEOUT_S
        )
        _check_status(response)
        return _decode(response.body, decoder)


def status_error(response: UpstreamResponse) -> LayerError:
    """Return the error that an answer which is not 2xx amounts to."""
    status = response.status
    text = response.body.decode(errors="replace")[:ERROR_TEXT_LENGTH_MAX]
    message = f"The upstream answered {status}: {text}"
    match status:
        case 401:
            return UnauthenticatedError("UPSTREAM_UNAUTHENTICATED", message, text=text)
        case 403:
            return ForbiddenError("UPSTREAM_FORBIDDEN", message, text=text)
        case 404:
            return NotFoundError("NAMESPACE_NOT_FOUND", message, text=text)
        case 429:
            return QuotaExceededError("UPSTREAM_RATE_LIMITED", message, text=text)
        case _:
            return UpstreamError("UPSTREAM_STATUS", message, status=status, text=text)


def _check_status(response: UpstreamResponse) -> None:
    if response.status // 100 != 2:  # noqa: PLR2004 -- 2xx
        raise status_error(response)


def _decode(body: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise protocol_error(f"its JSON is not as agreed: {error}") from error


def _path(version: str, namespace: str, *rest: str) -> bytes:
    return "/".join(("", version, "namespaces", quote(namespace, safe=""), *rest)).encode()
