"""Vector stores as declared, and what they can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus

from aiohttp import web

from layer_gateway.application.stores import DescribedCapabilities, DescribedStore, DescribeStores
from layer_gateway.http.answers import json_answer
from layer_gateway.http.requests import Handler
from layer_gateway.http.routes import Operation, Route
from layer_kit.errors import NotFoundError
from layer_kit.names import parse_namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorStoreHandlers:
    """Read routes; stores are declared by whoever operates the gateway."""

    describe_stores: DescribeStores

    def table(self) -> Mapping[Operation, Handler]:
        return {
            Operation.LIST_VECTORSTORES: self.list,
            Operation.DESCRIBE_VECTORSTORE: self.describe,
            Operation.VECTORSTORE_CAPABILITIES: self.capabilities,
            Operation.NAMESPACE_CAPABILITIES: self.capabilities_of_namespace,
        }

    async def list(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        return json_answer({"vectorstores": [_shown(one) for one in self.describe_stores.all()]})

    async def describe(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        try:
            return json_answer(_shown(self.describe_stores.named(route.names["name"])))
        except NotFoundError as error:
            return _not_found(error)

    async def capabilities(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        try:
            return json_answer(_report(self.describe_stores.capabilities_of(route.names["name"])))
        except NotFoundError as error:
            return _not_found(error)

    async def capabilities_of_namespace(
        self, request: web.BaseRequest, route: Route
    ) -> web.StreamResponse:
        namespace = parse_namespace(route.namespace)
        return json_answer(_report(self.describe_stores.capabilities_for(namespace)))


def _report(found: DescribedCapabilities) -> dict[str, object]:
    return {
        "store": {"name": found.store.name, "kind": found.store.kind},
        "declared": True,
        "features": found.capabilities.features,
        "hybrid_routes": found.capabilities.hybrid_routes,
        "schema_limits": found.capabilities.schema_limits,
    }


def _shown(found: DescribedStore) -> dict[str, object]:
    store = found.store
    shown: dict[str, object] = {
        "name": store.name,
        "kind": store.kind,
        "default": store.is_default,
        "endpoint": {"url": store.url, "region": store.region},
        "credential": {"secretRef": asdict(store.credential)},
        "inboundAuth": {"mode": store.inbound.mode.value},
        "status": _status(found),
    }
    if store.org_id:
        shown["turbopuffer"] = {"orgId": store.org_id}
        shown["turbopufferUrl"] = store.organization_url
    return shown


def _status(found: DescribedStore) -> dict[str, object]:
    if found.is_reachable is None:
        return {"conditions": []}
    condition = {
        "type": "Reachable",
        "status": "True" if found.is_reachable else "False",
        "reason": "Answered" if found.is_reachable else "NoAnswer",
        "lastTransitionTime": found.since,
    }
    return {"reachable": found.is_reachable, "conditions": [condition]}


def _not_found(error: NotFoundError) -> web.StreamResponse:
    """Answer as this part of the contract does, with the message alone."""
    return json_answer(
        {"error": error.message},
        status=HTTPStatus.NOT_FOUND,
        headers={"x-should-retry": "false"},
    )
