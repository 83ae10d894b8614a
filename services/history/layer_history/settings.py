"""Settings of the history service, from ``LAYER_HISTORY_*``."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from layer_kit.settings import ServiceSettings


class HistorySettings(ServiceSettings):
    """Search history: what was searched and which results were opened."""

    service: ClassVar[str] = "history"

    grpc_address: str = Field("127.0.0.1:7103", description="Where the gRPC server listens.")
