"""Running systems, which files of tests share."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import httpx2
import pytest
import turbopuffer
from hevlayer import AsyncHevlayer

from layer_testing.round_robin import asynchronously_in_turn, in_turn
from layer_testing.system import LocalSystem, shared_systems


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a module with ``GATEWAY_COUNTS`` over as many systems."""
    counts = getattr(metafunc.module, "GATEWAY_COUNTS", None)
    if counts and "system" in metafunc.fixturenames:
        ids = [f"{count}-gateways" for count in counts]
        metafunc.parametrize("system", counts, indirect=True, scope="module", ids=ids)


@pytest.fixture(scope="session")
def systems(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[int], LocalSystem]]:
    with shared_systems(lambda: tmp_path_factory.mktemp("s")) as system_of:
        yield system_of


@pytest.fixture(scope="module")
def system(request: pytest.FixtureRequest, systems: Callable[[int], LocalSystem]) -> LocalSystem:
    return systems(getattr(request, "param", 1))


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
