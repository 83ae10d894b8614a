"""One running system per file of tests."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import turbopuffer

from layer_testing.system import LocalSystem, local_system


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    with local_system(tmp_path_factory.mktemp("s")) as running:
        yield running


@pytest.fixture
def client(system: LocalSystem) -> turbopuffer.Turbopuffer:
    """The official client, pointed at the gateway."""
    return turbopuffer.Turbopuffer(api_key="any", base_url=system.url)


@pytest.fixture
def name() -> str:
    """A namespace that no other test uses."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"
