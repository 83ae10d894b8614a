"""Run the snapshots service: ``python -m layer_snapshots``."""

from __future__ import annotations

from layer_kit.process import run_service
from layer_snapshots.bootstrap import serving
from layer_snapshots.settings import SnapshotsSettings

if __name__ == "__main__":
    run_service(SnapshotsSettings, serving)
