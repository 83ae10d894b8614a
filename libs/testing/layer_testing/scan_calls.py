"""Scans over HTTP, as tests call them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from layer_testing.edge_calls import EdgeAnswer, EdgeCaller, eventually


async def scan(edge: EdgeCaller, target: str, **body: Any) -> EdgeAnswer:
    return await edge("POST", f"{target}/scans", body)


async def count(edge: EdgeCaller, target: str, **body: Any) -> dict[str, Any]:
    answer = await scan(edge, target, mode="count", **body)
    assert answer.status == HTTPStatus.OK, answer.body
    return dict(answer.json)


async def finished(edge: EdgeCaller, target: str, job: dict[str, Any]) -> dict[str, Any]:
    async def found() -> dict[str, Any]:
        answer = await edge("GET", f"{target}/scans/{job['id']}")
        assert answer.status == HTTPStatus.OK, answer.body
        return {} if answer.json["status"] == "running" else dict(answer.json)

    return await eventually(found)


async def completed(edge: EdgeCaller, target: str, **body: Any) -> dict[str, Any]:
    answer = await scan(edge, target, **body)
    assert answer.status == HTTPStatus.ACCEPTED, answer.body
    job = await finished(edge, target, answer.json)
    assert job["status"] == "completed", job
    return job


async def results(edge: EdgeCaller, target: str, job: dict[str, Any], query: str = "") -> Any:
    answer = await edge("GET", f"{target}/scans/{job['id']}/results{query}")
    assert answer.status == HTTPStatus.OK, answer.body
    return answer.json


async def warmed(edge: EdgeCaller, target: str) -> None:
    """Have the cache hold a namespace as a whole."""
    job = (await edge("POST", f"{target}/warm")).json

    async def is_over() -> bool:
        found = (await edge("GET", f"{target}/warm-jobs/{job['id']}")).json
        assert found["status"] != "failed", found
        return bool(found["status"] == "completed")

    await eventually(is_over)
