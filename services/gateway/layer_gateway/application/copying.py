"""Which namespaces a copy or a branch reads, for callers who may not name all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from layer_gateway.application.admission import check_reach
from layer_wire.jsontext import decode


class _Source(msgspec.Struct):
    source_namespace: str


class _Body(msgspec.Struct):
    copy_from_namespace: str | _Source | None = None
    branch_from_namespace: str | _Source | None = None


_BODY: Final[msgspec.json.Decoder[_Body]] = msgspec.json.Decoder(_Body)


def check_sources(body: bytes, patterns: Sequence[str]) -> None:
    """Refuse a copy of a namespace that the caller may not name.

    Raises:
        ForbiddenError: ``NAMESPACE_FORBIDDEN``.
        InvalidRequestError: The body names its source in no way that can be read.
    """
    found = decode(_BODY, body)
    for source in (found.copy_from_namespace, found.branch_from_namespace):
        if source is not None:
            name = source if isinstance(source, str) else source.source_namespace
            check_reach(patterns, name)
