"""The upstream store over the lean HTTP client."""

from __future__ import annotations

import functools
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from layer_gateway.adapters.reachability import LastSeen
from layer_gateway.ports.stores import Caller, Headers, StoreAnswer, StoreCall, StreamedAnswer
from layer_gateway.upstream_time import upstream_time
from layer_kit.names import Namespace
from layer_upstream import UpstreamClient, UpstreamResponse
from layer_wire.jsontext import Piece

AUTHORIZATION: Final = b"authorization"
READING_METHODS: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})
"""What may be sent once more when a connection turns out to be gone."""

HEADERS_REMEMBERED_MAX: Final = 256

_JSON: Final = ((b"content-type", b"application/json"), (b"accept", b"application/json"))


class HttpStore:
    """Speaks the Turbopuffer routes that layer itself uses, and passes on all others.

    Args:
        client: Owned by the caller.
        last_seen: Told whether the store answers.
        api_key: Sent instead of the caller's own bearer; empty sends that on.
    """

    def __init__(self, client: UpstreamClient, last_seen: LastSeen, *, api_key: bytes) -> None:
        self._client = client
        client.watch(last_seen)
        self._authorization = b"Bearer " + api_key if api_key else b""

    @property
    def has_own_key(self) -> bool:
        """Tell whether the store can be asked on nobody's behalf."""
        return bool(self._authorization)

    async def write(
        self, namespace: Namespace, body: Sequence[Piece], caller: Caller
    ) -> StoreAnswer:
        target = b"/v2/namespaces/" + _segment(namespace)
        return await self._request(b"POST", target, self._headers(caller), body, idempotent=False)

    def query(
        self, namespace: Namespace, body: bytes, caller: Caller
    ) -> Coroutine[Any, Any, StoreAnswer]:
        target = b"/v2/namespaces/" + _segment(namespace) + b"/query"
        return self._request(b"POST", target, self._headers(caller), body, idempotent=True)

    def query_call(self, namespace: Namespace, caller: Caller) -> StoreCall:
        target = b"/v2/namespaces/" + _segment(namespace) + b"/query"
        return self._client.call(b"POST", target, self._headers(caller), idempotent=True)

    async def schema(self, namespace: Namespace, caller: Caller) -> StoreAnswer:
        return await self._get(b"/v1/namespaces/" + _segment(namespace) + b"/schema", caller)

    async def metadata(self, namespace: Namespace, caller: Caller) -> StoreAnswer:
        return await self._get(b"/v2/namespaces/" + _segment(namespace) + b"/metadata", caller)

    async def hint_cache_warm(self, namespace: Namespace, caller: Caller) -> StoreAnswer:
        target = b"/v1/namespaces/" + _segment(namespace) + b"/hint_cache_warm"
        return await self._get(target, caller)

    async def list_namespaces(self, query_string: str, caller: Caller) -> StoreAnswer:
        suffix = f"?{query_string}".encode() if query_string else b""
        return await self._get(b"/v1/namespaces" + suffix, caller)

    async def delete_namespace(self, namespace: Namespace, caller: Caller) -> StoreAnswer:
        target = b"/v2/namespaces/" + _segment(namespace)
        # Not sent again: a first one that arrives late would take what was written since.
        return await self._request(b"DELETE", target, self._headers(caller), idempotent=False)

    def forward(
        self, method: bytes, target: bytes, headers: Headers, body: bytes, *, stream: bool
    ) -> Coroutine[Any, Any, StreamedAnswer]:
        return self._request(
            method,
            target,
            self._authorized(headers),
            body,
            stream=stream,
            idempotent=method in READING_METHODS,
        )

    def forward_call(self, method: bytes, target: bytes, headers: Headers) -> StoreCall:
        return self._client.call(
            method,
            target,
            self._authorized(headers),
            stream=True,
            idempotent=method in READING_METHODS,
        )

    async def _get(self, target: bytes, caller: Caller) -> StoreAnswer:
        return await self._request(b"GET", target, self._headers(caller))

    async def _request(
        self,
        method: bytes,
        target: bytes,
        headers: Headers,
        body: bytes | Sequence[Piece] = b"",
        *,
        stream: bool = False,
        idempotent: bool | None = None,
    ) -> UpstreamResponse:
        waited = upstream_time.get(None)  # of nobody for what the gateway asks by itself
        if waited is not None:
            waited.begin()
        try:
            return await self._client.request(
                method, target, headers, body, stream=stream, idempotent=idempotent
            )
        finally:
            if waited is not None:
                waited.end()

    def _headers(self, caller: Caller) -> Headers:
        return (*_JSON, *self._authorized(caller.headers))

    def _authorized(self, headers: Headers) -> Headers:
        return _with_key(tuple(headers), self._authorization) if self._authorization else headers


@functools.lru_cache(HEADERS_REMEMBERED_MAX)
def _with_key(headers: Headers, authorization: bytes) -> Headers:
    """Return headers, which callers repeat, with another key than theirs."""
    kept = [header for header in headers if header[0].lower() != AUTHORIZATION]
    return (*kept, (AUTHORIZATION, authorization))


def _segment(namespace: Namespace) -> bytes:
    """Return a namespace's part of a path; a checked name has nothing to escape."""
    return namespace.encode()
