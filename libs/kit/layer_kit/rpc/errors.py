"""``LayerError`` to ``google.rpc.Status`` at a server's edge, and back at a client's."""

from __future__ import annotations

from typing import Final

import grpc
import grpc.aio
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from layer_kit import errors
from layer_kit.errors import LayerError

DETAILS_KEY: Final = "grpc-status-details-bin"
INTERNAL_MESSAGE: Final = "Internal error. Quote the request id when reporting it."

_BY_CODE: Final[dict[int, type[LayerError]]] = {
    errors.Code.INVALID_ARGUMENT: errors.InvalidRequestError,
    errors.Code.DEADLINE_EXCEEDED: errors.DeadlineError,
    errors.Code.NOT_FOUND: errors.NotFoundError,
    errors.Code.ALREADY_EXISTS: errors.AlreadyExistsError,
    errors.Code.PERMISSION_DENIED: errors.ForbiddenError,
    errors.Code.RESOURCE_EXHAUSTED: errors.QuotaExceededError,
    errors.Code.FAILED_PRECONDITION: errors.PreconditionError,
    errors.Code.ABORTED: errors.ConflictError,
    errors.Code.UNIMPLEMENTED: errors.UnsupportedError,
    errors.Code.UNAVAILABLE: errors.UnavailableError,
    errors.Code.UNAUTHENTICATED: errors.UnauthenticatedError,
}
_STATUS: Final[dict[int, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}


def to_status(error: LayerError, *, domain: str) -> status_pb2.Status:
    """Render ``error`` with ErrorInfo, and RetryInfo when a retry can help."""
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=domain, metadata=error.metadata)
    ]
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(int(error.retry_after_s * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    packed = []
    for detail in details:
        slot = any_pb2.Any()
        slot.Pack(detail)
        packed.append(slot)
    return status_pb2.Status(code=error.code, message=error.message, details=packed)


def status_code(error: LayerError) -> grpc.StatusCode:
    """Return the gRPC status code of ``error``."""
    return _STATUS[error.code]


def from_rpc_error(error: grpc.aio.AioRpcError) -> LayerError:
    """Rebuild the error that a server raised; transport faults become ``UnavailableError``.

    The reason is the server's own, or the name of the status code where it sent none.
    """
    code: int = error.code().value[0]
    message = error.details() or error.code().name
    rebuilt = _BY_CODE.get(code, errors.InternalError)
    info = error_info(error)
    if info is None:
        return rebuilt(error.code().name, message)
    answer = rebuilt(info.reason, message)
    answer.metadata = dict(info.metadata)
    return answer


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo | None:
    """Return the ErrorInfo a server attached to ``error``, if any."""
    for key, value in error.trailing_metadata() or ():
        if key != DETAILS_KEY or not isinstance(value, bytes):
            continue
        try:
            status = status_pb2.Status.FromString(value)
        except DecodeError:
            return None
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                return info
    return None
