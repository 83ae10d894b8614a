"""Composition of what a request passes first: the declared stores and the door before them."""

from __future__ import annotations

import os
from collections.abc import Mapping

import structlog

from layer_gateway.adapters.draining import Draining
from layer_gateway.adapters.manifests import read_file, read_manifests
from layer_gateway.adapters.secrets import EnvironmentSecrets
from layer_gateway.application.admission import Admission
from layer_gateway.application.inbound import InboundAuth
from layer_gateway.application.limits import Limits, LimitSettings
from layer_gateway.domain.capabilities import Service
from layer_gateway.domain.vectorstores import (
    InboundMode,
    InboundPolicy,
    VectorStore,
    VectorStores,
)
from layer_gateway.ports.access import KeyRing
from layer_gateway.settings import GatewaySettings
from layer_kit.clock import monotonic
from layer_kit.health import Health

log = structlog.get_logger(__name__)


def declared_stores(
    settings: GatewaySettings, environment: Mapping[str, str] = os.environ
) -> VectorStores:
    """Return the stores that the first of the settings for them declares.

    Args:
        environment: Where the secrets are that manifests refer to.

    Raises:
        ConfigurationError: When a manifest cannot be used.
    """
    source, text = "", ""
    if settings.store_file:
        source = "LAYER_STORE_FILE"
        text = read_file(settings.store_file, source=source)
    elif settings.store_json:
        source, text = "LAYER_STORE_JSON", settings.store_json
    elif settings.stores_json:
        source, text = "LAYER_STORES_JSON", settings.stores_json
        log.warning("setting_deprecated", setting=source, instead="LAYER_STORE_JSON")
    if source:
        return read_manifests(text, source=source, secrets=EnvironmentSecrets(environment))
    region = settings.upstream_region
    default = VectorStore(
        name="default",
        kind="turbopuffer",
        url=settings.upstream_url or f"https://{region}.turbopuffer.com",
        region=region,
        is_default=True,
        token=settings.upstream_api_key.get_secret_value().encode(),
        inbound=InboundPolicy(mode=InboundMode(settings.inbound_auth)),
    )
    return VectorStores([default])


def configured_services(settings: GatewaySettings) -> set[Service]:
    """Return which services the gateway was told of."""
    addresses: dict[Service, str] = {
        "snapshots": settings.snapshots_address,
        "history": settings.history_address,
        "runtime": settings.runtime_address,
    }
    return {service for service, address in addresses.items() if address}


def draining(settings: GatewaySettings, health: Health) -> Draining:
    return Draining(health, settings.drain_marker, monotonic)


def admission(
    settings: GatewaySettings,
    store: VectorStore,
    is_draining: Draining,
    *,
    minted: KeyRing | None = None,
) -> Admission:
    """Build the door by the policy of ``store``.

    Args:
        minted: Knows keys that are not in the manifest.
    """
    limits = LimitSettings(
        key_requests_per_second=settings.key_requests_per_second,
        key_burst_count=settings.key_burst_count,
        key_inflight_max=settings.key_inflight_max,
        inflight_max=settings.inflight_max,
        keys_count_max=settings.limited_keys_count_max,
    )
    return Admission(InboundAuth(store, minted=minted), Limits(limits, monotonic), is_draining)
