"""Settings of the embedded store."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field, SecretStr

from layer_kit.settings import ServiceSettings
from layer_vectorstore.domain.limits import DELETE_BY_FILTER_ROWS_MAX, PATCH_BY_FILTER_ROWS_MAX


class VectorstoreSettings(ServiceSettings):
    """The embedded, Turbopuffer-compatible store."""

    service: ClassVar[str] = "vectorstore"

    http_address: str = Field("127.0.0.1:7105", description="Where the contract's HTTP listens.")
    data_directory: Path = Field(
        Path(".layer/vectorstore"), description="Holds all rows; one process at a time may use it."
    )
    api_keys: SecretStr = Field(
        SecretStr(""), description="Comma-separated keys to accept; empty accepts any."
    )
    body_bytes_max: int = Field(
        512 << 20, ge=1024, description="Largest request body, once inflated; above it 413."
    )
    namespace_bytes_max: int = Field(
        4 << 30, ge=1024, description="Memory of one namespace with its indexes, as estimated."
    )
    memory_bytes_max: int = Field(
        8 << 30,
        ge=1024,
        description="Memory of all loaded namespaces, as estimated; above it idle ones are let go.",
    )
    delete_by_filter_rows_max: int = Field(
        DELETE_BY_FILTER_ROWS_MAX, ge=1, description="Rows that one delete_by_filter may delete."
    )
    patch_by_filter_rows_max: int = Field(
        PATCH_BY_FILTER_ROWS_MAX, ge=1, description="Rows that one patch_by_filter may patch."
    )
    index_rows_min: int = Field(
        200_000, ge=1, description="Rows from which on ANN uses an approximate index."
    )
    query_threads: int = Field(4, ge=1, le=64, description="Queries that run at the same time.")
    write_threads: int = Field(
        16, ge=1, le=256, description="Writes that run or wait for the disk at the same time."
    )
    index_lag_ms: int = Field(
        0, ge=0, le=86_400_000, description="Time until eventual reads see a write, for tests."
    )
    unindexed_bytes_max: int = Field(
        2 << 30, ge=0, description="With an index lag: waiting bytes above which writes get 429."
    )
    faults_enabled: bool = Field(
        default=False, description="Serve /_layer/faults, which changes faults at run time."
    )
    fault_latency_ms: float = Field(0, ge=0, le=600_000, description="Added to every request.")
    fault_error_rate: float = Field(0, ge=0, le=1, description="Share of requests answered 503.")
    fault_drop_rate: float = Field(
        0, ge=0, le=1, description="Share of requests whose connection is closed unanswered."
    )
    fault_drop_answer_rate: float = Field(
        0, ge=0, le=1, description="Share of requests carried out whose answer is dropped."
    )
