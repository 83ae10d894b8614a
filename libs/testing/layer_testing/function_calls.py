"""Calls about functions in the words of the contract, whichever transport carries them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

from layer_testing.edge_calls import EdgeCaller

Json = dict[str, Any]


class RefusedError(Exception):
    """A call was refused."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class FunctionCalls(Protocol):
    """What can be asked about functions; everything raises ``RefusedError``."""

    async def create(self, function_id: str, spec: Mapping[str, Any], *, paused: bool) -> Json: ...

    async def put(self, function_id: str, spec: Mapping[str, Any]) -> Json: ...

    async def get(self, function_id: str) -> Json: ...

    async def delete(self, function_id: str) -> None: ...

    async def status(self, function_id: str) -> Json: ...

    async def pause(self, function_id: str, reason: str = "") -> Json: ...

    async def resume(self, function_id: str) -> Json: ...

    async def reset_failed(self, function_id: str) -> int: ...

    async def failed(self, function_id: str, limit: int = 100) -> Sequence[Json]: ...

    async def discover(self, function_id: str, body: Mapping[str, Any]) -> Json: ...

    async def claim(self, function_id: str, body: Mapping[str, Any]) -> list[Json]: ...

    async def heartbeat(self, function_id: str, worker: str, items: Sequence[Json]) -> int: ...

    async def complete(
        self, function_id: str, worker: str, items: Sequence[Json]
    ) -> tuple[int, list[str]]:
        """Hand results in; return how many were accepted, and what became of each."""
        ...

    async def fail(self, function_id: str, worker: str, items: Sequence[Json]) -> int: ...

    async def look_up(self, function_id: str, items: Sequence[Json]) -> list[Json]: ...

    async def try_candidate(self, function_id: str, body: Mapping[str, Any]) -> Json: ...

    async def candidate(self, function_id: str) -> Json: ...

    async def compare(self, function_id: str, namespace: str) -> Json: ...

    async def promote(self, function_id: str) -> Json: ...

    async def discard(self, function_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class HttpFunctionCalls:
    """Calls of the edge."""

    edge: EdgeCaller

    async def create(self, function_id: str, spec: Mapping[str, Any], *, paused: bool) -> Json:
        body = {"id": function_id, "spec": spec, "paused": paused}
        return await self._call("POST", "/v2/udfs", body)

    async def put(self, function_id: str, spec: Mapping[str, Any]) -> Json:
        return await self._call("PUT", f"/v2/udfs/{function_id}", {"spec": spec})

    async def get(self, function_id: str) -> Json:
        return await self._call("GET", f"/v2/udfs/{function_id}")

    async def delete(self, function_id: str) -> None:
        await self._call("DELETE", f"/v2/udfs/{function_id}")

    async def status(self, function_id: str) -> Json:
        return await self._call("GET", f"/v2/udfs/{function_id}/status")

    async def pause(self, function_id: str, reason: str = "") -> Json:
        body = {"reason": reason} if reason else b""
        return await self._call("POST", f"/v2/udfs/{function_id}/pause", body)

    async def resume(self, function_id: str) -> Json:
        return await self._call("POST", f"/v2/udfs/{function_id}/resume")

    async def reset_failed(self, function_id: str) -> int:
        found = await self._call("POST", f"/v2/udfs/{function_id}/reset-failed")
        return int(found["updated"])

    async def failed(self, function_id: str, limit: int = 100) -> Sequence[Json]:
        path = f"/v2/udfs/{function_id}/items/failed?limit={limit}"
        items: list[Json] = (await self._call("GET", path))["items"]
        return items

    async def discover(self, function_id: str, body: Mapping[str, Any]) -> Json:
        return await self._call("POST", f"/v2/udfs/{function_id}/discover", body)

    async def claim(self, function_id: str, body: Mapping[str, Any]) -> list[Json]:
        found = await self._call("POST", f"/v2/udfs/{function_id}/claim", body)
        return list(found["items"])

    async def heartbeat(self, function_id: str, worker: str, items: Sequence[Json]) -> int:
        return int((await self._items(function_id, "heartbeat", worker, items))["updated"])

    async def complete(
        self, function_id: str, worker: str, items: Sequence[Json]
    ) -> tuple[int, list[str]]:
        body = {"worker_id": worker, "items": list(items), "report_dispositions": True}
        found = await self._call("POST", f"/v2/udfs/{function_id}/items/complete", body)
        assert [one["index"] for one in found["items"]] == [*range(len(items))]
        return int(found["updated"]), [one["disposition"] for one in found["items"]]

    async def fail(self, function_id: str, worker: str, items: Sequence[Json]) -> int:
        return int((await self._items(function_id, "fail", worker, items))["updated"])

    async def look_up(self, function_id: str, items: Sequence[Json]) -> list[Json]:
        path = f"/v2/udfs/{function_id}/items/lookup"
        found: list[Json] = (await self._call("POST", path, {"items": list(items)}))["items"]
        return found

    async def try_candidate(self, function_id: str, body: Mapping[str, Any]) -> Json:
        return await self._call("POST", f"/v2/udfs/{function_id}/candidate", body)

    async def candidate(self, function_id: str) -> Json:
        return await self._call("GET", f"/v2/udfs/{function_id}/candidate")

    async def compare(self, function_id: str, namespace: str) -> Json:
        path = f"/v2/udfs/{function_id}/candidate/compare?namespace={namespace}"
        return await self._call("GET", path)

    async def promote(self, function_id: str) -> Json:
        return await self._call("POST", f"/v2/udfs/{function_id}/candidate/promote", {})

    async def discard(self, function_id: str) -> None:
        await self._call("DELETE", f"/v2/udfs/{function_id}/candidate")

    async def _items(
        self, function_id: str, action: str, worker: str, items: Sequence[Json]
    ) -> Json:
        body = {"worker_id": worker, "items": list(items)}
        return await self._call("POST", f"/v2/udfs/{function_id}/items/{action}", body)

    async def _call(self, method: str, path: str, body: object = b"") -> Json:
        answer = await self.edge(method, path, body)
        if answer.status != HTTPStatus.OK:
            found = answer.json
            raise RefusedError(found.get("reason", found["error"]), found["message"])
        found = answer.json
        assert isinstance(found, dict)
        return found
