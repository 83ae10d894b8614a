"""The error tree every service raises from. Imports nothing, so the domain may use it.

    LayerError                       gRPC                 HTTP  `error` field
    ├── InvalidRequestError          INVALID_ARGUMENT     422   validation_error
    │   ├── MalformedRequestError    INVALID_ARGUMENT     400   validation_error
    │   ├── PayloadTooLargeError     INVALID_ARGUMENT     413   payload_too_large
    │   ├── HeadTooLargeError        INVALID_ARGUMENT     431   headers_too_large
    │   └── MediaTypeError           INVALID_ARGUMENT     415   validation_error
    ├── SlowRequestError             DEADLINE_EXCEEDED    408   request_timeout
    ├── UnsupportedError             UNIMPLEMENTED        422   UnsupportedByStore
    ├── UnauthenticatedError         UNAUTHENTICATED      401   the message
    ├── ForbiddenError               PERMISSION_DENIED    403   forbidden
    │   └── KeyRefusedError          PERMISSION_DENIED    403   the message
    ├── NotFoundError                NOT_FOUND            404   not_found
    ├── AlreadyExistsError           ALREADY_EXISTS       409   conflict
    ├── ConflictError                ABORTED              409   conflict
    ├── PreconditionError            FAILED_PRECONDITION  412   precondition_failed
    ├── QuotaExceededError           RESOURCE_EXHAUSTED   429   rate_limited
    ├── UpstreamError                UNAVAILABLE          502   upstream_error
    ├── UnavailableError             UNAVAILABLE          503   service_unavailable
    │   ├── DrainingError            UNAVAILABLE          503   gateway_draining
    │   ├── CacheColdError           UNAVAILABLE          503   cache_cold
    │   └── NotConfiguredError       FAILED_PRECONDITION  503   service_unavailable
    ├── DeadlineError                DEADLINE_EXCEEDED    504   gateway_timeout
    └── InternalError                INTERNAL             500   internal

Domain and application code raise these; the edges (``layer_kit.rpc.errors`` and
``layer_kit.http_errors``) render them. Nothing in between catches one only to raise another.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class Code(IntEnum):
    """The part of google.rpc.Code we use, by its wire numbers."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class LayerError(Exception):
    """An expected failure with a stable, machine-readable identity.

    Args:
        reason: UPPER_SNAKE_CASE, unique within the service, never reworded.
        message: One sentence for a human: what is wrong and what to change.
        retry_after_s: Seconds a client should wait; None when a retry is pointless.
        metadata: Every dynamic value that appears in ``message``.
    """

    code: ClassVar[Code] = Code.INTERNAL
    http_status: ClassVar[int] = 500
    http_error: ClassVar[str] = "internal"
    """The contract's code; where it has none, the message stands in its place."""

    retryable: ClassVar[bool] = False

    def __init__(
        self, reason: str, message: str, *, retry_after_s: float | None = None, **metadata: object
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s
        self.metadata = {key: str(value) for key, value in metadata.items()}


class InvalidRequestError(LayerError):
    """The request can never succeed as written."""

    code = Code.INVALID_ARGUMENT
    http_status = 422
    http_error = "validation_error"


class MalformedRequestError(InvalidRequestError):
    """The request is not even readable: broken JSON, a broken encoding."""

    http_status = 400


class MediaTypeError(InvalidRequestError):
    """The body is of a kind, or in an encoding, that the route does not read."""

    http_status = 415


class PayloadTooLargeError(InvalidRequestError):
    """A body, or a body once inflated, is over its bound."""

    http_status = 413
    http_error = "payload_too_large"


class HeadTooLargeError(InvalidRequestError):
    """The target and the headers of a request are over their bound."""

    http_status = 431
    http_error = "headers_too_large"


class SlowRequestError(LayerError):
    """The caller took too long to send its request."""

    code = Code.DEADLINE_EXCEEDED
    http_status = 408
    http_error = "request_timeout"
    retryable = True


class UnsupportedError(LayerError):
    """The operation exists, but not on this store or in this build."""

    code = Code.UNIMPLEMENTED
    http_status = 422
    http_error = "UnsupportedByStore"


class UnauthenticatedError(LayerError):
    """The caller did not say who it is."""

    code = Code.UNAUTHENTICATED
    http_status = 401
    http_error = ""


class ForbiddenError(LayerError):
    """The caller is known and may not do this."""

    code = Code.PERMISSION_DENIED
    http_status = 403
    http_error = "forbidden"


class KeyRefusedError(ForbiddenError):
    """The key itself, or its scope, does not open this."""

    http_error = ""


class NotFoundError(LayerError):
    """What the request names does not exist."""

    code = Code.NOT_FOUND
    http_status = 404
    http_error = "not_found"


class AlreadyExistsError(LayerError):
    """What the request would create is there already, and differs."""

    code = Code.ALREADY_EXISTS
    http_status = 409
    http_error = "conflict"


class ConflictError(LayerError):
    """The caller lost a race and must redo a larger read-modify-write."""

    code = Code.ABORTED
    http_status = 409
    http_error = "conflict"


class PreconditionError(LayerError):
    """Someone must change some state before the request can succeed."""

    code = Code.FAILED_PRECONDITION
    http_status = 412
    http_error = "precondition_failed"


class QuotaExceededError(LayerError):
    """A limit of rate or concurrency was met; the same call may succeed after a pause."""

    code = Code.RESOURCE_EXHAUSTED
    http_status = 429
    http_error = "rate_limited"
    retryable = True


class UpstreamError(LayerError):
    """The upstream store, or the object store, failed a step that we built ourselves."""

    code = Code.UNAVAILABLE
    http_status = 502
    http_error = "upstream_error"
    retryable = True


class UnavailableError(LayerError):
    """A dependency is down; the same call may succeed later."""

    code = Code.UNAVAILABLE
    http_status = 503
    http_error = "service_unavailable"
    retryable = True


class CacheColdError(UnavailableError):
    """What can only come from the document cache was asked for while it is away."""

    http_error = "cache_cold"


class DrainingError(UnavailableError):
    """This process is about to stop; another replica takes the call."""

    http_error = "gateway_draining"


class NotConfiguredError(UnavailableError):
    """A dependency was never set up here, which no retry changes."""

    code = Code.FAILED_PRECONDITION
    retryable = False


class DeadlineError(LayerError):
    """The time allowed ran out."""

    code = Code.DEADLINE_EXCEEDED
    http_status = 504
    http_error = "gateway_timeout"
    retryable = True


class InternalError(LayerError):
    """A bug of ours. The message is fixed; the log has the rest."""
