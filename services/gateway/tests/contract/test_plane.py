"""Blobs, stores, shards, copies and warming: each case over HTTP and gRPC, with one expectation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator

import grpc.aio
import pytest
import pytest_asyncio

from layer_testing.edge_calls import EdgeCaller, eventually
from layer_testing.gateway_calls import KEY, gateway_over
from layer_testing.namespace_transports import RefusedError
from layer_testing.plane_transports import PlaneOverHttp, PlaneOverRpc, PlaneTransport
from layer_testing.processes import ServiceProcess, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

PICTURE = b"\xff\xd8\xff a picture"
MIB = 1024 * 1024


def manifest(url: str) -> str:
    """Declare two stores of one address, of which the first one is the default."""
    stores = [
        {
            "apiVersion": "hevlayer.com/v1alpha1",
            "kind": "VectorStore",
            "metadata": {"name": name},
            "spec": {
                "default": name == "main",
                "kind": "turbopuffer",
                "turbopuffer": {"orgId": f"org_{name}"},
                "endpoint": {"url": url, "region": "aws-us-east-1"},
                "credential": {"secretRef": {"name": "keys", "key": name}},
                "inboundAuth": {"mode": "open"},
            },
        }
        for name in ("main", "other")
    ]
    return json.dumps({"kind": "List", "items": stores})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(
    store_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ServiceProcess]:
    """Run a gateway with a cache, an object store and declared stores."""
    home = tmp_path_factory.mktemp("plane")
    cache = f"unix:{home / 'c.sock'}"
    async with (
        running(
            "layer_cache",
            LAYER_CACHE_GRPC_ADDRESS=cache,
            LAYER_CACHE_DATA_DIRECTORY=str(home / "cache"),
        ),
        gateway_over(
            store_url,
            LAYER_STORE_JSON=manifest(store_url),
            LAYER_SECRET_KEYS_MAIN=KEY,
            LAYER_SECRET_KEYS_OTHER=KEY,
            LAYER_GATEWAY_CACHE_ADDRESS=cache,
            LAYER_GATEWAY_OBJECTS_DIRECTORY=str(home / "objects"),
            LAYER_GATEWAY_REACTIVE_WARM="false",
            LAYER_GATEWAY_BLOB_REFERENCE_ATTRIBUTES=json.dumps({"*": ["image"]}),
        ) as process,
    ):
        yield process


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["http", "grpc"])
async def plane(
    request: pytest.FixtureRequest, gateway: ServiceProcess
) -> AsyncIterator[PlaneTransport]:
    if request.param == "http":
        yield PlaneOverHttp(gateway.addresses["http"])
    else:
        async with grpc.aio.insecure_channel(gateway.addresses["grpc"]) as channel:
            yield PlaneOverRpc(channel)


@pytest_asyncio.fixture
async def name(request: pytest.FixtureRequest, edge: EdgeCaller) -> str:
    """Return a namespace of three rows that no other case uses."""
    found = str(request.node.name).translate(str.maketrans("[]", "--"))[-100:]
    rows = [{"id": f"r-{at}", "n": at, "vector": [1.0, float(at)]} for at in range(3)]
    body = {"upsert_rows": rows, "distance_metric": "cosine_distance"}
    assert (await edge("POST", f"/v2/namespaces/{found}", body)).status == 200
    return found


async def test_a_blob_is_kept_under_its_hash(plane: PlaneTransport, name: str) -> None:
    sha256 = hashlib.sha256(PICTURE).hexdigest()
    for is_warm in (False, True, True):
        kept = await plane.put_blob(name, PICTURE, is_warm=is_warm)
        assert kept == {"ref": f"blob://{name}/{sha256}", "sha256": sha256, "size": len(PICTURE)}
        assert await plane.get_blob(name, sha256) == (PICTURE, "image/jpeg")
        assert await plane.blob_size(name, sha256) == (len(PICTURE), "image/jpeg")


async def test_what_is_no_blob_is_refused(plane: PlaneTransport, name: str) -> None:
    for body in (b"", bytes(10 * MIB + 1)):  # gRPC has one code for both
        with pytest.raises(RefusedError, match=r"validation_error|payload_too_large"):
            await plane.put_blob(name, body)
    for sha256, kind in (("short", "validation_error"), ("0" * 64, "not_found")):
        for read in (plane.get_blob, plane.blob_size):
            with pytest.raises(RefusedError, match=kind):
                await read(name, sha256)
    with pytest.raises(RefusedError, match="validation_error"):
        await plane.put_blob("n" * 129, PICTURE)


async def test_the_largest_blob_comes_back(plane: PlaneTransport, name: str) -> None:
    largest = bytes(3 * MIB)  # a client's own bound of what it receives is 4
    kept = await plane.put_blob(name, largest)
    assert await plane.get_blob(name, str(kept["sha256"])) == (largest, "application/octet-stream")
    assert (await plane.put_blob(name, bytes(10 * MIB)))["size"] == 10 * MIB


@pytest.mark.usefixtures("name")  # by which the default store was met
async def test_declared_stores_are_described(plane: PlaneTransport, store_url: str) -> None:
    expected = [
        {
            "name": one,
            "kind": "turbopuffer",
            "is_default": one == "main",
            "url": store_url,
            "region": "aws-us-east-1",
            "secret": ("keys", one),
            "mode": "open",
            "organization": f"org_{one}",
            "organization_url": f"https://turbopuffer.com/organizations/org_{one}",
            "is_reachable": True if one == "main" else None,
        }
        for one in ("main", "other")
    ]
    assert await plane.stores() == expected
    assert [await plane.store("main"), await plane.store("other")] == expected
    with pytest.raises(RefusedError, match="not_found"):
        await plane.store("no-such")


async def test_what_a_store_can_do_is_told(plane: PlaneTransport, name: str) -> None:
    found = await plane.capabilities(store="main")
    assert found["store"] == {"name": "main", "kind": "turbopuffer"}
    assert found["limits"] == [0, None, None]
    assert await plane.capabilities(namespace=name) == found
    assert found == await plane.capabilities(namespace="nowhere")
    with pytest.raises(RefusedError, match="not_found"):
        await plane.capabilities(store="no-such")
    with pytest.raises(RefusedError, match="validation_error"):
        await plane.capabilities(namespace="n" * 129)


async def test_both_transports_tell_the_same_of_a_store(gateway: ServiceProcess) -> None:
    over_http = PlaneOverHttp(gateway.addresses["http"])
    async with grpc.aio.insecure_channel(gateway.addresses["grpc"]) as channel:
        over_rpc = PlaneOverRpc(channel)
        assert await over_rpc.capabilities(store="main") == await over_http.capabilities(
            store="main"
        )


async def test_a_namespace_is_moved_into_shards_to_the_end(
    plane: PlaneTransport, name: str
) -> None:
    moved = {"shard_count": 2, "moved": 2, "is_done": True}  # one is where it belongs
    assert await plane.migrate(name, 2) == moved
    assert await plane.migrate(name) == moved  # nothing is left to do
    with pytest.raises(RefusedError, match="conflict"):
        await plane.migrate(name, 4)
    with pytest.raises(RefusedError, match="validation_error"):
        await plane.migrate(name, -1)
    with pytest.raises(RefusedError, match="not_found"):
        await plane.migrate(f"{name}-no-such", 2)


@pytest.mark.parametrize("way", ["copy", "branch"])
async def test_a_namespace_is_copied(
    plane: PlaneTransport, edge: EdgeCaller, name: str, way: str
) -> None:
    is_branch = way == "branch"
    await plane.copy(f"{name}-2", name, is_branch=is_branch)
    await edge("POST", f"/v2/namespaces/{name}-2", {"deletes": ["r-0"]})
    ids = {"ids": ["r-0", "r-1"]}
    for one, missing in ((f"{name}-2", ["r-0"]), (name, [])):
        found = await edge("POST", f"/v2/namespaces/{one}/documents", ids)
        assert found.json["missing"] == missing
    with pytest.raises(RefusedError):
        await plane.copy(f"{name}-3", f"{name}-no-such", is_branch=is_branch)


async def test_caches_are_warmed(plane: PlaneTransport, name: str) -> None:
    assert await plane.warm(name, "store", "snapshot") == {
        "store": True,
        "job_id": "",
        "snapshot": "",
    }
    begun = await plane.warm(name, "rows")
    assert begun["store"] is False

    async def is_completed() -> bool:
        return await plane.warm_job(name, str(begun["job_id"])) == "completed"

    assert await eventually(is_completed)


async def test_blobs_are_warmed_within_a_budget(
    plane: PlaneTransport, edge: EdgeCaller, name: str
) -> None:
    kept = await plane.put_blob(name, PICTURE)
    rows = [
        {"id": f"b-{at}", "image": reference, "vector": [1.0, 1.0]}
        for at, reference in enumerate((kept["ref"], "blob://elsewhere/0"))
    ]
    assert (await edge("POST", f"/v2/namespaces/{name}", {"upsert_rows": rows})).status == 200
    found = await plane.warm(name, blob_budget_bytes=MIB)
    assert found["blobs"] == {
        "documents_scanned": 5,
        "refs_seen": 2,
        "objects": 1,
        "bytes": len(PICTURE),
        "missing": 0,
        "invalid_refs": 1,
        "budget_exhausted": False,
        "budget_bytes": MIB,
    }
    with pytest.raises(RefusedError, match="validation_error"):
        await plane.warm(name, blob_budget_bytes=0)


async def test_a_namespace_that_is_not_there_is_not_warmed(plane: PlaneTransport) -> None:
    with pytest.raises(RefusedError, match="not_found"):
        await plane.warm("nowhere", "store")
