"""`python -m layer_gateway`: run the gateway until SIGTERM."""

from __future__ import annotations

from layer_gateway.pool.supervisor import serving
from layer_gateway.settings import GatewaySettings
from layer_kit.process import run_service

if __name__ == "__main__":
    run_service(GatewaySettings, serving)
