"""Generated pages say what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from reference import PAGES


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    committed = (Path("docs/reference") / name).read_text(encoding="utf-8")
    assert committed == PAGES[name](), "run `make docs` and commit the result"
