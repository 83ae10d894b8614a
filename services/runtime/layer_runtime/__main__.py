"""Run the runtime service: ``python -m layer_runtime``."""

from __future__ import annotations

from layer_kit.process import run_service
from layer_runtime.bootstrap import serving
from layer_runtime.settings import RuntimeSettings

if __name__ == "__main__":
    run_service(RuntimeSettings, serving)
