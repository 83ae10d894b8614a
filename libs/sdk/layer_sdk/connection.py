"""Where a worker's calls go, by arguments or by the variables that its pod has."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

BASE_URL_DEFAULT: Final = "http://localhost:8080"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """What a worker needs to know to work."""

    base_url: str
    """Of the gateway."""
    api_key: str
    runtime_address: str
    """gRPC address of the runtime service; empty: everything goes by HTTP."""
    worker_id: str


def connection(
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    runtime_address: str | None = None,
    worker_id: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Connection:
    """Complete arguments by ``HEVLAYER_BASE_URL``, ``HEVLAYER_API_KEY`` or
    ``LAYER_GATEWAY_API_KEY``, ``HEVLAYER_RUNTIME_ADDRESS`` and ``HEVLAYER_WORKER_ID``.
    """
    key = api_key or environment.get("HEVLAYER_API_KEY") or environment.get("LAYER_GATEWAY_API_KEY")
    named = worker_id or environment.get("HEVLAYER_WORKER_ID")
    return Connection(
        base_url=(base_url or environment.get("HEVLAYER_BASE_URL") or BASE_URL_DEFAULT).rstrip("/"),
        api_key=key or "",
        runtime_address=runtime_address or environment.get("HEVLAYER_RUNTIME_ADDRESS", ""),
        worker_id=named or f"{socket.gethostname()[:96]}-{uuid.uuid4().hex[:8]}",
    )
