"""What the store refuses, as errors, for callers who are not sent its answers as they are."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Final

import msgspec

from layer_gateway.ports.stores import StoreAnswer
from layer_kit.errors import (
    DeadlineError,
    InvalidRequestError,
    KeyRefusedError,
    LayerError,
    NotFoundError,
    QuotaExceededError,
    UnauthenticatedError,
    UnavailableError,
    UpstreamError,
)
from layer_kit.names import Namespace

TEXT_LENGTH_MAX: Final = 1000
"""Characters of the store's own text that are told on."""

TRANSIENT: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT})
"""Refusals that the store's own clients take for a reason to try again."""

CLIENT_ERRORS: Final = range(400, 500)
UNKNOWN_FATE: Final = frozenset({408, 409, 499})
"""Client errors that do not prove that nothing was written."""

_KINDS: Final[dict[int, type[LayerError]]] = {
    HTTPStatus.UNAUTHORIZED: UnauthenticatedError,
    HTTPStatus.FORBIDDEN: KeyRefusedError,
}


def is_refused(answer: StoreAnswer) -> bool:
    """Tell whether the store surely wrote nothing."""
    return answer.status in CLIENT_ERRORS and answer.status not in UNKNOWN_FATE


class _Refusal(msgspec.Struct):
    error: str | None = None


_REFUSAL: Final[msgspec.json.Decoder[_Refusal]] = msgspec.json.Decoder(_Refusal)


def accepted(answer: StoreAnswer, namespace: Namespace | None = None) -> StoreAnswer:
    """Return an answer that says yes.

    Raises:
        LayerError: The :func:`refusal` of any other.
    """
    if answer.status in range(200, 300):
        return answer
    raise refusal(answer, namespace)


def refusal(answer: StoreAnswer, namespace: Namespace | None = None) -> LayerError:
    """Return the error that an answer with an error status means.

    Args:
        namespace: The one that was asked for something, where it was one.

    Returns:
        InvalidRequestError: ``UPSTREAM_REFUSED``, with the text of the store.
        UnauthenticatedError: ``UPSTREAM_REFUSED``.
        KeyRefusedError: ``UPSTREAM_REFUSED``.
        NotFoundError: ``NAMESPACE_NOT_FOUND``.
        QuotaExceededError: ``UPSTREAM_BUSY``, after a pause that the store may have named.
        UpstreamError: ``UPSTREAM_FAILED``.
    """
    status = answer.status
    if status == HTTPStatus.NOT_FOUND and namespace is not None:
        return NotFoundError(
            "NAMESPACE_NOT_FOUND", f"Namespace {namespace} does not exist.", namespace=namespace
        )
    text = _text(answer.body)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return QuotaExceededError(
            "UPSTREAM_BUSY",
            f"The store asks for a pause: {text}",
            retry_after_s=retry_after_s(answer),
            text=text,
        )
    if status in TRANSIENT or status not in range(400, 500):
        return UpstreamError(
            "UPSTREAM_FAILED",
            f"The store answered with status {status}: {text}",
            retry_after_s=retry_after_s(answer),
            status=status,
            text=text,
        )
    kind = _KINDS.get(status, InvalidRequestError)
    return kind("UPSTREAM_REFUSED", f"The store refused: {text}", status=status, text=text)


def status_label(error: LayerError) -> str:
    """Return how metrics call what ended a request: the store's fault, a deadline, or ours."""
    match error:
        case DeadlineError():
            return "timeout"
        case UpstreamError() | UnavailableError():
            return "tpuf_error"
        case _:
            return "layer_error"


def _text(body: bytes) -> str:
    """Return what the store says: the field ``error``, or the body where it is not JSON."""
    try:
        found = _REFUSAL.decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = None
    return (found or body[: 4 * TEXT_LENGTH_MAX].decode(errors="replace"))[:TEXT_LENGTH_MAX]


def retry_after_s(answer: StoreAnswer) -> float | None:
    """Return the pause that the store named in seconds or milliseconds; dates are not read."""
    headers = dict(answer.headers)
    for name, unit_s in ((b"retry-after-ms", 0.001), (b"retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit_s
        except (KeyError, ValueError):
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    return None
