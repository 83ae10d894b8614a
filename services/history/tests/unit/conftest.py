"""The parts of the service over folders of a test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from layer_history_testing.parts import Parts, running_parts


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    async with running_parts(tmp_path / "data", tmp_path / "store") as parts:
        yield parts
