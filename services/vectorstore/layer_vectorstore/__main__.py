"""Run the embedded store: ``python -m layer_vectorstore``."""

from __future__ import annotations

from layer_kit.process import run_service
from layer_vectorstore.bootstrap import serving
from layer_vectorstore.settings import VectorstoreSettings

if __name__ == "__main__":
    run_service(VectorstoreSettings, serving)
