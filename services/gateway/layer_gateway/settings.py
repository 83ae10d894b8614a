"""Settings of the gateway."""

from __future__ import annotations

from pathlib import Path
from tempfile import gettempdir
from typing import ClassVar, Final, Literal

from pydantic import Field, Json, SecretStr

from layer_kit.settings import ServiceSettings, contract_name
from layer_objects import ObjectStoreSettings

DRAIN_MARKER: Final = "layer-gateway-draining"


class GatewaySettings(ObjectStoreSettings, ServiceSettings):
    """The gateway: HTTP edge and gRPC data plane over one upstream store."""

    service: ClassVar[str] = "gateway"

    http_address: str = Field("127.0.0.1:8080", description="Where the HTTP edge listens.")
    grpc_address: str = Field(
        "127.0.0.1:7100", description="Where gRPC listens; port 0 = any free."
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that share both ports, one for each core it may use. Limits on "
        "callers and bytes hold in each.",
    )
    store_file: str = Field(
        "",
        validation_alias=contract_name("LAYER_STORE_FILE", field="store_file"),
        description="File of VectorStore manifests, YAML or JSON. Wins over all that follow here.",
    )
    store_json: str = Field(
        "",
        validation_alias=contract_name("LAYER_STORE_JSON", field="store_json"),
        description="The manifests themselves.",
    )
    stores_json: str = Field(
        "",
        validation_alias=contract_name("LAYER_STORES_JSON", field="stores_json"),
        description="Older name of the same.",
    )
    index_file: str = Field(
        "",
        description="File of Index manifests, YAML or JSON, of which namespaces have their labels. "
        "It is read anew when it changes.",
    )
    upstream_url: str = Field(
        "",
        validation_alias=contract_name("TPUF_URL", field="upstream_url"),
        description="Base URL of the one Turbopuffer-compatible store, where no manifest names "
        "any. Empty: Turbopuffer in upstream_region.",
    )
    upstream_region: str = Field(
        "aws-us-east-1",
        validation_alias=contract_name("TURBOPUFFER_REGION", field="upstream_region"),
        description="Turbopuffer's region of that store.",
    )
    upstream_api_key: SecretStr = Field(
        SecretStr(""),
        validation_alias=contract_name("TURBOPUFFER_API_KEY", field="upstream_api_key"),
        description="Key for the store. Empty: each caller's own bearer is sent on.",
    )
    upstream_timeout_s: float = Field(
        120.0, gt=0, le=590, description="Longest wait for one upstream answer."
    )
    upstream_connections_max: int = Field(
        256, ge=1, le=10_000, description="Connections to the store at once."
    )
    inbound_auth: Literal["deriveFromStore", "open"] = Field(
        "deriveFromStore",
        description="Who may come in, where no manifest says it. deriveFromStore: callers present "
        "the store's key, or any bearer when the gateway has none. open: no key is asked.",
    )
    key_requests_per_second: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        description="Requests that one key may send each second, on average; 0 = no bound.",
    )
    key_burst_count: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Requests that a key may send at once after a pause; 0 = those of a second.",
    )
    key_inflight_max: int = Field(
        0, ge=0, le=1_000_000, description="Requests of one key at the same time; 0 = no bound."
    )
    inflight_max: int = Field(
        10_000,
        ge=0,
        le=1_000_000,
        description="Requests at the same time; more are answered with 503. 0 = no bound.",
    )
    limited_keys_count_max: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Keys whose use is counted apart; of more, the least recent starts afresh.",
    )
    cache_address: str = Field(
        "",
        description="gRPC address of the cache service, or with commas those of its replicas, the "
        "same ones for every gateway. Empty: run without a cache.",
    )
    cache_timeout_s: float = Field(
        0.2, gt=0, le=10, description="Longest wait for the cache before a read goes upstream."
    )
    beside_address: str = Field(
        "",
        description="A further address of the gRPC server, for services on this machine: "
        "unix:/path. Empty: none.",
    )
    runtime_address: str = Field(
        "",
        description="gRPC address of the runtime service. Empty: neither functions nor pipelines.",
    )
    runtime_timeout_s: float = Field(
        30.0, gt=0, le=300, description="Longest wait for an answer of the runtime service."
    )
    history_address: str = Field(
        "", description="gRPC address of the history service. Empty: run without history."
    )
    history_timeout_s: float = Field(
        30.0, gt=0, le=300, description="Longest wait for a page of history."
    )
    history_spool_directory: str = Field(
        "",
        description="Folder where searches and clicks wait while the history service is away; one "
        "gateway each, whose workers have folders of their own in it. Empty: they wait in memory "
        "and go with the process.",
    )
    history_spool_bytes_max: int = Field(
        256 * 1024**2,
        ge=0,
        description="Bytes of each worker that may wait there, or in memory; then new ones are "
        "dropped.",
    )
    snapshots_address: str = Field(
        "", description="gRPC address of the snapshots service. Empty: run without snapshots."
    )
    snapshots_timeout_s: float = Field(
        30.0, gt=0, le=300, description="Longest wait for the snapshots service."
    )
    scan_threads: int = Field(
        8, ge=1, le=32, description="Requests to the store that a scan sends at once by default."
    )
    scan_spool_directory: str = Field(
        "",
        description="Folder where the ids of a scan wait to be sorted, in files without a name. "
        "Empty: the system's for temporary files.",
    )
    scan_spool_bytes_max: int = Field(
        4 * 1024**3, ge=1024 * 1024, description="Bytes that one scan may take there."
    )
    scan_lease_s: float = Field(
        30.0,
        ge=1,
        le=3600,
        description="After how long without a word of its gateway another one takes a scan up; "
        "more than their clocks differ by.",
    )
    scan_results_ttl_s: float = Field(
        86_400.0, ge=60, description="How long a scan and its results are kept."
    )
    reactive_warm: bool = Field(
        default=True,
        description="Whether the first miss of a namespace, since the cache was connected, brings "
        "all of it into the cache in the background.",
    )
    shard_count: int = Field(
        16,
        ge=1,
        le=1024,
        validation_alias=contract_name("LAYER_SHARD_COUNT", field="shard_count"),
        description="Shards of a namespace that has no marker row.",
    )
    namespace_list_cache_ttl_ms: int = Field(
        10_000,
        ge=0,
        le=3_600_000,
        validation_alias=contract_name(
            "NAMESPACE_LIST_CACHE_TTL_MS", field="namespace_list_cache_ttl_ms"
        ),
        description="How long a page of a listing of namespaces is remembered.",
    )
    init_backfill_batch_size: int = Field(
        1000,
        ge=1,
        le=10_000,
        validation_alias=contract_name(
            "LAYER_INIT_BACKFILL_BATCH_SIZE", field="init_backfill_batch_size"
        ),
        description="Rows that get their shard at once while a namespace is initialised.",
    )
    init_backfill_rps: float = Field(
        5.0,
        gt=0,
        le=10_000,
        validation_alias=contract_name("LAYER_INIT_BACKFILL_RPS", field="init_backfill_rps"),
        description="Such batches a second.",
    )
    facts_ttl_s: float = Field(
        30.0, ge=0, le=3600, description="How long a namespace's schema is remembered."
    )
    consistency_poll_interval_ms: int = Field(
        1000,
        ge=10,
        le=3_600_000,
        validation_alias=contract_name(
            "CONSISTENCY_POLL_INTERVAL_MS", field="consistency_poll_interval_ms"
        ),
        description="Time between two looks at an index that is behind.",
    )
    consistency_stable_poll_interval_ms: int = Field(
        60_000,
        ge=10,
        le=86_400_000,
        validation_alias=contract_name(
            "CONSISTENCY_STABLE_POLL_INTERVAL_MS", field="consistency_stable_poll_interval_ms"
        ),
        description="Time between two looks at an index that was up to date.",
    )
    strong_namespaces: str = Field(
        "",
        description="Comma-separated namespaces whose queries are read at strong consistency; * "
        "stands for any text.",
    )
    consistency_safety_margin_ms: int = Field(
        500,
        ge=1,
        le=3_600_000,
        validation_alias=contract_name(
            "CONSISTENCY_SAFETY_MARGIN_MS", field="consistency_safety_margin_ms"
        ),
        description="How far a watermark stays behind the look that it comes from: the clocks of "
        "gateways may differ by this much.",
    )
    federated_namespaces_max: int = Field(
        512,
        ge=1,
        le=10_000,
        validation_alias=contract_name(
            "LAYER_FEDERATED_QUERY_MAX_NAMESPACES", field="federated_namespaces_max"
        ),
        description="Namespaces that one query may ask.",
    )
    federated_namespaces_at_once: int = Field(
        16,
        ge=1,
        le=256,
        validation_alias=contract_name(
            "LAYER_FEDERATED_QUERY_NAMESPACE_THREADS", field="federated_namespaces_at_once"
        ),
        description="Namespaces that such a query asks at a time.",
    )
    embedding_profiles_path: str = Field(
        "",
        description="File that declares how the vectors of each namespace were made, so that "
        "distances of several compare. Empty: none is known.",
    )
    blob_reference_attributes: Json[dict[str, list[str]]] = Field(
        "{}",
        validate_default=True,
        description="Attributes whose values refer to blobs, by namespace, as JSON: "
        '{"products": ["image"]}. Those under * are of all other namespaces.',
    )
    metrics_backend_url: str = Field(
        "",
        validation_alias=contract_name("METRICS_BACKEND_URL", field="metrics_backend_url"),
        description="Base URL of what keeps metrics and speaks Prometheus' HTTP API, for "
        "/v2/metrics/query. Empty: those routes are a 503.",
    )
    bodies_bytes_max: int = Field(
        1024 * 1024 * 1024,
        ge=1024,
        description="Bytes of larger request bodies in hand at once; further requests wait for "
        "some seconds and are then a 503.",
    )
    request_patience_s: float = Field(
        30.0,
        gt=0,
        le=600,
        description="Seconds that a caller may take to send a request's head, and a body beyond "
        "what its size excuses at 32 KiB a second; and in which it takes as much of an answer.",
    )
    query_body_bytes_max: int = Field(
        64 * 1024 * 1024, ge=1024, description="Largest body of a query or a batch fetch, inflated."
    )
    body_bytes_max: int = Field(
        512 * 1024 * 1024, ge=1024, description="Largest request body, inflated."
    )
    drain_marker_path: str = Field(
        "",
        validation_alias=contract_name("LAYER_DRAIN_MARKER_PATH", field="drain_marker_path"),
        description="While this file exists, the gateway takes no requests and is not ready. "
        "Empty: layer-gateway-draining in the temporary directory.",
    )

    @property
    def drain_marker(self) -> Path:
        """Return the file that keeps requests away."""
        return Path(self.drain_marker_path or Path(gettempdir()) / DRAIN_MARKER)

    @property
    def cache_addresses(self) -> list[str]:
        """Return the addresses of the replicas of the cache, each once."""
        listed = (address.strip() for address in self.cache_address.split(","))
        return list(dict.fromkeys(address for address in listed if address))
