"""Bodies, addresses, keys and faults: what is around the requests."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from layer_testing.processes import ServiceProcess, launch

NS = "/v2/namespaces/ns"
ROW = b'{"upsert_rows":[{"id":1}]}'


async def post(http: aiohttp.ClientSession, path: str, data: bytes, **headers: str) -> Any:
    async with http.post(path, data=data, headers=headers) as response:
        return response.status, await response.text()


async def test_gzipped_bodies_are_read_and_bad_ones_refused(http: aiohttp.ClientSession) -> None:
    gzipped = {"Content-Encoding": "gzip"}

    assert (await post(http, NS, gzip.compress(ROW), **gzipped))[0] == 200
    assert (await post(http, NS, ROW, **gzipped))[0] == 400
    assert (await post(http, NS, gzip.compress(ROW)[:-9], **gzipped))[0] == 400
    assert (await post(http, NS, b"{", **{"Content-Encoding": "br"}))[0] == 400


async def test_answers_are_gzipped_for_those_who_ask_and_only_when_it_pays(
    service: ServiceProcess,
) -> None:
    url = f"http://{service.addresses['http']}{NS}"
    rows = [{"id": number, "s": "text " * 20} for number in range(50)]
    query = {"rank_by": ["id", "asc"], "limit": 50, "include_attributes": True}
    async with aiohttp.ClientSession(auto_decompress=False) as http:
        async with http.post(url, json={"upsert_rows": rows}) as response:
            assert response.status == 200

        async def answer(accepted: str, limit: int) -> tuple[str | None, bytes]:
            headers = {"Accept-Encoding": accepted}
            async with http.post(
                f"{url}/query", json=query | {"limit": limit}, headers=headers
            ) as response:
                return response.headers.get("content-encoding"), await response.read()

        encoding, packed = await answer("br, gzip;q=0.5", 50)
        assert (encoding, len(packed) < 2000) == ("gzip", True)
        plain = await answer("identity", 50)
        assert plain[0] is None
        assert json.loads(gzip.decompress(packed))["rows"] == json.loads(plain[1])["rows"]
        assert (await answer("gzip;q=0", 50))[0] is None
        assert (await answer("gzip", 1))[0] is None


async def test_a_body_over_the_bound_is_413_also_when_inflated(start: Callable[..., Any]) -> None:
    async with start(body_bytes_max=2048) as service:
        address = f"http://{service.addresses['http']}"
        async with aiohttp.ClientSession(address) as http:
            assert (await post(http, NS, b" " * 5000))[0] == 413
            bomb = gzip.compress(b" " * 10_000_000)
            status, _ = await post(http, NS, bomb[:2000], **{"Content-Encoding": "gzip"})
            assert status == 413
            assert (await post(http, NS, ROW))[0] == 200


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a%20b", "Invalid URL: Namespace contains invalid characters, must be [A-Za-z0-9-_.]"),
        ("a%2Fb", "Invalid URL: Namespace contains invalid characters, must be [A-Za-z0-9-_.]"),
        ("x" * 129, "is too long, limit is currently 128 characters"),
        ("%ff", "Invalid URL: Namespace contains invalid characters"),
    ],
)
async def test_bad_namespace_names_are_plain_text(
    service: ServiceProcess, http: aiohttp.ClientSession, name: str, text: str
) -> None:
    url = URL(f"http://{service.addresses['http']}/v2/namespaces/{name}", encoded=True)
    async with http.post(url, data=ROW) as response:
        assert response.status == 400
        assert response.content_type == "text/plain"
        assert text in await response.text()


async def test_a_body_is_asked_for_by_who_waits_for_that(service: ServiceProcess) -> None:
    host, _, port = service.addresses["http"].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {NS} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(ROW)}\r\n"
    writer.write(f"{head}Expect: 100-continue\r\n\r\n".encode())

    async with asyncio.timeout(10):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(ROW)
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    writer.close()


async def test_bodies_nested_too_deeply_are_refused(http: aiohttp.ClientSession) -> None:
    assert (await post(http, NS, ROW))[0] == 200
    for depth in (300, 600, *range(900, 1000, 3), 100_000):
        nested = "[" * depth + "]" * depth
        for body in (
            f'{{"upsert_rows":[{{"id":2,"new":{nested}}}]}}',
            f'{{"upsert_rows":[{{"id":2,"v":{nested}}}],"upsert_condition":["id","Eq",{{"$ref_new":"v"}}]}}',
            f'{{"delete_by_filter":["id","Eq",{nested}]}}',
        ):
            status, text = await post(http, NS, body.encode())
            assert (status, '"status":"error"' in text) == (400, True)


async def test_the_early_routes_of_a_namespace_answer(http: aiohttp.ClientSession) -> None:
    await post(http, NS, b'{"upsert_rows":[{"id":1,"s":"x"},{"id":2}]}')

    async with http.get("/v1/namespaces/ns") as response:
        assert await response.json() == {
            "ids": [1, 2],
            "vectors": [None, None],
            "attributes": {"s": ["x", None]},
            "next_cursor": None,
            "message": None,
        }
    for name, status in (("ns", 200), ("none", 404)):
        async with http.head(f"/v1/namespaces/{name}") as response:
            assert (response.status, await response.read()) == (status, b"")


async def test_unknown_routes_and_syntax_errors_are_told(http: aiohttp.ClientSession) -> None:
    assert (await post(http, "/v2/nothing", b"{}"))[0] == 404
    status, text = await post(http, NS, b'{"upsert_rows": [')
    assert (status, '"status":"error"' in text) == (400, True)


async def test_pages_have_a_size(http: aiohttp.ClientSession) -> None:
    for size in ("0", "1001", "x", "-1", "9" * 5000):
        async with http.get("/v1/namespaces", params={"page_size": size}) as response:
            assert response.status == 400
            assert "Page size must be in range 1..=1000, was" in await response.text()


async def test_keys_are_needed_only_when_configured(start: Callable[..., Any]) -> None:
    keys = {"one": 200, "two": 200, "three": 401, "": 401}
    async with start(api_keys="one, two") as service, aiohttp.ClientSession() as http:
        url = f"http://{service.addresses['http']}/v1/namespaces"
        for key, status in keys.items():
            async with http.get(url, headers={"Authorization": f"Bearer {key}"}) as response:
                assert response.status == status
        async with http.get(url) as response:
            assert response.status == 401


async def test_faults_can_be_switched_while_it_runs(http: aiohttp.ClientSession) -> None:
    async def set_faults(**faults: float) -> None:
        async with http.put("/_layer/faults", json=faults) as response:
            assert response.status == 200

    await set_faults(error_rate=1)
    async with http.get("/v1/namespaces") as response:
        assert response.status == 503
        assert response.headers["x-should-retry"] == "true"
    await set_faults(drop_rate=1)
    with pytest.raises(aiohttp.ClientError):
        await http.get("/v1/namespaces")
    await set_faults(drop_answer_rate=1)
    with pytest.raises(aiohttp.ClientError):
        await post(http, "/v2/namespaces/done", ROW)
    await set_faults()
    async with http.get("/v1/namespaces") as response:
        assert (await response.json())["namespaces"] == [{"id": "done"}]
    await set_faults(latency_ms=30)
    # The loop's clock steps by whole milliseconds: two readings of it may lie one step nearer.
    started_at = time.perf_counter()
    async with http.get("/v1/namespaces") as response:
        assert response.status == 200
    assert time.perf_counter() - started_at >= 0.028
    await set_faults(index_lag_ms=100_000)
    assert (await post(http, NS, ROW))[0] == 200
    body = b'{"rank_by":["id","asc"],"limit":1,"consistency":{"level":"eventual"}}'
    assert '"rows":[]' in (await post(http, f"{NS}/query", body))[1]
    await set_faults(index_lag_ms=0)
    assert '"rows":[{"id":1}]' in (await post(http, f"{NS}/query", body))[1]
    await set_faults(index_lag_ms=100_000)
    async with http.put("/_layer/faults", json={"unknown": 1}) as response:
        assert response.status == 400
    async with http.get("/_layer/faults") as response:
        assert (await response.json())["index_lag_ms"] == 100_000


async def test_faults_are_no_route_unless_enabled(start: Callable[..., Any]) -> None:
    async with start() as service, aiohttp.ClientSession() as http:
        response = await http.get(f"http://{service.addresses['http']}/_layer/faults")
        assert response.status == 404


async def test_a_terminal_error_asks_not_to_be_retried(http: aiohttp.ClientSession) -> None:
    async with http.post(f"{NS}/query", data=b"{}") as response:
        assert response.headers["x-should-retry"] == "false"


async def test_what_cannot_start_says_so_in_one_line(
    service: ServiceProcess, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    taken, free = service.addresses["http"], "127.0.0.1:0"
    for directory, address, words in (
        (tmp_path / "data", free, "in use by another process"),
        (file, free, "cannot be written"),
        (tmp_path / "new", taken, "cannot listen on"),
    ):
        process = await launch(
            "layer_vectorstore",
            LAYER_VECTORSTORE_DATA_DIRECTORY=str(directory),
            LAYER_VECTORSTORE_HTTP_ADDRESS=address,
        )
        assert await process.wait() == 2
        assert words in process.stderr.splitlines()[-1]
