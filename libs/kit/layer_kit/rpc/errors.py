"""``LayerError`` to ``google.rpc.Status`` at a server's edge, and back at a client's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

import grpc
import grpc.aio
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from layer_kit import errors
from layer_kit.errors import LayerError

DETAILS_KEY: Final = "grpc-status-details-bin"
MESSAGE_BYTES_MAX: Final = 1024
METADATA_VALUE_BYTES_MAX: Final = 256
"""Errors travel in trailers, of which gRPC takes 8 KiB: more, and the error itself is lost. The
message is in them twice, once with up to three bytes for each of its own."""
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
    """Render ``error`` with ErrorInfo, and RetryInfo when a retry can help; clip long texts."""
    details: list[Message] = [
        error_details_pb2.ErrorInfo(
            reason=error.reason,
            domain=domain,
            metadata={
                key: _clipped(value, METADATA_VALUE_BYTES_MAX)
                for key, value in error.metadata.items()
            },
        )
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
    message = _clipped(error.message, MESSAGE_BYTES_MAX)
    return status_pb2.Status(code=error.code, message=message, details=packed)


def status_code(error: LayerError) -> grpc.StatusCode:
    """Return the gRPC status code of ``error``."""
    return _STATUS[error.code]


def from_rpc_error(error: grpc.aio.AioRpcError) -> LayerError:
    """Rebuild the error that a server raised; transport faults become ``UnavailableError``.

    Reason, metadata and pause are the server's own; where it sent none, the reason is the name of
    the status code.
    """
    return _rebuilt(error.code(), error.details(), _details(error))


def from_status(serialised: bytes) -> LayerError:
    """Rebuild the error that a server put into a message, as :func:`from_rpc_error` does."""
    status = status_pb2.Status()
    with contextlib.suppress(DecodeError):  # what cannot be read says nothing
        status.ParseFromString(serialised)
    code = _STATUS.get(status.code, grpc.StatusCode.UNKNOWN)
    return _rebuilt(code, status.message, iter(status.details))


def from_trailers(number: int, message: str, serialised: bytes) -> LayerError:
    """Rebuild the error in the trailers of a call, as :func:`from_rpc_error` does.

    Args:
        serialised: The status with its details; empty where there is none.
    """
    status = status_pb2.Status()
    with contextlib.suppress(DecodeError):  # what cannot be read says nothing
        status.ParseFromString(serialised)
    return _rebuilt(_STATUS.get(number, grpc.StatusCode.UNKNOWN), message, iter(status.details))


def _rebuilt(
    code: grpc.StatusCode, message: str | None, details: Iterator[any_pb2.Any]
) -> LayerError:
    number: int = code.value[0]
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    with contextlib.suppress(DecodeError):  # what cannot be read says nothing
        for detail in details:
            _ = detail.Unpack(info) or detail.Unpack(retry)
    rebuilt = _BY_CODE.get(number, errors.InternalError)
    answer = rebuilt(info.reason or code.name, message or code.name)
    answer.metadata = dict(info.metadata)
    if retry.HasField("retry_delay"):
        answer.retry_after_s = retry.retry_delay.ToMilliseconds() / 1000
    return answer


def _details(error: grpc.aio.AioRpcError) -> Iterator[any_pb2.Any]:
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            yield from status_pb2.Status.FromString(value).details


def _clipped(text: str, bytes_max: int) -> str:
    encoded = text.encode(errors="replace")
    if len(encoded) <= bytes_max:
        return text
    return f"{encoded[: bytes_max - len('…'.encode())].decode(errors='ignore')}…"
