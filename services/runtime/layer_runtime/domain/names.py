"""Names that callers give to what the queues hold."""

from __future__ import annotations

import re
from typing import Final

from layer_kit.errors import InvalidRequestError

WORKER_ID_LENGTH_MAX: Final = 128

_CONTROL: Final = re.compile("[\0-\x1f\x7f]")


def has_control_characters(text: str) -> bool:
    return _CONTROL.search(text) is not None


def parse_worker_id(text: str) -> str:
    """Check the id of a worker.

    Raises:
        InvalidRequestError: ``WORKER_ID_INVALID``.
    """
    if not 1 <= len(text) <= WORKER_ID_LENGTH_MAX or has_control_characters(text):
        raise InvalidRequestError(
            "WORKER_ID_INVALID",
            f"worker_id {text[:64]!r} is not 1 to {WORKER_ID_LENGTH_MAX} characters without "
            "control characters.",
            field="worker_id",
        )
    return text
