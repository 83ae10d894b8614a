"""One running system per file of tests."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import httpx2
import pytest
import turbopuffer
from hevlayer import AsyncHevlayer

from layer_testing.round_robin import asynchronously_in_turn, in_turn
from layer_testing.system import LocalSystem, local_system


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a module with ``GATEWAY_COUNTS`` in as many systems."""
    counts = getattr(metafunc.module, "GATEWAY_COUNTS", None)
    if counts and "system" in metafunc.fixturenames:
        ids = [f"{count}-gateways" for count in counts]
        metafunc.parametrize("system", counts, indirect=True, scope="module", ids=ids)


@pytest.fixture(scope="module")
def system(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalSystem]:
    replicas = f"gateway={getattr(request, 'param', 1)}"
    with local_system(tmp_path_factory.mktemp("s"), "--replicas", replicas) as running:
        yield running


@pytest.fixture
def client(system: LocalSystem) -> Iterator[turbopuffer.Turbopuffer]:
    """The official client, whose requests go to each gateway in turn."""
    with httpx2.Client(event_hooks={"request": [in_turn(system.urls)]}) as http:
        yield turbopuffer.Turbopuffer(api_key="any", base_url=system.url, http_client=http)


@pytest.fixture
async def layer(system: LocalSystem) -> AsyncIterator[AsyncHevlayer]:
    """The official client of what layer adds, whose requests go to each gateway in turn."""
    hooks = {"request": [asynchronously_in_turn(system.urls)]}
    async with (
        httpx.AsyncClient(base_url=system.url, event_hooks=hooks, timeout=30) as http,
        AsyncHevlayer(api_key="any", base_url=system.url, http_client=http) as client,
    ):
        yield client


@pytest.fixture
def name() -> str:
    """A namespace that no other test uses."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"
