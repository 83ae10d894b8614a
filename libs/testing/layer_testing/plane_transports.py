"""Blobs, stores, shards, copies and warming over either transport, in one form for both."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from http import HTTPStatus
from typing import Any, Final, Protocol

import grpc.aio

from layer.common.v1 import common_pb2
from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer_kit.errors import LayerError
from layer_kit.rpc.errors import from_rpc_error
from layer_testing.edge_calls import EdgeAnswer, EdgeCaller
from layer_testing.gateway_calls import CALL_S_MAX, KEY
from layer_testing.namespace_transports import RefusedError

_MODES: Final = {
    gateway_pb2.INBOUND_MODE_DERIVE_FROM_STORE: "deriveFromStore",
    gateway_pb2.INBOUND_MODE_KEYS: "keys",
    gateway_pb2.INBOUND_MODE_OPEN: "open",
}
_SUPPORT: Final = {
    gateway_pb2.SUPPORT_FULL: "supported",
    gateway_pb2.SUPPORT_APPROXIMATE: "approximate",
    gateway_pb2.SUPPORT_NONE: "unsupported",
}
_ROUTES: Final = {
    gateway_pb2.SEARCH_ROUTE_HYBRID_TEXT: "hybrid_text",
    gateway_pb2.SEARCH_ROUTE_SEMANTIC: "semantic",
    gateway_pb2.SEARCH_ROUTE_FUSED: "fused",
}
_JOB_STATES: Final = {
    common_pb2.JOB_STATE_RUNNING: "running",
    common_pb2.JOB_STATE_COMPLETED: "completed",
    common_pb2.JOB_STATE_FAILED: "failed",
}
_BLOB_COUNTS: Final = {
    "documents_scanned": "scanned_row_count",
    "refs_seen": "reference_count",
    "objects": "copied_count",
    "bytes": "copied_bytes",
    "missing": "missing_count",
    "invalid_refs": "invalid_reference_count",
    "budget_exhausted": "is_budget_exhausted",
    "budget_bytes": "budget_bytes",
}

Shown = Mapping[str, object]


class PlaneTransport(Protocol):
    """One way to the gateway. Every call raises ``RefusedError``."""

    async def put_blob(self, name: str, body: bytes, *, is_warm: bool = False) -> Shown: ...

    async def get_blob(self, name: str, sha256: str) -> tuple[bytes, str]:
        """Return a blob and its type."""
        ...

    async def blob_size(self, name: str, sha256: str) -> tuple[int, str]:
        """Return how large a blob is, and its type, without reading it."""
        ...

    async def stores(self) -> list[Shown]: ...

    async def store(self, name: str) -> Shown: ...

    async def capabilities(self, *, store: str = "", namespace: str = "") -> Shown: ...

    async def migrate(self, name: str, shard_count: int | None = None) -> Shown: ...

    async def copy(self, name: str, source: str, *, is_branch: bool = False) -> int:
        """Return how many rows it says the new namespace has."""
        ...

    async def warm(self, name: str, *wanted: str, blob_budget_bytes: int | None = None) -> Shown:
        """Warm what is ``wanted`` of ``store``, ``rows``, ``snapshot``; tell what was done."""
        ...

    async def warm_job(self, name: str, job_id: str) -> str:
        """Return where a job is."""
        ...


class PlaneOverHttp:
    """The HTTP edge."""

    def __init__(self, address: str) -> None:
        self._edge = EdgeCaller(address, key=KEY)

    async def put_blob(self, name: str, body: bytes, *, is_warm: bool = False) -> Shown:
        query = "?warm=true" if is_warm else ""
        found: Shown = (await self._call("PUT", f"/v1/namespaces/{name}/blobs{query}", body)).json
        return found

    async def get_blob(self, name: str, sha256: str) -> tuple[bytes, str]:
        answer = await self._call("GET", f"/v1/namespaces/{name}/blobs/{sha256}")
        return answer.body, answer["content-type"]

    async def blob_size(self, name: str, sha256: str) -> tuple[int, str]:
        target = f"/v1/namespaces/{name}/blobs/{sha256}"
        answer = await self._edge("HEAD", target)
        if answer.status != HTTPStatus.OK:
            await self._call("GET", target)  # whose refusal has a body
        return int(answer["content-length"]), answer["content-type"]

    async def stores(self) -> list[Shown]:
        found = (await self._call("GET", "/v2/vectorstores")).json["vectorstores"]
        return [_flat_store(store) for store in found]

    async def store(self, name: str) -> Shown:
        return _flat_store((await self._call("GET", f"/v2/vectorstores/{name}")).json)

    async def capabilities(self, *, store: str = "", namespace: str = "") -> Shown:
        subject = f"vectorstores/{store}" if store else f"namespaces/{namespace}"
        found = (await self._call("GET", f"/v2/{subject}/capabilities")).json
        limits = found["schema_limits"]
        return {
            "store": found["store"],
            "features": found["features"],
            "routes": found["hybrid_routes"],
            "embedding": limits["embed"],
            "limits": [
                limits["max_gateway_embed_attributes"],
                limits["max_full_text_search_fields"],
                limits["max_vector_fields"],
            ],
        }

    async def migrate(self, name: str, shard_count: int | None = None) -> Shown:
        body = {} if shard_count is None else {"shard_count": shard_count}
        found = (await self._call("POST", f"/v2/namespaces/{name}/shard/migrate", body)).json
        return {
            "shard_count": found["shard_count"],
            "moved": found["documents_migrated"],
            "is_done": found["completed_at"] is not None,
        }

    async def copy(self, name: str, source: str, *, is_branch: bool = False) -> int:
        key = "branch_from_namespace" if is_branch else "copy_from_namespace"
        found = (await self._call("POST", f"/v2/namespaces/{name}", {key: source})).json
        return int(found["rows_affected"])

    async def warm(self, name: str, *wanted: str, blob_budget_bytes: int | None = None) -> Shown:
        names = {"store": "turbopuffer", "rows": "documents", "snapshot": "snapshots"}
        options = [f"{names[one]}={'true' if one in wanted else 'false'}" for one in names]
        if blob_budget_bytes is not None:
            options += ["blobs=true", f"blob_budget_bytes={blob_budget_bytes}"]
        query = "&".join(options)
        found = (await self._call("GET", f"/v1/namespaces/{name}/hint_cache_warm?{query}")).json
        has_snapshot = found["snapshots"]["status"] == "completed"
        told: dict[str, object] = {
            "store": found["turbopuffer"]["status"] == "completed",
            "job_id": found["documents"].get("job", {}).get("id", ""),
            "snapshot": found["snapshots"]["key"] if has_snapshot else "",
        }
        if found["blobs"]["enabled"]:
            told["blobs"] = {name: found["blobs"][name] for name in _BLOB_COUNTS}
        return told

    async def warm_job(self, name: str, job_id: str) -> str:
        found = await self._call("GET", f"/v2/namespaces/{name}/warm-jobs/{job_id}")
        return str(found.json["status"])

    async def _call(self, method: str, target: str, body: object = b"") -> EdgeAnswer:
        answer = await self._edge(method, target, body)
        if answer.status >= HTTPStatus.BAD_REQUEST:
            found = answer.json
            # Routes of stores tell only in words what is wrong.
            raise RefusedError(found["error"] if "message" in found else "not_found")
        return answer


class PlaneOverRpc:
    """The typed API."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._gateway = gateway_pb2_grpc.GatewayServiceStub(channel)
        self._blobs = gateway_pb2_grpc.BlobServiceStub(channel)
        self._stores = gateway_pb2_grpc.VectorStoreServiceStub(channel)

    async def put_blob(self, name: str, body: bytes, *, is_warm: bool = False) -> Shown:
        request = gateway_pb2.PutBlobRequest(namespace=name, body=body, is_warm=is_warm)
        found = await _call(self._blobs.PutBlob, request)
        return {"ref": found.reference, "sha256": found.sha256, "size": found.size_bytes}

    async def get_blob(self, name: str, sha256: str) -> tuple[bytes, str]:
        request = gateway_pb2.GetBlobRequest(namespace=name, sha256=sha256)
        found = await _call(self._blobs.GetBlob, request)
        assert found.size_bytes == len(found.body)
        return found.body, found.content_type

    async def blob_size(self, name: str, sha256: str) -> tuple[int, str]:
        request = gateway_pb2.GetBlobRequest(namespace=name, sha256=sha256, without_body=True)
        found = await _call(self._blobs.GetBlob, request)
        assert found.body == b""
        return found.size_bytes, found.content_type

    async def stores(self) -> list[Shown]:
        found: list[Shown] = []
        request = gateway_pb2.ListVectorStoresRequest(page_size=1)  # so that pages are followed
        while True:
            page = await _call(self._stores.ListVectorStores, request)
            found += [_store(store) for store in page.vector_stores]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def store(self, name: str) -> Shown:
        request = gateway_pb2.GetVectorStoreRequest(name=name)
        return _store((await _call(self._stores.GetVectorStore, request)).vector_store)

    async def capabilities(self, *, store: str = "", namespace: str = "") -> Shown:
        subject = {"vector_store": store} if store else {"namespace": namespace}
        request = gateway_pb2.GetCapabilitiesRequest(**subject)
        found = await _call(self._stores.GetCapabilities, request)
        limits = ("embedded", "text", "vector")
        names = [f"{name}_attribute_count_max" for name in limits]
        return {
            "store": {"name": found.vector_store, "kind": found.kind},
            "features": [
                {
                    "id": one.id,
                    "label": one.label,
                    "page": one.page,
                    "support": _SUPPORT[one.support],
                    "note": one.note,
                }
                for one in found.features
            ],
            "routes": [
                {
                    "route": _ROUTES[one.route],
                    "feature": one.feature_id,
                    "support": _SUPPORT[one.support],
                    "note": one.note,
                }
                for one in found.routes
            ],
            "embedding": {
                "support": _SUPPORT[found.embedding_support],
                "note": found.embedding_note,
            },
            "limits": [getattr(found, name) if found.HasField(name) else None for name in names],
        }

    async def migrate(self, name: str, shard_count: int | None = None) -> Shown:
        request = gateway_pb2.MigrateShardsRequest(namespace=name, shard_count=shard_count or 0)
        found = await _call(self._gateway.MigrateShards, request)
        return {
            "shard_count": found.shard_count,
            "moved": found.migrated_row_count,
            "is_done": found.HasField("complete_time"),
        }

    async def copy(self, name: str, source: str, *, is_branch: bool = False) -> int:
        request = gateway_pb2.CopyNamespaceRequest(
            namespace=name, source_namespace=source, is_branch=is_branch
        )
        return int((await _call(self._gateway.CopyNamespace, request)).affected_count)

    async def warm(self, name: str, *wanted: str, blob_budget_bytes: int | None = None) -> Shown:
        request = gateway_pb2.WarmCachesRequest(
            namespace=name,
            with_store="store" in wanted,
            with_rows="rows" in wanted,
            with_snapshot="snapshot" in wanted,
            blob_budget_bytes=blob_budget_bytes,
        )
        found = await _call(self._gateway.WarmCaches, request)
        told: dict[str, object] = {
            "store": found.is_store_hinted,
            "job_id": found.row_job.id,
            "snapshot": found.snapshot.key,
        }
        if found.HasField("blobs"):
            blobs = _BLOB_COUNTS.items()
            told["blobs"] = {name: getattr(found.blobs, of_rpc) for name, of_rpc in blobs}
        return told

    async def warm_job(self, name: str, job_id: str) -> str:
        request = gateway_pb2.GetWarmJobRequest(namespace=name, job_id=job_id)
        return _JOB_STATES[(await _call(self._gateway.GetWarmJob, request)).job.state]


def _flat_store(found: Mapping[str, Any]) -> Shown:
    return {
        "name": found["name"],
        "kind": found["kind"],
        "is_default": found["default"],
        "url": found["endpoint"]["url"],
        "region": found["endpoint"]["region"],
        "secret": tuple(found["credential"]["secretRef"].values()),
        "mode": found["inboundAuth"]["mode"],
        "organization": found.get("turbopuffer", {}).get("orgId", ""),
        "organization_url": found.get("turbopufferUrl", ""),
        "is_reachable": found["status"].get("reachable"),
    }


def _store(found: gateway_pb2.VectorStore) -> Shown:
    return {
        "name": found.name,
        "kind": found.kind,
        "is_default": found.is_default,
        "url": found.url,
        "region": found.region,
        "secret": (found.secret_name, found.secret_key),
        "mode": _MODES[found.inbound_mode],
        "organization": found.organization_id,
        "organization_url": found.organization_url,
        "is_reachable": found.is_reachable if found.HasField("is_reachable") else None,
    }


async def _call(method: Any, request: object) -> Any:
    metadata = (("authorization", f"Bearer {KEY}"),)
    call: Awaitable[Any] = method(request, metadata=metadata, timeout=CALL_S_MAX)
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        refused: LayerError = from_rpc_error(error)
        raise RefusedError(refused.http_error) from error
