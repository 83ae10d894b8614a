"""The `layer` command. It imports the kit alone and starts services by their names."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
