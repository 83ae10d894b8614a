"""Vector stores as declared, and what they can do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus

from aiohttp import web

from layer_gateway.domain.capabilities import Service, capabilities
from layer_gateway.domain.vectorstores import VectorStore, VectorStores
from layer_gateway.http.answers import json_answer
from layer_gateway.http.requests import Handler
from layer_gateway.http.routes import Operation, Route
from layer_gateway.ports.stores import Reachability
from layer_kit.errors import NotFoundError
from layer_kit.names import parse_namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorStoreHandlers:
    """Read routes; stores are declared by whoever operates the gateway."""

    stores: VectorStores
    reachability: Reachability
    """Of the default store, the only one that is asked anything."""
    configured: Collection[Service]

    def table(self) -> Mapping[Operation, Handler]:
        return {
            Operation.LIST_VECTORSTORES: self.list,
            Operation.DESCRIBE_VECTORSTORE: self.describe,
            Operation.VECTORSTORE_CAPABILITIES: self.capabilities,
            Operation.NAMESPACE_CAPABILITIES: self.capabilities_of_namespace,
        }

    async def list(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        return json_answer({"vectorstores": [self._shown(store) for store in self.stores]})

    async def describe(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        try:
            return json_answer(self._shown(self.stores.named(route.names["name"])))
        except NotFoundError as error:
            return _not_found(error)

    async def capabilities(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        try:
            return json_answer(self._report(self.stores.named(route.names["name"])))
        except NotFoundError as error:
            return _not_found(error)

    async def capabilities_of_namespace(
        self, request: web.BaseRequest, route: Route
    ) -> web.StreamResponse:
        parse_namespace(route.namespace)
        return json_answer(self._report(self.stores.default))

    def _report(self, store: VectorStore) -> dict[str, object]:
        found = capabilities(store.kind, self.configured)
        return {
            "store": {"name": store.name, "kind": store.kind},
            "declared": True,
            "features": found.features,
            "hybrid_routes": found.hybrid_routes,
            "schema_limits": found.schema_limits,
        }

    def _shown(self, store: VectorStore) -> dict[str, object]:
        shown: dict[str, object] = {
            "name": store.name,
            "kind": store.kind,
            "default": store.is_default,
            "endpoint": {"url": store.url, "region": store.region},
            "credential": {"secretRef": asdict(store.credential)},
            "inboundAuth": {"mode": store.inbound.mode.value},
            "status": self._status() if store.is_default else {"conditions": []},
        }
        if store.org_id:
            shown["turbopuffer"] = {"orgId": store.org_id}
        return shown

    def _status(self) -> dict[str, object]:
        found = self.reachability
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
