"""Settings of the document cache."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from layer_kit.settings import ServiceSettings, contract_name


class CacheSettings(ServiceSettings):
    """Document cache: near copies of rows, never older than an acknowledged write."""

    service: ClassVar[str] = "cache"

    grpc_address: str = Field(
        "127.0.0.1:7101", description="Where gRPC listens: host:port or unix:/path."
    )
    lookups_address: str = Field(
        "",
        description="Where lookups listen for gateways, without the threads of gRPC. Empty: beside "
        "gRPC, its socket's path with `.lookups` added, or a port that the system chooses; off: "
        "nowhere.",
    )
    backend: Literal["embedded", "sqlite", "aerospike", "memory"] = Field(
        "embedded",
        description="Where entries live: embedded = on disk in RocksDB, or in SQLite where that "
        "does not run, sqlite = on disk, slower, aerospike = in a cluster, memory = in this "
        "process only.",
    )
    data_directory: Path = Field(
        Path(".layer/cache"), description="Directory of the embedded backend; one process each."
    )
    disk_bytes_max: int = Field(
        1024**3,
        ge=16 * 1024**2,
        description="Bytes that entries may take; the oldest go first. Also bounds `memory`, not "
        "`aerospike`.",
    )
    aerospike_hosts: str = Field(
        "localhost:3000",
        validation_alias=contract_name("AEROSPIKE_HOSTS", field="aerospike_hosts"),
        description="Nodes of the cluster to begin with, as host:port,host:port.",
    )
    aerospike_namespace: str = Field(
        "hevlayer",
        min_length=1,
        max_length=31,
        validation_alias=contract_name("AEROSPIKE_NAMESPACE", field="aerospike_namespace"),
        description="Aerospike namespace; it must exist, with an nsup-period above 0.",
    )
    aerospike_set_prefix: str = Field(
        "tpuf_",
        pattern="^[A-Za-z0-9_.-]{1,24}$",
        validation_alias=contract_name("AEROSPIKE_SET_PREFIX", field="aerospike_set_prefix"),
        description="Begins the names of our sets. One cache process at a time per prefix; others "
        "stand by.",
    )
    aerospike_cluster_name: str = Field(
        "",
        validation_alias=contract_name("AEROSPIKE_CLUSTER_NAME", field="aerospike_cluster_name"),
        description="Refuse nodes of a cluster with another name. Empty: any.",
    )
    aerospike_timeout_ms: int = Field(
        200, ge=10, le=10_000, description="Longest wait for one operation on the cluster."
    )
    aerospike_own_sets_max: int = Field(
        880,
        ge=0,
        le=4_000,
        description="Namespaces with a set of their own; others share 64. A server has 4,095, an "
        "old one 1,023.",
    )
    records_bytes_max: int = Field(
        256 * 1024**2,
        ge=16 * 1024**2,
        description="Bytes that records may take beside the rows: snapshots, histories, staged "
        "chunks, blobs; the oldest go first.",
    )
    ttl_s: float = Field(
        7 * 24 * 3600.0,
        gt=0,
        le=365 * 24 * 3600.0,
        description="Seconds an entry lives. Bounds how long a write past layer stays unseen.",
    )
    lease_s: float = Field(
        2.0,
        ge=0.2,
        le=60,
        description="Seconds a gateway's membership lasts unrenewed. A gateway cut off waits as "
        "long before it acknowledges a write.",
    )
    declared_gone_s: float = Field(
        30.0,
        ge=1,
        le=3600,
        description="Seconds of silence after which a gateway is given up and everything cached "
        "is dropped; until then every lookup is a miss.",
    )
    namespace_label_count_max: int = Field(
        5000, ge=0, le=100_000, description="Namespaces told apart in metrics; others are `other`."
    )
