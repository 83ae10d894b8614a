"""What ends a connection or a stream, by the codes of HTTP/2 (RFC 9113, section 7)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import grpc


class Fault(IntEnum):
    """Why a stream or a connection ended."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    ENHANCE_YOUR_CALM = 0xB


class ConnectionFaultError(Exception):
    """The peer broke the protocol in a way that ends the connection."""

    def __init__(self, fault: Fault, text: str) -> None:
        super().__init__(text)
        self.fault = fault


_STATUS: Final = {
    Fault.REFUSED_STREAM: grpc.StatusCode.UNAVAILABLE,
    Fault.CANCEL: grpc.StatusCode.CANCELLED,
    Fault.ENHANCE_YOUR_CALM: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


def status_of_reset(code: int) -> grpc.StatusCode:
    """Return the gRPC status that the reset of a stream stands for."""
    for fault, status in _STATUS.items():
        if fault == code:
            return status
    return grpc.StatusCode.INTERNAL
