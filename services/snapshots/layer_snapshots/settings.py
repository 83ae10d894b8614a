"""Settings of the snapshots service, from ``LAYER_SNAPSHOTS_*`` and names of the contract."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, SecretStr

from layer_kit.settings import ServiceSettings, contract_name
from layer_objects import ObjectStoreSettings


class SnapshotsSettings(ObjectStoreSettings, ServiceSettings):
    """Facet histograms of namespaces over time.

    Without a bucket or a folder, objects are in a folder of the working directory.
    """

    service: ClassVar[str] = "snapshots"

    grpc_address: str = Field(
        "127.0.0.1:7102", description="Where gRPC listens: host:port or unix:/path."
    )
    gateway_address: str = Field(
        "",
        description="gRPC address of the gateway that rows are read through. Empty: what there is "
        "is served, and nothing is counted.",
    )
    gateway_api_key: SecretStr = Field(
        SecretStr(""),
        description="Key that rows are read with. Empty: that of whoever caused it, so that a job "
        "does not outlive its process.",
    )
    cache_address: str = Field(
        "",
        description="gRPC address of the cache, or with commas those of its replicas, for a near "
        "copy of each latest snapshot. Empty: none.",
    )
    facet_fields: str = Field(
        "",
        validation_alias=contract_name("LAYER_FACET_FIELDS", field="facet_fields"),
        description='Fields to count where no policy says it, as JSON: {"books": ["genre"]}.',
    )
    facet_refresh_ms: int = Field(
        30_000,
        ge=100,
        le=3_600_000,
        validation_alias=contract_name("LAYER_FACET_REFRESH_MS", field="facet_refresh_ms"),
        description="Time between two looks at the policies that other replicas were told.",
    )
    snapshot_min_interval_ms: int = Field(
        300_000,
        ge=1000,
        le=30 * 24 * 3_600_000,
        validation_alias=contract_name(
            "LAYER_SNAPSHOT_MIN_INTERVAL_MS", field="snapshot_min_interval_ms"
        ),
        description="Least time between two snapshots of a namespace that has no policy.",
    )
    lease_ms: int = Field(
        30_000,
        ge=1000,
        le=600_000,
        description="How long a snapshot or a job that has lost its process waits for another.",
    )
    retention_interval_s: float = Field(
        3600.0, gt=0, le=86_400, description="Seconds between two rounds of retention."
    )
    cache_bytes: int = Field(
        256 * 1024**2, ge=0, description="Memory for snapshots that were read."
    )
