"""Names that cross every boundary, parsed where they enter (docs/reference/http.md, "Limits")."""

from __future__ import annotations

import functools
import re
from typing import Final, NewType

from layer_kit.errors import InvalidRequestError

Namespace = NewType("Namespace", str)
"""A namespace name that passed :func:`parse_namespace`."""

NAMESPACE_LENGTH_MAX: Final = 128
NAMES_REMEMBERED_MAX: Final = 4096
_NAMESPACE: Final = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9\-_.]{1,128}")
"""Not ``.`` and ``..`` either. Clients and proxies resolve them in a path, so that it names another
namespace, or none; and no object can be kept under such a name."""


def is_namespace(text: str) -> bool:
    """Tell whether a namespace may have this name."""
    return _NAMESPACE.fullmatch(text) is not None


@functools.lru_cache(NAMES_REMEMBERED_MAX)
def parse_namespace(text: str) -> Namespace:
    """Check a namespace name: 1 to 128 of ``[A-Za-z0-9-_.]``, but not ``.`` or ``..``.

    Raises:
        InvalidRequestError: ``NAMESPACE_INVALID``.
    """
    if not is_namespace(text):
        shown = text if len(text) <= NAMESPACE_LENGTH_MAX else f"{text[:NAMESPACE_LENGTH_MAX]}…"
        raise InvalidRequestError(
            "NAMESPACE_INVALID",
            f"Namespace {shown!r} is not 1 to {NAMESPACE_LENGTH_MAX} characters of [A-Za-z0-9-_.] "
            "that are not just one or two dots.",
            namespace=shown,
        )
    return Namespace(text)
