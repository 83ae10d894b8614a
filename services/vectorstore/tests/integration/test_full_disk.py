"""On a full disk writes are refused, reads go on, and nothing needs a repair afterwards."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from layer_testing.processes import ServiceProcess

ROWS_COUNT = 20
TEXT = "x" * 4000
ATTEMPTS_COUNT = 3
WRITE = "/v2/namespaces/{}"


def fill_disk(service: ServiceProcess, directory: Path) -> None:
    """Let no file of the service grow past the size of its largest one."""
    size_bytes = max(path.stat().st_size for path in directory.iterdir())
    _limit(service, size_bytes)


def free_disk(service: ServiceProcess) -> None:
    _limit(service, resource.RLIM_INFINITY)


def _limit(service: ServiceProcess, size_bytes: int) -> None:
    _, hard = resource.prlimit(service.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (size_bytes, hard))


def rows(first_id: int, text: str = TEXT) -> dict[str, Any]:
    ids = range(first_id, first_id + ROWS_COUNT)
    return {"upsert_rows": [{"id": i, "text": text} for i in ids]}


async def written(
    http: aiohttp.ClientSession, name: str, body: dict[str, Any]
) -> tuple[int, dict[str, Any], dict[str, str]]:
    async with http.post(WRITE.format(name), json=body) as response:
        return response.status, await response.json(), dict(response.headers)


async def found(http: aiohttp.ClientSession, name: str) -> list[dict[str, Any]]:
    body = {"rank_by": ["id", "asc"], "limit": 1000, "include_attributes": True}
    async with http.post(f"{WRITE.format(name)}/query", json=body) as response:
        assert response.status == 200, await response.text()
        answer: list[dict[str, Any]] = (await response.json())["rows"]
        return answer


def session(service: ServiceProcess) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(f"http://{service.addresses['http']}")


@pytest.mark.parametrize("replaces_rows", [False, True])
async def test_a_full_disk_refuses_writes_and_corrupts_nothing(
    start: Callable[..., Any],
    tmp_path: Path,
    replaces_rows: bool,  # noqa: FBT001
) -> None:
    kept = rows(0)["upsert_rows"]
    refused = rows(0, "changed" * 500) if replaces_rows else rows(ROWS_COUNT)
    async with start() as service, session(service) as http:
        assert (await written(http, "old", rows(0)))[0] == 200

        fill_disk(service, tmp_path / "data")
        for _ in range(ATTEMPTS_COUNT):
            status, answer, headers = await written(http, "old", refused)
            assert status == 503
            assert "could not be made durable" in answer["error"]
            assert headers["x-should-retry"] == "true"
            assert await found(http, "old") == kept
            status, _, _ = await written(http, "new", refused)
            assert status == 503
        async with http.get("/v1/namespaces") as response:
            assert (await response.json())["namespaces"] == [{"id": "old"}]

        free_disk(service)
        more = rows(100)
        assert (await written(http, "old", more))[0] == 200
        assert (await written(http, "new", more))[0] == 200

    async with start() as service, session(service) as http:
        assert await found(http, "old") == kept + more["upsert_rows"]
        assert await found(http, "new") == more["upsert_rows"]


async def test_a_disk_that_is_full_at_the_start_still_serves_reads(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    async with start() as service, session(service) as http:
        await written(http, "old", rows(0))

    async with start() as service, session(service) as http:
        fill_disk(service, tmp_path / "data")
        assert await found(http, "old") == rows(0)["upsert_rows"]
        statuses = [(await written(http, "old", rows(1000 * i)))[0] for i in range(1, 4)]
        assert 503 in statuses
        free_disk(service)
        assert (await written(http, "old", rows(9000)))[0] == 200
        ids = [row["id"] for row in await found(http, "old")]
        assert ids[:ROWS_COUNT] == list(range(ROWS_COUNT))
        assert ids[-ROWS_COUNT:] == list(range(9000, 9000 + ROWS_COUNT))
