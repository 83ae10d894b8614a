"""Settings of the runtime service, from ``LAYER_RUNTIME_*`` and names that the contract fixes."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, SecretStr

from layer_kit.settings import ServiceSettings, contract_name
from layer_objects import ObjectStoreSettings


class RuntimeSettings(ObjectStoreSettings, ServiceSettings):
    """Pipelines and functions, their queues and leases.

    Without a database no call is offered.
    """

    service: ClassVar[str] = "runtime"

    grpc_address: str = Field(
        "127.0.0.1:7104", description="Where gRPC listens: host:port or unix:/path."
    )
    database_url: SecretStr = Field(
        SecretStr(""),
        validation_alias=contract_name("DATABASE_URL", field="database_url"),
        description="URL of a PostgreSQL 15 or newer, `postgresql://user:password@host/database`. "
        "Empty: pipelines and functions are not offered.",
    )
    data_connections_max: int = Field(
        8,
        ge=1,
        le=200,
        validation_alias=contract_name(
            "LAYER_QUEUE_DATA_POOL_MAX_CONNECTIONS", field="data_connections_max"
        ),
        description="Connections to the database for the work of queues.",
    )
    control_connections_max: int = Field(
        2,
        ge=1,
        le=50,
        validation_alias=contract_name(
            "LAYER_QUEUE_CONTROL_POOL_MAX_CONNECTIONS", field="control_connections_max"
        ),
        description="Connections for health, status and upkeep, which never wait for those.",
    )
    idle_in_transaction_ms: int = Field(
        5000,
        ge=100,
        le=600_000,
        validation_alias=contract_name(
            "LAYER_QUEUE_IDLE_IN_TRANSACTION_TIMEOUT_MS", field="idle_in_transaction_ms"
        ),
        description="The database ends a transaction that is left alone this long.",
    )
    statement_timeout_s: float = Field(
        15.0, gt=0, le=600, description="Seconds that a statement may take."
    )
    gateway_address: str = Field(
        "127.0.0.1:7100",
        description="gRPC address of the gateway, through which rows are read and written.",
    )
    gateway_api_key: SecretStr = Field(
        SecretStr("layer-runtime"),
        validation_alias=contract_name("TURBOPUFFER_API_KEY", field="gateway_api_key"),
        description="Key for the gateway, of the scope admin.",
    )
    worker_service_url: str = Field(
        "http://{function_id}:{port}",
        description="Where the workers of a function are that names a port and no URL.",
    )
    sweep_look_interval_s: float = Field(
        1.0, gt=0, le=86_400, description="Seconds between two looks for sweeps that are due."
    )
    cache_address: str = Field(
        "",
        description="gRPC address of the cache service, or with commas those of its replicas, the "
        "same ones for every replica of the runtime. Empty: chunks are read from the object store.",
    )
    attempts_max: int = Field(
        8,
        ge=1,
        le=1000,
        validation_alias=contract_name(
            "PIPELINE_CHUNK_DEAD_LETTER_MAX_ATTEMPTS", field="attempts_max"
        ),
        description="Failed attempts, or leases that ran out, after which a document is given up.",
    )
    backoff_ms: int = Field(
        1000,
        ge=0,
        le=300_000,
        validation_alias=contract_name("PIPELINE_CHUNK_DEAD_LETTER_BACKOFF_MS", field="backoff_ms"),
        description="Pause of a document after its first failed attempt; doubled with each.",
    )
    status_ttl_ms: int = Field(
        15_000,
        ge=0,
        le=600_000,
        validation_alias=contract_name("PIPELINE_STATUS_CACHE_TTL_MS", field="status_ttl_ms"),
        description="How old the status of a pipeline may be.",
    )

    @property
    def cache_addresses(self) -> list[str]:
        """Return the addresses of the replicas of the cache, each once."""
        listed = (address.strip() for address in self.cache_address.split(","))
        return list(dict.fromkeys(address for address in listed if address))
