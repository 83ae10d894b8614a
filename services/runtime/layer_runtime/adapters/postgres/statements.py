"""Statements by name, from files: `-- name: claim` begins the one called ``claim``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from typing import Final

_NAME: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def load_statements(file: str) -> Mapping[str, str]:
    """Return the statements of ``sql/<file>``."""
    text = (resources.files(__package__) / "sql" / file).read_text(encoding="utf-8")
    parts = _NAME.split(text)
    return dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))
