"""The policies of the snapshots service: which namespaces have facet fields."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from layer.snapshots.v1 import snapshots_pb2, snapshots_pb2_grpc
from layer_kit.names import Namespace
from layer_kit.rpc.client import invoke

PAGE_SIZE: Final = 500


class FacetPolicies:
    """Implements ``FacetNamespaces``."""

    def __init__(self, stub: snapshots_pb2_grpc.SnapshotsServiceStub, *, timeout_s: float) -> None:
        self._stub = stub
        self._timeout_s = timeout_s

    async def namespaces(self) -> AsyncIterator[Namespace]:
        request = snapshots_pb2.ListSnapshotPoliciesRequest(page_size=PAGE_SIZE)
        while True:
            page = await invoke(self._stub.ListSnapshotPolicies, request, timeout_s=self._timeout_s)
            for found in page.policies:
                if found.policy.facet_fields:
                    yield Namespace(found.namespace)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
