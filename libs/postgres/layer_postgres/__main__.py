"""Run the local PostgreSQL: ``python -m layer_postgres``."""

from __future__ import annotations

from layer_kit.process import run_service
from layer_postgres.serving import serving
from layer_postgres.settings import PostgresSettings

if __name__ == "__main__":
    run_service(PostgresSettings, serving)
