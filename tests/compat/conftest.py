"""The documentation's examples run twice: straight at the store, and through the gateway.

Each example of a page is written down as a test that checks what the page says it shows. The same
test with both base URLs proves that both answer the same ids in the same order.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import turbopuffer
from turbopuffer import Turbopuffer

from layer_testing.system import LocalSystem, local_system

WAYS = ("direct", "through_the_gateway")


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    with local_system(tmp_path_factory.mktemp("s")) as running:
        yield running


@pytest.fixture(params=WAYS)
def base_url(request: pytest.FixtureRequest, system: LocalSystem) -> str:
    return system.store_url if request.param == "direct" else system.url


@pytest.fixture
def tpuf(base_url: str) -> Iterator[Turbopuffer]:
    """The official client, told nothing but where the server is."""
    with Turbopuffer(api_key="tpuf_any", base_url=base_url) as client:
        yield client


@pytest.fixture
def name() -> str:
    """A namespace that no other test uses."""
    return f"example-{secrets.token_hex(6)}"


@pytest.fixture
def ns(tpuf: Turbopuffer, name: str) -> Any:
    """The client's namespace; typed loosely, since rows may have any attributes."""
    return tpuf.namespace(name)


@pytest.fixture
def ids() -> Callable[[Any], list[Any]]:
    return ids_of


def ids_of(found: turbopuffer.types.NamespaceQueryResponse) -> list[Any]:
    return [row.id for row in found.rows or []]
