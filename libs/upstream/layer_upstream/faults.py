"""What can go wrong between us and the upstream, each with its one message."""

from __future__ import annotations

from layer_kit.errors import DeadlineError, UnavailableError, UpstreamError


def unreachable(origin: str, cause: Exception) -> UpstreamError:
    return UpstreamError(
        "UPSTREAM_UNREACHABLE",
        f"No connection to {origin} could be opened: {cause}.",
        origin=origin,
        cause=cause,
    )


def closed(origin: str, when: str) -> UpstreamError:
    return UpstreamError(
        "UPSTREAM_CLOSED", f"{origin} closed the connection {when}.", origin=origin, when=when
    )


def protocol_error(detail: str) -> UpstreamError:
    return UpstreamError(
        "UPSTREAM_PROTOCOL_ERROR", f"The upstream's answer is not valid: {detail}.", detail=detail
    )


def too_large(bytes_max: int) -> UpstreamError:
    return UpstreamError(
        "UPSTREAM_RESPONSE_TOO_LARGE",
        f"The upstream's answer is larger than {bytes_max} bytes; ask for less at once.",
        bytes_max=bytes_max,
    )


def timed_out(origin: str, phase: str) -> DeadlineError:
    return DeadlineError(
        "UPSTREAM_TIMEOUT", f"{origin} took too long to {phase}.", origin=origin, phase=phase
    )


def pool_full(origin: str, waiters_max: int) -> UnavailableError:
    return UnavailableError(
        "UPSTREAM_POOL_FULL",
        f"{waiters_max} requests already wait for a connection to {origin}; try again later.",
        retry_after_s=1,
        origin=origin,
        waiters_max=waiters_max,
    )


def client_closed(origin: str) -> UnavailableError:
    return UnavailableError(
        "UPSTREAM_CLIENT_CLOSED", f"The client of {origin} is shutting down.", origin=origin
    )
