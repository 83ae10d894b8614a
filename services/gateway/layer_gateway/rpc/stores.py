"""Vector stores and what they can do, as messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from layer.gateway.v1 import gateway_pb2
from layer_gateway.application.stores import DescribedCapabilities, DescribedStore
from layer_gateway.domain.capabilities import Feature, HybridRoute, Support
from layer_gateway.domain.vectorstores import InboundMode
from layer_gateway.rpc.reading import page_size
from layer_kit.errors import InvalidRequestError
from layer_wire.moments import epoch_ms

LISTED_DEFAULT: Final = 100
LISTED_MAX: Final = 1000

_MODES: Final[Mapping[InboundMode, gateway_pb2.InboundMode.ValueType]] = {
    InboundMode.DERIVE_FROM_STORE: gateway_pb2.INBOUND_MODE_DERIVE_FROM_STORE,
    InboundMode.KEYS: gateway_pb2.INBOUND_MODE_KEYS,
    InboundMode.OPEN: gateway_pb2.INBOUND_MODE_OPEN,
}
_SUPPORT: Final[Mapping[Support, gateway_pb2.Support.ValueType]] = {
    Support.SUPPORTED: gateway_pb2.SUPPORT_FULL,
    Support.APPROXIMATE: gateway_pb2.SUPPORT_APPROXIMATE,
    Support.UNSUPPORTED: gateway_pb2.SUPPORT_NONE,
}
_ROUTES: Final[Mapping[str, gateway_pb2.SearchRoute.ValueType]] = {
    "hybrid_text": gateway_pb2.SEARCH_ROUTE_HYBRID_TEXT,
    "semantic": gateway_pb2.SEARCH_ROUTE_SEMANTIC,
    "fused": gateway_pb2.SEARCH_ROUTE_FUSED,
}


def stores_response(
    request: gateway_pb2.ListVectorStoresRequest, stores: Sequence[DescribedStore]
) -> gateway_pb2.ListVectorStoresResponse:
    """Return a page of the stores; it continues behind the one that the token names.

    Raises:
        InvalidRequestError: ``PAGE_SIZE_NEGATIVE``, ``PAGE_TOKEN_INVALID``.
    """
    size = page_size(request.page_size, default=LISTED_DEFAULT, most=LISTED_MAX)
    names = [found.store.name for found in stores]
    start = 0
    if request.page_token:
        if request.page_token not in names:
            raise InvalidRequestError(
                "PAGE_TOKEN_INVALID", "page_token is not one of an answer.", field="page_token"
            )
        start = names.index(request.page_token) + 1
    end = start + size
    return gateway_pb2.ListVectorStoresResponse(
        vector_stores=map(store_message, stores[start:end]),
        next_page_token=names[end - 1] if end < len(names) else "",
    )


def store_message(found: DescribedStore) -> gateway_pb2.VectorStore:
    store = found.store
    message = gateway_pb2.VectorStore(
        name=store.name,
        kind=store.kind,
        is_default=store.is_default,
        url=store.url,
        region=store.region,
        organization_id=store.org_id,
        secret_name=store.credential.name,
        secret_key=store.credential.key,
        inbound_mode=_MODES[store.inbound.mode],
        is_reachable=found.is_reachable,
        organization_url=store.organization_url,
    )
    if (since_ms := epoch_ms(found.since)) is not None:
        message.reachable_change_time.FromMilliseconds(since_ms)
    return message


def capabilities_response(found: DescribedCapabilities) -> gateway_pb2.GetCapabilitiesResponse:
    limits = found.capabilities.schema_limits
    return gateway_pb2.GetCapabilitiesResponse(
        vector_store=found.store.name,
        kind=found.store.kind,
        features=map(_feature, found.capabilities.features),
        routes=map(_route, found.capabilities.hybrid_routes),
        embedding_support=_SUPPORT[limits.embed.support],
        embedding_note=limits.embed.note,
        embedded_attribute_count_max=limits.max_gateway_embed_attributes,
        text_attribute_count_max=limits.max_full_text_search_fields,
        vector_attribute_count_max=limits.max_vector_fields,
    )


def _feature(found: Feature) -> gateway_pb2.Feature:
    return gateway_pb2.Feature(
        id=found.id,
        label=found.label,
        page=found.page,
        support=_SUPPORT[found.support],
        note=found.note,
    )


def _route(found: HybridRoute) -> gateway_pb2.RouteSupport:
    return gateway_pb2.RouteSupport(
        route=_ROUTES[found.route],
        feature_id=found.feature,
        support=_SUPPORT[found.support],
        note=found.note,
    )
