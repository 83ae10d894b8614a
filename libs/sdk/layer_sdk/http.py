"""Calls by HTTP, through the gateway."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from layer_sdk.connection import Connection
from layer_sdk.items import Failure, Item, Result
from layer_sdk.transport import Refused, Unavailable

CALL_S_MAX: Final = 60.0
LATER: Final = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


class HttpClient:
    """JSON calls with the worker's key."""

    def __init__(self, to: Connection) -> None:
        self._base_url = to.base_url
        headers = {"authorization": f"Bearer {to.api_key}"} if to.api_key else {}
        self._session = aiohttp.ClientSession(
            headers=headers, timeout=aiohttp.ClientTimeout(total=CALL_S_MAX)
        )

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """Call and return the decoded answer.

        Raises:
            Unavailable: It may succeed later.
            Refused: It will not.
        """
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        headers = {"content-type": "application/json"} if data is not None else None
        try:
            async with self._session.request(
                method, f"{self._base_url}{path}", data=data, headers=headers
            ) as response:
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"{method} {path}: {error or type(error).__name__}") from error
        if response.status == HTTPStatus.OK:
            return json.loads(text)
        message = f"{method} {path} was answered {response.status}: {text[:1000]}"
        if response.status in LATER:
            raise Unavailable(message, _seconds(response.headers.get("retry-after")))
        raise Refused(message)

    async def aclose(self) -> None:
        await self._session.close()


class HttpFunctions:
    """The items of one function."""

    def __init__(self, to: Connection, function_id: str) -> None:
        self._client = HttpClient(to)
        self._path = f"/v2/udfs/{quote(function_id, safe='')}"
        self._worker_id = to.worker_id

    async def claim(self, limit: int, lease_s: int | None) -> Sequence[Item]:
        body: dict[str, Any] = {"worker_id": self._worker_id, "limit": limit}
        if lease_s:
            body["lease_seconds"] = lease_s
        answer = await self._client.call("POST", f"{self._path}/claim", body)
        return [
            Item(one["namespace"], one["id"], one.get("lease_token", 0), one["input"])
            for one in answer["items"]
        ]

    async def heartbeat(self, items: Sequence[Item]) -> int:
        return await self._on_items("heartbeat", [_reference(item) for item in items])

    async def complete(self, results: Sequence[Result]) -> int:
        return await self._on_items("complete", [_result(result) for result in results])

    async def fail(self, failures: Sequence[Failure]) -> int:
        items = [
            {**_reference(one.item), "kind": one.kind, "message": one.message} for one in failures
        ]
        return await self._on_items("fail", items)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _on_items(self, action: str, items: list[dict[str, Any]]) -> int:
        body = {"worker_id": self._worker_id, "items": items}
        answer = await self._client.call("POST", f"{self._path}/items/{action}", body)
        return int(answer["updated"])


def _reference(item: Item) -> dict[str, Any]:
    return {"namespace": item.namespace, "id": item.id, "lease_token": item.lease_token}


def _result(result: Result) -> dict[str, Any]:
    found = {**_reference(result.item), "attributes": dict(result.attributes)}
    if result.vector is not None:
        found["vector"] = [float(component) for component in result.vector]
    if result.vectors is not None:
        found["vectors"] = [[float(one) for one in vector] for vector in result.vectors]
    return found


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
