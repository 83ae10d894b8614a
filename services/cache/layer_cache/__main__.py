"""Run the document cache: ``python -m layer_cache``."""

from __future__ import annotations

from layer_cache.bootstrap import serving
from layer_cache.settings import CacheSettings
from layer_kit.process import run_service

if __name__ == "__main__":
    run_service(CacheSettings, serving)
