"""Settings of the runtime service, from ``LAYER_RUNTIME_*``."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from layer_kit.settings import ServiceSettings


class RuntimeSettings(ServiceSettings):
    """Pipelines and functions, their queues and leases."""

    service: ClassVar[str] = "runtime"

    grpc_address: str = Field("127.0.0.1:7104", description="Where the gRPC server listens.")
