from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from layer_cli_testing.system import System


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    system = System(tmp_path)
    yield system
    system.close()
