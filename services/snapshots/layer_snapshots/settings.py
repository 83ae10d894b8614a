"""Settings of the snapshots service, from ``LAYER_SNAPSHOTS_*``."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from layer_kit.settings import ServiceSettings


class SnapshotsSettings(ServiceSettings):
    """Facet histograms of namespaces over time."""

    service: ClassVar[str] = "snapshots"

    grpc_address: str = Field("127.0.0.1:7102", description="Where the gRPC server listens.")
