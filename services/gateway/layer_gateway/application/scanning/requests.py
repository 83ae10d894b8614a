"""A scan that somebody asks for."""

from __future__ import annotations

from dataclasses import dataclass

from layer_gateway.ports.stores import Caller
from layer_kit.names import Namespace
from layer_wire.scans import Scan


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanRequest:
    """Who asks what of which namespace."""

    namespace: Namespace
    scan: Scan
    caller: Caller
