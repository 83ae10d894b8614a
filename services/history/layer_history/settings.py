"""Settings of the history service, from ``LAYER_HISTORY_*`` and the contract's ``S3_*``."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field, SecretStr

from layer_history.domain.limits import RETENTION_S_MAX
from layer_history.domain.policy import Redaction
from layer_kit.settings import ServiceSettings
from layer_objects import ObjectStoreSettings


class HistorySettings(ObjectStoreSettings, ServiceSettings):
    """Search history: what was searched and which results were opened.

    Without a bucket or a folder, objects are in the data directory.
    """

    service: ClassVar[str] = "history"

    grpc_address: str = Field(
        "127.0.0.1:7103", description="Where gRPC listens: host:port or unix:/path."
    )
    data_directory: Path = Field(
        Path(".layer/history"),
        description="Directory of the local log; one process each. Losing it loses what the "
        "object store has not got yet.",
    )
    cache_address: str = Field(
        "",
        description="gRPC address of the cache service, or with commas those of its replicas, the "
        "same ones for every replica of the history, which see each other's latest events through "
        "it. Empty: they see those that are in the object store.",
    )
    disk_bytes_max: int = Field(
        1024**3,
        ge=16 * 1024**2,
        description="Bytes that may wait in the data directory while the object store is away; "
        "then events are refused.",
    )
    damaged_retention_s: int = Field(
        7 * 86_400,
        ge=0,
        le=RETENTION_S_MAX,
        description="Seconds that damaged files are kept in the data directory for whoever wants "
        "to look at them.",
    )
    flush_interval_s: float = Field(
        5.0,
        gt=0,
        le=600,
        description="Seconds between two writes to the object store. Longer makes fewer objects.",
    )
    cache_bytes: int = Field(
        128 * 1024**2, ge=0, description="Memory for events that were read from objects."
    )
    query_retention_s: int = Field(
        0,
        ge=0,
        le=RETENTION_S_MAX,
        description="Seconds that searches are kept where no policy says otherwise; 0 = for ever.",
    )
    click_retention_s: int = Field(
        0,
        ge=0,
        le=RETENTION_S_MAX,
        description="Seconds that clicks are kept where no policy says otherwise; 0 = for ever.",
    )
    raw_query_redaction: Redaction = Field(
        Redaction.KEEP,
        description="What is kept of the text that users type where no policy says otherwise: "
        "keep, hash or drop.",
    )
    filter_redaction: Redaction = Field(
        Redaction.KEEP,
        description="What is kept of the values in filters where no policy says otherwise: "
        "keep, hash or drop.",
    )
    hash_key: SecretStr = Field(
        SecretStr(""),
        description="Key of the hashes of redaction; the same for all replicas.",
    )
    maintenance_interval_s: float = Field(
        600.0,
        gt=0,
        le=86_400,
        description="Seconds between two rounds of retention and of merging small objects.",
    )

    @property
    def cache_addresses(self) -> list[str]:
        """Return the addresses of the replicas of the cache, each once."""
        listed = (address.strip() for address in self.cache_address.split(","))
        return list(dict.fromkeys(address for address in listed if address))
