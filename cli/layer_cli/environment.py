"""Which ``LAYER_*`` variables exist. An unknown one is a typing error, so it stops the command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from layer_kit.configuration import ConfigurationError, did_you_mean
from layer_kit.supervision import SUPERVISOR_VARIABLE

SERVICES: Final = (
    "cache",
    "dashboard",
    "gateway",
    "history",
    "operator",
    "postgres",
    "runtime",
    "snapshots",
    "vectorstore",
)
CHECKED_ELSEWHERE: Final = (
    # Each service checks its own prefix when it starts.
    *(f"LAYER_{service.upper()}_" for service in SERVICES),
    "LAYER_SECRET_",  # values that secret references of stores name
    "LAYER_TEST_",
    "LAYER_PANTS_",
)
OWN: Final = (
    "LAYER_API_KEY",
    "LAYER_BASE_URL",
    "LAYER_CONFIG_FILE",
    "LAYER_ENV",
    "LAYER_GRPC_PORT",
    "LAYER_HOME",
    "LAYER_HTTP_PORT",
    "LAYER_UPSTREAM",
    SUPERVISOR_VARIABLE,
)
CONTRACT: Final = (
    # Names that the public contract fixes without the name of a service.
    "LAYER_AGENTS_JSON",
    "LAYER_AWS_COST_CACHE_TTL_SECONDS",
    "LAYER_AWS_COST_EXPLORER_ENABLED",
    "LAYER_AWS_COST_REGION",
    "LAYER_AWS_COST_SITE",
    "LAYER_AWS_COST_TAG_KEY",
    "LAYER_AWS_COST_TAG_VALUE",
    "LAYER_DRAIN_MARKER_PATH",
    "LAYER_EMBED_CACHE_TTL_MS",
    "LAYER_EMBED_URL",
    "LAYER_FACET_FIELDS",
    "LAYER_FACET_REFRESH_MS",
    "LAYER_FEDERATED_QUERY_MAX_NAMESPACES",
    "LAYER_FEDERATED_QUERY_NAMESPACE_THREADS",
    "LAYER_GRACE_GATEWAY",
    "LAYER_GRACE_OPERATOR",
    "LAYER_GRACE_UI",
    "LAYER_INDEX_CONFIG_ENABLED",
    "LAYER_INDEX_GC_ENABLED",
    "LAYER_INDEX_NAMESPACE",
    "LAYER_INIT_BACKFILL_BATCH_SIZE",
    "LAYER_INIT_BACKFILL_RPS",
    "LAYER_KEYS_AUTH_RATE_LIMIT_PER_MIN",
    "LAYER_KEYS_NAMESPACE",
    "LAYER_KEY_PEPPER",
    "LAYER_KEY_PEPPER_FILE",
    "LAYER_LATTICE_MODEL_PATH",
    "LAYER_LICENSE",
    "LAYER_LOCAL_CLIP_MODEL_PATH",
    "LAYER_QUEUE_CONTROL_POOL_MAX_CONNECTIONS",
    "LAYER_QUEUE_DATA_POOL_MAX_CONNECTIONS",
    "LAYER_QUEUE_IDLE_IN_TRANSACTION_TIMEOUT_MS",
    "LAYER_SHARD_COUNT",
    "LAYER_SNAPSHOT_MIN_INTERVAL_MS",
    "LAYER_STORES_JSON",
    "LAYER_STORE_FILE",
    "LAYER_STORE_JSON",
    "LAYER_TELEMETRY",
    "LAYER_TELEMETRY_ENDPOINT",
    "LAYER_TELEMETRY_STATE_PATH",
    "LAYER_TURBOPUFFER_DASHBOARD_URL",
)
KNOWN: Final = (*OWN, *CONTRACT)


def refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    """Check the names of all variables that start with ``LAYER_``.

    Raises:
        ConfigurationError: One is known to nobody, with the name it may be meant for.
    """
    for name in sorted(environment):
        if not name.startswith("LAYER_") or name.startswith(CHECKED_ELSEWHERE) or name in KNOWN:
            continue
        raise ConfigurationError(
            f"{name} is not a setting of layer{did_you_mean(name, (*KNOWN, *CHECKED_ELSEWHERE))}"
        )
