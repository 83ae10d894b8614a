"""The snapshots as processes over a real S3 API and a gateway with rows of the test's choice."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from layer_snapshots_testing.client import SnapshotsClient, bucket_of, running_snapshots
from layer_snapshots_testing.gateway import RowsGateway, rows_gateway
from layer_testing.s3 import S3Server, s3_server

LEASE_MS = "1500"
"""Short, so that what a killed process has left is soon taken over."""


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture(scope="module")
def bucket(s3: S3Server) -> str:
    return s3.new_bucket()


@pytest.fixture(scope="module")
def environment(s3: S3Server, bucket: str) -> dict[str, str]:
    """Return the settings of each process of the module."""
    return {
        **bucket_of(s3, bucket),
        "LAYER_FACET_REFRESH_MS": "300",
        "LAYER_SNAPSHOTS_LEASE_MS": LEASE_MS,
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway_at() -> AsyncIterator[tuple[RowsGateway, str]]:
    async with rows_gateway() as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replicas(
    gateway_at: tuple[RowsGateway, str], environment: dict[str, str]
) -> AsyncIterator[list[SnapshotsClient]]:
    """Run two replicas over one bucket."""
    address = gateway_at[1]
    async with (
        running_snapshots(address, **environment) as (one, _),
        running_snapshots(address, **environment) as (other, _),
    ):
        yield [one, other]


@pytest.fixture
def namespace(replicas: list[SnapshotsClient]) -> str:
    """Return a namespace of the test's own, which the clients ask about."""
    name = f"test-{secrets.token_hex(6)}"
    for client in replicas:
        client.namespace = name
    return name


@pytest.fixture
def gateway(gateway_at: tuple[RowsGateway, str], namespace: str) -> RowsGateway:
    found = gateway_at[0]
    found.namespaces[namespace] = []
    found.requests.clear()
    found.authorizations.clear()
    found.failures.clear()
    found.gate.set()
    found.is_held.clear()
    return found
