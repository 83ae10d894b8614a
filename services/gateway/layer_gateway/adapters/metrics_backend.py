"""Where metrics are kept: anything that speaks Prometheus' HTTP API."""

from __future__ import annotations

from typing import Final

from layer_gateway.ports.stores import StoreAnswer
from layer_upstream import UpstreamClient

FORM: Final = (b"content-type", b"application/x-www-form-urlencoded")
TEXT: Final = (b"content-type", b"text/plain")


class MetricsBackend:
    """Asks the backend and hands over its answers, whatever their status.

    Args:
        client: Owned by the caller.
    """

    def __init__(self, client: UpstreamClient) -> None:
        self._client = client

    async def query(self, path: str, parameters: str) -> StoreAnswer:
        """Send ``parameters``, as a form, to ``/api/v1/…``; errors as for ``Store``."""
        return await self._client.request(
            b"POST", path.encode(), (FORM,), parameters.encode(), idempotent=True
        )

    async def write(self, body: bytes) -> StoreAnswer:
        """Hand over samples in Prometheus' text format; errors as for ``Store``."""
        return await self._client.request(
            b"POST", b"/api/v1/import/prometheus", (TEXT,), body, idempotent=False
        )
