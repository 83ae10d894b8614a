"""Settings of the local PostgreSQL, from ``LAYER_POSTGRES_*``."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from layer_kit.settings import ServiceSettings


class PostgresSettings(ServiceSettings):
    """The PostgreSQL of `layer up`: a server for one machine, on a unix socket."""

    service: ClassVar[str] = "postgres"

    data_directory: Path = Field(
        Path(".layer/postgres"), description="Directory of the data; one process each."
    )
    socket_directory: Path = Field(
        Path(".layer/run"), description="Directory of the unix socket, kept from other users."
    )
    database: str = Field("layer", description="Database that is created when it is not there.")
