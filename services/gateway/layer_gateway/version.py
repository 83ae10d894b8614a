"""The version that health answers and telemetry give."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
