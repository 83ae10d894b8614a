"""Namespaces and their rows: each case once over HTTP and once over gRPC, with one expectation."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc.aio
import pytest
import pytest_asyncio

from layer_testing.edge_calls import eventually
from layer_testing.namespace_transports import (
    NamespacesOverHttp,
    NamespacesOverRpc,
    NamespaceTransport,
    RefusedError,
)
from layer_testing.processes import ServiceProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

NUMBERS = {"a": 1, "b": 2, "c": 3}
RESERVED = {"_hevlayer_upserted_at", "_hevlayer_shard"}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["http", "grpc"])
async def namespaces(
    request: pytest.FixtureRequest, gateway: ServiceProcess
) -> AsyncIterator[NamespaceTransport]:
    if request.param == "http":
        yield NamespacesOverHttp(gateway.addresses["http"])
    else:
        async with grpc.aio.insecure_channel(gateway.addresses["grpc"]) as channel:
            yield NamespacesOverRpc(channel)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Return a namespace that no other case uses."""
    return str(request.node.name).translate(str.maketrans("[]", "--"))[-100:]


async def refused(namespaces: NamespaceTransport, name: str, **wanted: int) -> str:
    with pytest.raises(RefusedError) as error:
        await namespaces.init(name, **wanted)
    return error.value.kind


async def test_rows_are_written_and_looked_up(namespaces: NamespaceTransport, name: str) -> None:
    assert await namespaces.write(name, NUMBERS) == 3
    assert await namespaces.lookup(name, ["c", "x", "a"]) == {"c": 3, "a": 1}
    assert await namespaces.write(name, {"a": 9}) == 1
    assert await namespaces.lookup(name, ["a"]) == {"a": 9}


async def test_a_namespace_is_described(namespaces: NamespaceTransport, name: str) -> None:
    await namespaces.write(name, NUMBERS)
    found = await namespaces.describe(name)
    assert (found.name, found.row_count) == (name, 3)
    assert found.fields == {"id", "n", *RESERVED}
    shown = {"init_state": "ready", "shard_state": "unsharded", "scatter_gather_active": False}
    assert shown.items() <= found.layer.items()
    assert "shard_count" not in found.layer


async def test_it_becomes_stable_and_tells_since_when(
    namespaces: NamespaceTransport, name: str
) -> None:
    await namespaces.write(name, NUMBERS)

    async def watermark() -> object:
        layer = (await namespaces.describe(name)).layer
        return layer["is_stable"] and layer.get("stable_as_of")

    assert isinstance(await eventually(watermark), int)


async def test_it_is_spread_over_shards(namespaces: NamespaceTransport, name: str) -> None:
    await namespaces.write(name, NUMBERS)
    layer = await namespaces.init(name, shard_count=3, schema_version=2)
    expected = {
        "init_state": "ready",
        "init_lag_rows": 0,
        "shard_state": "ready",
        "shard_lag_rows": 0,
        "shard_count": 3,
        "schema_version": 2,
        "scatter_gather_active": True,
    }
    assert expected.items() <= layer.items()
    assert expected.items() <= (await namespaces.describe(name)).layer.items()
    assert await namespaces.lookup(name, list(NUMBERS)) == NUMBERS
    assert await refused(namespaces, name, shard_count=4) == "conflict"


async def test_counts_out_of_range_are_refused(namespaces: NamespaceTransport, name: str) -> None:
    await namespaces.write(name, NUMBERS)
    assert await refused(namespaces, name, shard_count=1025) == "validation_error"
    assert await refused(namespaces, name, shard_count=-1) == "validation_error"
    assert await refused(namespaces, name, shard_count=2, schema_version=-1) == "validation_error"


async def test_what_does_not_exist_is_not_found(namespaces: NamespaceTransport, name: str) -> None:
    assert await refused(namespaces, name, shard_count=2) == "not_found"
    with pytest.raises(RefusedError, match="not_found"):
        await namespaces.describe(name)
    with pytest.raises(RefusedError, match="not_found"):
        await namespaces.lookup(name, ["a"])


async def test_names_that_are_none_are_refused(namespaces: NamespaceTransport) -> None:
    with pytest.raises(RefusedError, match="validation_error"):
        await namespaces.write("n" * 129, NUMBERS)


async def test_they_are_listed_until_they_are_deleted(
    namespaces: NamespaceTransport, name: str
) -> None:
    await namespaces.write(f"{name}-1", NUMBERS)
    await namespaces.write(f"{name}-2", {"a": 1})
    found = await namespaces.list(name)
    assert [(one.name, one.row_count) for one in found] == [(f"{name}-1", 3), (f"{name}-2", 1)]
    assert found[0].fields == {"id", "n", *RESERVED}
    for _ in range(2):
        await namespaces.delete(f"{name}-1")
    assert [one.name for one in await namespaces.list(name)] == [f"{name}-2"]
