"""Run the history service: ``python -m layer_history``."""

from __future__ import annotations

from layer_history.bootstrap import serving
from layer_history.settings import HistorySettings
from layer_kit.process import run_service

if __name__ == "__main__":
    run_service(HistorySettings, serving)
